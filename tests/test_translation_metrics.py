"""Metrics of translations: against independent references, in gan-eval, and where one of them can't be had."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from gan_cli.metrics import translation
from gan_cli.metrics.measurement import Inapplicable
from gan_cli.metrics.translation_suite import METRICS, TranslationData


@pytest.fixture(scope="module")
def images():
    """Two sets of 5 images, 3x20x24, that are alike."""
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (5, 3, 20, 24))
    other = np.clip(one + rng.normal(0, 40, one.shape), 0, 255)
    return torch.from_numpy(one).byte(), torch.from_numpy(other).byte()


def _reference_ssim(x, y):
    """One channel by SciPy, float64 in [0, 1], the mean over the windows that lie within the image."""

    def blurred(image):
        return gaussian_filter(image, sigma=1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    mean_x, mean_y = blurred(x), blurred(y)
    var_x, var_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
    return (above / ((mean_x**2 + mean_y**2 + 0.01**2) * (var_x + var_y + 0.03**2))).mean()


def test_ssim_is_that_of_an_independent_computation(images):
    x, y = (image.double().numpy() / 255 for image in images)
    expected = [
        np.mean([_reference_ssim(a, b) for a, b in zip(one, other, strict=True)])
        for one, other in zip(x, y, strict=True)
    ]
    assert np.allclose(translation.ssim(*images), expected, atol=1e-12)
    assert torch.allclose(translation.ssim(images[0], images[0]), torch.ones(5, dtype=torch.float64))
    with pytest.raises(ValueError, match="11x11"):
        translation.ssim(images[0][..., :10], images[1][..., :10])


def test_errors_and_psnr_by_their_definition(images):
    x, y = (image.double().numpy() / 255 for image in images)
    assert np.allclose(translation.errors(*images), np.abs(x - y).mean(axis=(1, 2, 3)))
    assert np.allclose(translation.psnr(*images), 10 * np.log10(1 / ((x - y) ** 2).mean(axis=(1, 2, 3))))
    assert translation.psnr(images[0], images[0]).tolist() == [100] * 5


class _Darker(nn.Module):
    """Halves the brightness, or doubles it."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(float(factor)))

    def forward(self, x):
        return ((x + 1) * self.factor - 1).clamp(-1, 1)


def _data(images, **more):
    settings = {"pairs": True, "split": "test", "mode": "eval", "backward": _Darker(2)}
    return TranslationData(_Darker(0.5), *images, **{**settings, **more})


def test_every_number_stands_beside_that_of_the_untouched_sources(images):
    sources = images[0]
    data = _data((sources, sources // 2))
    found = METRICS["paired"](data) | METRICS["frechet"](data) | METRICS["cycle"](data)
    assert found["mae"].value < 0.003 < 0.2 < found["mae"].details["untouched"]
    assert found["psnr"].value > 45 and found["ssim"].value > 0.99
    assert found["frechet"].value < 0.01 * found["frechet"].details["untouched"]
    assert found["cycle_error"].value < 0.005 and "untouched" not in found["cycle_error"].details


def test_what_does_not_apply_says_why(images, monkeypatch):
    apart = _data(images, pairs=False, backward=None)
    for name in ("paired", "lpips", "cycle"):
        with pytest.raises(Inapplicable, match="needs"):
            METRICS[name](apart)
    with pytest.raises(Inapplicable, match="two held-out images or more"):
        METRICS["frechet"](_data([some[:1] for some in images]))
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image.lpips", None)
    with pytest.raises(Inapplicable, match="lpips"):
        METRICS["lpips"](_data(images))


def test_lpips_gets_colours_in_0_to_1_and_a_line_where_its_weights_are_missing(images, monkeypatch):
    def distance(x, y, net_type, reduction, normalize):
        assert (net_type, reduction, normalize) == ("alex", "sum", True)
        assert x.shape[1] == 3 and x.min() >= 0 and x.max() <= 1
        return (x - y).abs().mean(dim=(1, 2, 3)).sum()

    module = types.ModuleType("lpips")
    module.learned_perceptual_image_patch_similarity = distance
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image.lpips", module)
    data = _data((images[0], images[0] // 2))
    found, plain = METRICS["lpips"](data)["lpips"], METRICS["paired"](data)["mae"]
    assert found.value == pytest.approx(plain.value) and found.details["untouched"] == pytest.approx(
        plain.details["untouched"]
    )

    def offline(*_, **__):
        raise OSError("no network")

    module.learned_perceptual_image_patch_similarity = offline
    with pytest.raises(Inapplicable, match=r"weights can't be had \(no network\)"):
        METRICS["lpips"](data)


def test_gan_eval_measures_a_run_that_translates(call, tmp_path, own_cache):
    from PIL import Image

    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(12):
            colour = (20 * i, 0, 0) if name == "a" else (0, 0, 20 * i)
            Image.new("RGB", (16, 16), colour).save(tmp_path / name / f"{i}.png")
    words = [
        "dataset=unpaired", "dataset.a=a", "dataset.b=b", "dataset.size=16", "dataset.holdout=0.4", "batch_size=2",
        "net.generator.width=2", "net.generator.blocks=1", "net.discriminator.width=2", "net.discriminator.n_layers=1",
        "steps=2", "run_dir=run", "device=cpu",
    ]  # fmt: skip
    assert call("gan-train", *words).returncode == 0
    done = call("gan-eval", "ckpt=run")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run/eval.json").read_text())
    assert {"mae", "psnr", "ssim", "frechet", "cycle_error"} <= rows.keys()
    assert rows["mae"]["untouched"] > 0 and rows["mae"]["split"] == "test" and rows["mae"]["mode"] == "eval"
    assert "untouched" in done.stdout and "skipped lpips" in done.stdout
    again = call("gan-eval", "ckpt=run", "metrics=[kid]")
    assert again.returncode == 2 and "kid: not measured on translations" in again.stderr
