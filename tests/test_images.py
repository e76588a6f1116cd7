"""From tensors to pictures."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gan_cli import sampling
from gan_cli.latents import Latents
from gan_cli.networks import conv
from gan_cli.noise import Noise
from gan_cli.pictures import animation, grids
from gan_cli.pictures.output import write_npz


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    network = conv.Generator((1, 28, 28), 16, width=8)
    network(torch.randn(64, 16))  # running statistics other than 0 and 1
    return network


@pytest.mark.parametrize("n", [1, 31, 70])
def test_samples_do_not_depend_on_the_batch_size(generator, n):
    latents = torch.randn(70, 16)
    reference = torch.cat(list(sampling.generate(generator, latents, batch_size=1000)))
    for batch_size in (1, 7, 32, 33, 64):
        blocks = list(sampling.generate(generator, latents[:n], batch_size))
        assert torch.equal(torch.cat(blocks), reference[:n])
        assert all(len(block) <= max(32, batch_size + 31) for block in blocks)


def test_the_same_seed_draws_the_same_latents_however_many():
    for prior in ("normal", "uniform"):
        assert torch.equal(
            sampling.latents(Noise(prior, 7), 3, seed=1), sampling.latents(Noise(prior, 7), 100, seed=1)[:3]
        )
    assert not torch.equal(
        sampling.latents(Noise("normal", 7), 3, seed=1), sampling.latents(Noise("normal", 7), 3, seed=2)
    )


def test_sampling_leaves_the_mode_and_the_statistics_alone(generator):
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    assert generator.training
    list(sampling.generate(generator, torch.randn(4, 16)))
    assert generator.training
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_a_grid_is_row_major_undistorted_and_in_its_own_colours():
    shades = torch.arange(6, dtype=torch.uint8).mul(40).reshape(6, 1, 1, 1).expand(6, 3, 16, 24).clone()
    shades[:, 0] = 255
    pixels = np.asarray(grids.grid(shades))
    height, width, enlarged = 16 * 4, 24 * 4, 2
    assert pixels.shape == (2 * (height + enlarged) + enlarged, 3 * (width + enlarged) + enlarged, 3)
    for i in range(6):
        row, column = divmod(i, 3)
        middle = pixels[row * (height + 2) + 2 + height // 2, column * (width + 2) + 2 + width // 2]
        assert middle.tolist() == [255, 40 * i, 40 * i]
    assert grids.grid(shades[:, :1]).mode == "L"


def test_npz_and_png_hold_what_was_generated(tmp_path):
    batch = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    write_npz(batch, tmp_path / "s.npz", Latents(torch.zeros(5, 2)))
    with np.load(tmp_path / "s.npz") as archive:
        assert archive["images"].dtype == np.uint8
        assert archive["images"].tolist() == batch.permute(0, 2, 3, 1).tolist()
    grids.write_png(grids.to_pil(batch[0]), tmp_path / "one.png")
    assert np.asarray(Image.open(tmp_path / "one.png")).tolist() == batch[0].permute(1, 2, 0).tolist()


@pytest.mark.parametrize(("frames", "kept"), [(1, 1), (7, 7), (250, 84)])
def test_the_animation_keeps_the_last_frame_and_stays_short(tmp_path, frames, kept):
    paths = []
    for i in range(frames):
        paths.append(tmp_path / f"{i:08d}.png")
        grids.write_png(Image.new("L", (16, 16), 37 * i % 256), paths[-1])
    written = animation.write_animation(paths, tmp_path / "training")
    with Image.open(written) as found:
        assert getattr(found, "n_frames", 1) == kept
        found.seek(kept - 1)
        assert abs(int(np.asarray(found.convert("L")).mean()) - 37 * (frames - 1) % 256) <= 2
    assert animation.write_animation([], tmp_path / "none") is None


def test_generate_runs_in_eval_mode():
    seen = []

    class Probe(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, z):
            seen.append(self.training)
            return torch.zeros(len(z), 1, 4, 4)

    list(sampling.generate(Probe(), torch.zeros(3, 2)))
    assert seen == [False, False]  # the first is one image alone, for its size
