"""Pictures of samples beside their nearest training images, and of the way from one latent to another."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gan_cli.metrics.extractor import digit_extractor
from gan_cli.noise import closed_path, linear_path, sample_noise, spherical_path
from gan_cli.pictures import figures


def test_paths_between_latents():
    rng = torch.Generator().manual_seed(0)
    start, end = torch.randn(5, 16, generator=rng), torch.randn(5, 16, generator=rng)
    for path in (linear_path(start, end, 9), spherical_path(start, end, 9)):
        assert path.shape == (5, 9, 16)
        assert torch.allclose(path[:, 0], start, atol=1e-5)
        assert torch.allclose(path[:, -1], end, atol=1e-5)
    assert torch.allclose(linear_path(start, end, 9)[:, 2], 0.75 * start + 0.25 * end, atol=1e-6)
    x, y = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    angles = torch.linspace(0, math.pi / 2, 5)
    circle = 2 * torch.stack([angles.cos(), angles.sin()], dim=1)
    assert torch.allclose(spherical_path(x, y, 5)[0], circle, atol=1e-6)
    assert torch.allclose(spherical_path(x, 3 * x, 5), linear_path(x, 3 * x, 5))  # no angle to divide by
    assert spherical_path(x, -x, 5).isfinite().all()


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_a_closed_path_has_equal_steps_and_no_jump_at_its_end(prior):
    corners = sample_noise(prior, 5, 64, rng=torch.Generator().manual_seed(0))
    if prior == "normal":
        corners = 8 * nn.functional.normalize(corners)  # on one sphere, so that steps of one angle have one length
    path = closed_path(corners, 7, prior)
    assert path.shape == (5 * 7, 64)
    torch.testing.assert_close(path[::7], corners)
    steps = (path.roll(-1, dims=0) - path).norm(dim=1).reshape(5, 7)  # the last one leads from the end to the start
    torch.testing.assert_close(steps, steps[:, :1].expand(-1, 7), rtol=1e-3, atol=0)
    if prior == "normal":
        torch.testing.assert_close(path.norm(dim=1), torch.full((35,), 8.0), rtol=1e-4, atol=0)
    else:
        assert path.abs().max() <= 3**0.5


@pytest.fixture
def drawn(monkeypatch):
    """What is put into a picture: (panels, columns, title), drawn nevertheless."""
    calls, draw = [], figures.write_panels
    monkeypatch.setattr(figures, "write_panels", lambda *a: (calls.append(a[:3]), draw(*a)))
    return calls


@pytest.mark.parametrize("with_features", [False, True])
def test_neighbours_are_the_nearest_and_drawn_pixel_by_pixel(tmp_path, drawn, with_features):
    rng = torch.Generator().manual_seed(0)
    train = torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8, generator=rng)
    samples = (train[[30, 7, 11, 3, 40]].int() - 1).clamp(min=0).byte()
    extractor = digit_extractor(torch.device("cpu")) if with_features else None
    figures.write_neighbours(samples, train, tmp_path / "n.png", extractor)
    ((panels, columns, _),) = drawn
    rows = torch.cat([part for _, part in panels])
    assert list(columns) == ["sample", "pixels", "features"][: 2 + with_features]
    assert torch.equal(rows[:, 0], samples)
    assert all(torch.equal(rows[:, i], train[[30, 7, 11, 3, 40]]) for i in range(1, len(columns)))
    with Image.open(tmp_path / "n.png") as picture:
        shown = np.asarray(picture.convert("L")).astype(int)
    first = np.kron(samples[0, 0].numpy(), np.ones((2, 2))).astype(int)
    found = [
        (y, x)
        for y in range(shown.shape[0] - 55)
        for x in range(shown.shape[1] - 55)
        if shown[y, x] == first[0, 0] and np.array_equal(shown[y : y + 56, x : x + 56], first)
    ]
    assert len(found) == 1


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 8), (3, 64, 64), (4, 8, 8)])
def test_few_images_make_a_picture_as_well(tmp_path, shape):
    images = torch.randint(0, 256, (1, *shape), dtype=torch.uint8)
    figures.write_neighbours(images, images, tmp_path / "n.png")
    with Image.open(tmp_path / "n.png") as picture:
        assert picture.width == figures.NARROWEST


def test_interpolation_is_drawn_along_both_paths(tmp_path, drawn):
    generator = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Unflatten(1, (1, 8, 8)))
    start, end = torch.randn(3, 4), torch.randn(3, 4)
    figures.write_interpolation(generator, start, end, tmp_path / "i.png", prior="uniform")
    ((panels, columns, _),) = drawn
    assert [name for name, _ in panels] == ["linear path", "spherical path (may leave a uniform prior's cube)"]
    linear, spherical = (part for _, part in panels)
    assert linear.shape == (3, len(columns), 1, 8, 8)
    for i, t in enumerate(torch.linspace(0, 1, len(columns)).tolist()):
        expected = ((generator((1 - t) * start + t * end) + 1) * 127.5).detach()
        assert (linear[:, i] - expected).abs().max() < 0.51
    assert torch.equal(linear[:, 0], spherical[:, 0])
    assert torch.equal(linear[:, -1], spherical[:, -1])
    assert not torch.equal(linear, spherical)
    with Image.open(tmp_path / "i.png") as picture:
        assert picture.format == "PNG"
