"""gan-project: images that a generator can draw are found again; what it writes and says; what it refuses."""

import json
import math

import numpy as np
import pytest
import torch
from helpers import save_modules
from PIL import Image
from torch import nn

from gan_cli import projection, sampling
from gan_cli.latents import Latents, Synthesis
from gan_cli.networks import stylegan2
from gan_cli.noise import Noise
from gan_cli.projection import Pool, Settings, project
from gan_cli.rundir.checkpoint import Progress


class Linear(nn.Module):
    """Images that are linear in z: ``A z`` with A of orthogonal columns, so that the nearest latent is ``A^T x``."""

    def __init__(self, classes=0):
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Parameter(torch.linalg.qr(torch.randn(64, 3))[0] / 2, requires_grad=False)
        self.shift = nn.Parameter(
            torch.linspace(-0.5, 0.5, classes) if classes else torch.zeros(1), requires_grad=False
        )

    def forward(self, z, labels=None):
        shift = self.shift[labels] if labels is not None else self.shift.expand(len(z))
        return (z @ self.a.T + shift[:, None]).view(-1, 1, 8, 8)


def _pool(network, labels=None, n=64):
    z = sampling.latents(Noise("normal", 3), n, 0)
    return Pool(network, Latents(z, labels), lambda images: images.flatten(1)[:, ::2])


def test_the_nearest_latent_is_that_of_least_squares():
    network = Linear()
    targets = torch.randint(80, 176, (5, 1, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    pool, ticks = _pool(network), []
    settings = Settings(starts=4, steps=200)
    found, distances = project(pool, targets, settings, ticks.append)
    # The features are every other pixel.
    weights = 1 / (64 * pool.scales[0]) + torch.tensor([1.0, 0.0]).repeat(32) / (32 * pool.scales[1])
    x, root = targets.flatten(1) / 127.5 - 1, weights.sqrt()[:, None]
    expected = torch.linalg.lstsq(network.a * root, (x * root.T).T).solution.T
    torch.testing.assert_close(found.values, expected, rtol=0, atol=5e-3)
    assert found.labels is None and found.space == "z"
    torch.testing.assert_close(pool.distances(found.values, None, targets), distances)
    assert sum(ticks) == projection.moves(5, settings) == 5 * (4 * 50 + 1 * 150)


def test_two_samples_are_one_apart_on_average_and_the_pool_is_searched():
    pool = _pool(Linear(), n=512)
    images = pool.pixels.view(-1, 1, 8, 8).round().clamp(0, 255).byte()
    assert pool.distances(pool.latents.values, None, images.roll(1, dims=0)).mean().item() == pytest.approx(1, rel=0.02)
    assert pool.nearest(images[[7, 3]], 2)[:, 0].tolist() == [7, 3]
    assert pool.distances(pool.latents.values[:9], None, images[:9]).max() < 1e-3


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_latents_stay_within_their_bounds(prior):
    bounds = projection.bounds(prior, 3)
    assert bounds == ({"radius": math.sqrt(3) + 2} if prior == "normal" else {"cube": math.sqrt(3)})
    bright = torch.full((2, 1, 8, 8), 255, dtype=torch.uint8)
    found, _ = project(_pool(Linear()), bright, Settings(2, 40, **{**bounds, **{k: v / 9 for k, v in bounds.items()}}))
    free, _ = project(_pool(Linear()), bright, Settings(2, 40))
    limit = next(iter(bounds.values())) / 9
    size = found.values.norm(dim=1) if prior == "normal" else found.values.abs().amax(dim=1)
    assert (size <= limit * (1 + 1e-5)).all() and (free.values.norm(dim=1) > limit).all()


def test_the_class_is_found_too():
    network, labels = Linear(classes=3), torch.arange(63) % 3
    pool = _pool(network, labels, 63)
    z, classes = torch.randn(6, 3) / 3, torch.tensor([0, 1, 2, 2, 1, 0])
    targets = sampling.to_uint8(network(z, classes))
    found, distances = project(pool, targets, Settings(8, 100))
    assert torch.equal(found.labels, classes) and distances.max() < 1e-3
    torch.testing.assert_close(found.values, z, rtol=0, atol=0.1)


@pytest.mark.slow
def test_an_image_of_a_network_is_found_again_in_w():
    torch.manual_seed(0)
    generator = stylegan2.Generator((3, 8, 8), 6, width=4, max_width=8).eval().requires_grad_(False)
    for stage in generator.stages:
        stage.to_image.conv.weight.mul_(0.2)  # so that no pixel is cut off
    z = sampling.latents(Noise("normal", 6), 65, 1)
    w = Latents(z[:64]).in_w(generator)
    pool = Pool(Synthesis(generator), w, lambda images: nn.functional.avg_pool2d(images, 4).flatten(1))
    target = sampling.to_uint8(generator(z[64:]))
    found, distances = project(pool, target, Settings(4, 80))
    begin = pool.distances(w.values[pool.nearest(target, 1)[0]], None, target)
    assert found.space == "w" and distances[0] < 0.05 * begin[0]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of an untrained network on MNIST at 8x8; few latents are searched for it."""
    monkeypatch.setattr("gan_cli.commands.project.POOL", 8)
    torch.manual_seed(0)
    options = {"width": 4, "max_width": 8}
    generator = stylegan2.Generator((1, 8, 8), 4, **options)
    net = {"generator": {"_target_": "gan_cli.networks.stylegan2.Generator", **options}, "z_dim": 4, "prior": "normal"}
    data = {"_target_": "gan_cli.data.idx.mnist", "size": 8, "limit": 50}
    config = {"net": net, "image_shape": [1, 8, 8], "dataset": data}
    save_modules(tmp_path / "run" / "checkpoints", Progress(7), config, {"generator": generator, "ema": generator})
    return tmp_path / "run"


def test_gan_project_compares_held_out_and_training_images(call, run, tmp_path):
    done = call("gan-project", "ckpt=run", "n=3", "steps=4", "starts=2", "device=cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("step 7, in w; distances of pixels and features (random VGG-like")
    assert "a training image comes nearer than a held-out one in" in done.stdout
    report = json.loads((run / "projected" / "projection.json").read_text())
    assert {name: row["n"] for name, row in report["groups"].items()} == {"held-out": 3, "training": 3}
    assert report["copying_error"] == pytest.approx(math.sqrt(7 / 108)) and 0 <= report["copying"] <= 1
    assert len(report["images"]) == 6 and report["images"][5]["group"] == "training"
    with np.load(run / "projected" / "latents.npz") as archive:
        assert archive["w"].shape == (3, 4) and archive["images"].shape == (3, 8, 8, 1)
        images = archive["images"]
    done = call("gan-sample", "ckpt=run", "latents=run/projected/latents.npz", "out=again.npz", "device=cpu")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again.npz").read_bytes() == (run / "projected" / "latents.npz").read_bytes()
    assert images.std() > 0


def test_gan_project_takes_images(call, run, tmp_path):
    (tmp_path / "mine").mkdir()
    Image.new("RGB", (30, 20), "grey").save(tmp_path / "mine" / "a.png")
    Image.new("L", (8, 8), 200).save(tmp_path / "mine" / "b.jpg")
    (tmp_path / "mine" / "c.png").write_bytes(b"no image")
    words = ["ckpt=run", "steps=4", "starts=1", "n=0", "device=cpu"]
    done = call("gan-project", *words, "input=mine", "out=new", "space=z")
    assert done.returncode == 0 and done.stderr == "gan-project: 1 of 3 not projected: c.png (not an image)\n"
    report = json.loads((tmp_path / "new" / "projection.json").read_text())
    assert [row["image"] for row in report["images"]] == ["a.png", "b.jpg"] and "copying" not in report
    with (
        np.load(tmp_path / "new" / "latents.npz") as archive,
        Image.open(tmp_path / "new" / "projected.png") as picture,
    ):
        assert archive["z"].shape == (2, 4) and picture.format == "PNG"


@pytest.mark.slow
def test_gan_project_refuses_in_a_line(call, run, tmp_path):
    (tmp_path / "c.png").write_bytes(b"no image")
    (tmp_path / "file").write_text("precious")
    for more, line in (
        ([], "no held-out images of the run's data: give input=PATH"),
        (["input=nowhere"], "input=nowhere: no such file or folder"),
        (["input=c.png"], "nothing of input=c.png can be read: c.png (not an image)"),
        (["input=c.png", "out=file"], "out=file is a file, not a folder"),
        (["input=c.png", "space=x"], "no space 'x'"),
    ):
        done = call("gan-project", "ckpt=run", "n=0", "device=cpu", *more)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1) and line in done.stderr, done.stderr


@pytest.mark.slow
def test_the_data_need_not_be_at_hand(call, run, tmp_path):
    Image.new("L", (8, 8), 200).save(tmp_path / "b.png")
    words = ["ckpt=run", "steps=4", "starts=1", "input=b.png", "root=nowhere", "device=cpu"]
    done = call("gan-project", *words)
    assert (done.returncode, done.stderr) == (0, "")
    done = call("gan-project", *words, "n=2")
    assert done.returncode == 0 and done.stderr.startswith("gan-project: no images for comparison: ")
