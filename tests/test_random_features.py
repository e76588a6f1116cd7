"""The network with random weights: what it computes, that it is the same everywhere, and live scores by it."""

import numpy as np
import pytest
import torch
from helpers import FAST
from scipy.signal import correlate

from gan_cli.data import Dataset
from gan_cli.metrics import quality
from gan_cli.metrics.extractor import random_extractor
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.metrics.random_features import RandomFeatures
from gan_cli.networks import conv
from gan_cli.noise import Noise
from gan_cli.rundir.records import read_metrics

SHA256 = "a596d7d8efc65581c9603ed33bca2c4b046e1b07b54fb9bc6fef04bdc7a4ffe0"  # other weights would give other numbers


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (70, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def _blocks(maps):
    """The 2x2 blocks of ``[C, H, W]``, each along the axes 2 and 4."""
    channels, height, width = maps.shape
    return maps.reshape(channels, height // 2, 2, width // 2, 2)


def test_the_features_are_those_of_scipy_in_float64(images):
    network = RandomFeatures()
    x = images[0].double().numpy() / 127.5 - 1
    for weight in network.weights:
        kernels = weight.double().numpy()
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        rectified = np.maximum([correlate(padded, kernel, "valid")[0] for kernel in kernels], 0)
        x = _blocks(rectified).max(axis=(2, 4))
        x = x / np.sqrt(1 + (x**2).mean(axis=0))
    expected = _blocks(x).mean(axis=(2, 4)).reshape(-1)
    torch.testing.assert_close(network(images[:1])[0].double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-4)


def test_the_weights_have_the_variance_of_he_and_do_not_touch_the_global_generator():
    before = torch.get_rng_state()
    network = RandomFeatures()
    assert torch.equal(before, torch.get_rng_state())  # a run is the same whether it is scored or not
    assert network.sha256 == RandomFeatures().sha256 == SHA256
    for weight in network.weights:
        assert weight.var().item() == pytest.approx(2 / weight[0].numel(), rel=0.1)


def test_the_features_depend_neither_on_the_batch_nor_on_the_threads(images):
    extractor = random_extractor(torch.device("cpu"))
    whole, threads = extractor.features(images), torch.get_num_threads()
    torch.set_num_threads(2)
    torch.testing.assert_close(extractor.features(images, batch_size=7), whole, rtol=1e-4, atol=1e-5)
    torch.set_num_threads(threads)
    grey = images[:4, :1]
    torch.testing.assert_close(extractor.features(grey), extractor.features(grey.expand(-1, 3, -1, -1)))
    assert extractor.features(images[:2, :, :28, :20]).shape == (2, 512)  # of any size


def test_a_worse_copy_is_farther_away(images):
    features = random_extractor(torch.device("cpu")).features
    smooth = torch.nn.functional.interpolate(images.float(), (8, 8)).byte()
    real, fresh = features(smooth[:35]), features(smooth[35:])
    worse = [features((smooth[35:].float() * a + 127 * (1 - a)).byte()) for a in (0.8, 0.5)]
    distances = [frechet_distance(real, one) for one in (fresh, *worse)]
    assert distances == sorted(distances) and distances[2] > 1.2 * distances[0]


def test_scores_of_colour_images_and_what_they_cost(images):
    data = Dataset(torch.nn.functional.interpolate(images, (16, 16)))
    scores = quality.feature_scores(data.images, Noise("normal", 4), n=20)
    generator = conv.Generator((3, 16, 16), 4, width=2)
    found = scores(generator)
    assert list(found) == ["frechet_random", "precision", "recall"] and found["frechet_random"] > 0
    assert scores.real.shape == (40, 512)
    told = scores.cost(generator)
    assert told.startswith("frechet_random: 20 samples and 40 real images by a random VGG-like network, about 1 s each")


def test_a_folder_is_scored_during_a_run_and_keeps_its_best(call, tmp_path, monkeypatch, images):
    whole = quality.feature_scores
    monkeypatch.setattr(quality, "feature_scores", lambda *arguments: whole(*arguments, n=20))
    np.savez(tmp_path / "data.npz", images=images[:, :, ::4, ::4].permute(0, 2, 3, 1).numpy())
    run = ["dataset=folder", "dataset.root=data.npz", "dataset.size=16", "net=conv", "penalty=r1", *FAST[3:]]
    done = call("gan-train", *run, "sinks=[]", "steps=4", "eval_every=2", "run_dir=run")
    assert done.returncode == 0, done.stderr
    assert "frechet_random: 20 samples and 40 real images by a random VGG-like network" in done.stdout
    assert [row["step"] for row in read_metrics(tmp_path / "run") if "frechet_random" in row] == [2, 4]
    assert (tmp_path / "run" / "checkpoints" / "best.safetensors").is_file()
