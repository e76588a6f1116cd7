"""The Fréchet distance against SciPy, and the classifier it is measured with."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from gan_cli.data.idx import mnist
from gan_cli.metrics.classifier import WEIGHTS, load_classifier
from gan_cli.metrics.extractor import digit_extractor
from gan_cli.metrics.frechet import frechet_distance


def test_frechet_distance_is_scipys():
    rng = torch.Generator().manual_seed(0)
    real = torch.randn(500, 12, generator=rng, dtype=torch.float64) @ torch.randn(12, 12, generator=rng).double()
    fake = torch.randn(300, 12, generator=rng, dtype=torch.float64) @ torch.randn(12, 12, generator=rng).double() + 0.3
    c_real, c_fake = np.cov(real.numpy().T), np.cov(fake.numpy().T)
    mean_term = (real.mean(0) - fake.mean(0)).square().sum().item()
    expected = mean_term + np.trace(c_real + c_fake - 2 * scipy.linalg.sqrtm(c_real @ c_fake).real)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(fake, real) == pytest.approx(expected, rel=1e-8)


def test_one_sample_has_no_frechet_distance():
    assert math.isnan(frechet_distance(torch.rand(1, 3), torch.rand(5, 3)))
    assert math.isnan(frechet_distance(torch.rand(5, 3), torch.rand(1, 3)))


def test_frechet_distance_of_a_set_to_itself_and_of_a_shift():
    features = torch.randn(400, 5, dtype=torch.float64)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features + 2) == pytest.approx(4 * 5, rel=1e-9)
    dead = torch.cat([features, torch.zeros(400, 1)], dim=1)  # a feature that never fires: a singular covariance
    assert frechet_distance(dead, dead + 1) == pytest.approx(6, rel=1e-9)


def test_the_shipped_classifier_is_accurate_and_small():
    test = mnist(split="test")
    with torch.inference_mode():
        predicted = torch.cat([load_classifier()(batch / 255).argmax(1) for batch in test.images.split(1000)])
    assert (predicted == test.labels).double().mean() >= 0.994
    assert WEIGHTS.stat().st_size <= 2_000_000
    assert digit_extractor(torch.device("cpu")).features(test.images[:3]).shape == (3, 128)
