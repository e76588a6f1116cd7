"""Path length regularisation against the Jacobian, written out, and the game that adds it."""

import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gan_cli.losses import nonsaturating
from gan_cli.networks import stylegan2
from gan_cli.noise import Noise
from gan_cli.training.batches import Batch
from gan_cli.training.games import Average
from gan_cli.training.path_length import PathLength
from gan_cli.training.terms import objective


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return stylegan2.Generator((2, 8, 8), 3, width=2, max_width=4, mapping_layers=2).double().eval()


def test_a_length_is_that_of_the_jacobian_s_product_with_noise(generator):
    z = torch.randn(2, 3, dtype=torch.float64)
    torch.manual_seed(5)
    found = generator.path_lengths(z)
    torch.manual_seed(5)
    y = torch.randn(2, 2, 8, 8, dtype=torch.float64) / math.sqrt(8 * 8)
    modulated, places = generator._modulated(), generator._styles(generator.mapped(z))[1]
    # 4x4: one layer and the image; 8x8: two layers and the image. An image's convolution shares w with the next layer.
    assert places == [0, 1, 2, 1, 3]

    def image(of_layers):
        """The image, given a w for each layer, ``[4, 3]``."""
        chosen = ((c.style, of_layers[place]) for c, place in zip(modulated, places, strict=True))
        return generator._draw([style(w[None]) for style, w in chosen])[0]

    for length, w, noise in zip(found, generator.mapped(z).detach(), y, strict=True):
        jacobian = torch.autograd.functional.jacobian(image, w.expand(4, 3).clone())  # [2, 8, 8, 4, 3]
        product = torch.einsum("chwld,chw->ld", jacobian, noise)
        assert length.item() == pytest.approx(product.square().sum(dim=1).mean().sqrt().item(), rel=1e-10)


def test_the_lengths_can_be_differentiated(generator):
    """The derivative in a weight of the first layer, of the mapping and of a style, against differences."""
    z = torch.randn(2, 3, dtype=torch.float64)

    def lengths():
        torch.manual_seed(5)
        return generator.path_lengths(z).square().sum()

    layer = generator._layers()[0]
    weights = layer.conv.conv.weight, generator.mapping[0].weight, layer.conv.style.weight
    gradients = torch.autograd.grad(lengths(), weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        place, step = (0,) * weight.dim(), 1e-5
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * step
            values.append(lengths().item())
            with torch.no_grad():
                weight[place] -= sign * step
        assert gradient[place].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


class _Lengths(nn.Module):
    """A generator of images z * scale, whose path lengths are known: scale times 3 for the first latent, 1 for others.

    ``labels`` are taken and not used.
    """

    def __init__(self):
        super().__init__()
        self.scale, self.seen = nn.Parameter(torch.tensor(1.0)), []

    def forward(self, z, labels=None):
        return (z * self.scale)[:, :, None, None]

    def path_lengths(self, z, labels=None):
        self.seen.append((len(z), None if labels is None else len(labels)))
        return self.scale * torch.tensor([3.0] + [1.0] * (len(z) - 1))


def _game(**options):
    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(2, 1), nn.Flatten(0))
    parts = {"loss": nonsaturating, "noise": Noise("normal", 2), "average": Average(half_life=0)}
    return PathLength(generator=_Lengths(), discriminator=discriminator, **parts, **options)


def test_the_game_descends_the_spread_of_the_lengths_at_intervals():
    game = _game(weight=0.5, interval=3, decay=0.25)
    mean = 0.0
    for number in range(1, 8):
        batch = Batch(torch.randn(4, 2, 1, 1), None, number)
        fake = game.generate(batch)
        game.discriminator_terms(batch, fake)
        terms = game.generator_terms(batch, fake)
        assert ("path_length" in terms) == (number % 3 == 0) == (game.kind(batch) == (False, True))
        if number % 3:
            continue
        mean += 0.25 * (2.0 - mean)  # the mean of 3 and 1: two latents for four images
        expected = 3 * 0.5 * ((3 - mean) ** 2 + (1 - mean) ** 2) / 2
        assert game.spread.mean.item() == pytest.approx(mean)
        assert objective({"path_length": terms["path_length"]}).item() == pytest.approx(expected)
    assert game.generator.seen == [(2, None)] * 2


def test_what_does_not_fit_says_what_to_type():
    with pytest.raises(ValueError, match="use net=stylegan2"):
        PathLength(generator=nn.Identity(), discriminator=nn.Identity(), loss=nonsaturating)
    with pytest.raises(ValueError, match="interval=0 1 or more"):
        _game(interval=0)


def test_a_run_has_the_term_and_resumes_bit_for_bit(call, tmp_path):
    words = [
        "game=path_length", "net=stylegan2", "net.z_dim=4", "net.generator.width=2", "net.generator.max_width=4",
        "net.discriminator.width=2", "net.discriminator.max_width=4", "game.interval=2", "batch_size=4", "log_every=1",
    ]  # fmt: skip
    for run, steps in (("whole", 5), ("parts", 3)):
        done = call("gan-train", *words, f"steps={steps}", f"run_dir={run}")
        assert done.returncode == 0, done.stderr
    assert call("gan-train", "resume=parts", "steps=5").returncode == 0
    one, other = (load_file(tmp_path / f"{run}/checkpoints/last.safetensors") for run in ("whole", "parts"))
    assert one.keys() == other.keys() and one["spread.mean"] > 0
    assert all(torch.equal(value, other[name]) for name, value in one.items())
