"""Every architecture at every size it does."""

import inspect

import pytest
import torch
from torch import nn

from gan_cli.networks import conv, dcgan, maxout, mlp
from gan_cli.noise import sample_noise

ANY = [(1, 28, 28), (3, 32, 32), (1, 8, 12), (3, 64, 64)]
SIZES = {mlp: ANY, maxout: ANY, conv: ANY, dcgan: [(1, 32, 32), (3, 64, 64), (3, 128, 128), (1, 256, 256)]}
CASES = [(module, shape) for module, shapes in SIZES.items() for shape in shapes]


def _small(network):
    """Keyword arguments for a narrow version of ``network``: shapes are what is tested."""
    return {"width": 4} if "width" in inspect.signature(network).parameters else {}


@pytest.mark.parametrize(("module", "shape"), CASES)
def test_shapes_ranges_and_gradients(module, shape):
    generator = module.Generator(image_shape=shape, z_dim=7, **_small(module.Generator))
    discriminator = module.Discriminator(image_shape=shape, **_small(module.Discriminator))
    images = generator(torch.randn(3, 7))
    assert images.shape == (3, *shape)
    assert images.abs().max() <= 1
    logits = discriminator(images)
    assert logits.shape == (3,)
    logits.sum().backward()
    for network in (generator, discriminator):
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
        assert sum(p.grad.abs().sum() for p in network.parameters()) > 0


@pytest.mark.parametrize("height", [28, 30, 16, 48])
def test_sizes_that_cannot_be_done_are_told(height):
    with pytest.raises(ValueError, match=r"dcgan needs square .*: add dataset.size=(32|64)$"):
        dcgan.Generator((1, height, height), 8)
    if height % 4:
        with pytest.raises(ValueError, match="divisible by 4, not 30x30: add dataset.size=32"):
            conv.Discriminator((1, height, height))


def _parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_dcgan_is_the_tutorials():
    """The PyTorch faces tutorial's parameter counts at nc=3, nz=100, ngf=ndf=64."""
    assert _parameters(dcgan.Generator((3, 64, 64), 100)) == 3_576_704
    assert _parameters(dcgan.Discriminator((3, 64, 64))) == 2_765_568


def test_maxout_is_the_papers():
    generator, discriminator = maxout.Generator((1, 28, 28), 100), maxout.Discriminator((1, 28, 28))
    assert _parameters(generator) == 101 * 1200 + 1201 * 1200 + 1201 * 784
    assert _parameters(discriminator) == 785 * 1200 + 241 * 1200 + 241
    assert generator.layers[0].weight.abs().max() <= 0.05
    assert discriminator.layers[2].linear.weight.abs().max() <= 0.005


def test_a_maxout_unit_is_the_largest_of_its_pieces():
    layer, x = maxout.Maxout(4, units=3, pieces=5), torch.randn(2, 4)
    pieces = x @ layer.linear.weight.T + layer.linear.bias
    expected = torch.stack([pieces[:, 5 * unit : 5 * unit + 5].max(dim=1).values for unit in range(3)], dim=1)
    torch.testing.assert_close(layer(x), expected)


def test_the_maxout_generator_starts_at_the_pixels_marginals():
    mean = torch.rand(1, 28, 28) * 0.8 + 0.1
    generator = maxout.Generator((1, 28, 28), 100, pixel_mean=mean)
    with torch.no_grad():
        generator.layers[4].weight.zero_()
    torch.testing.assert_close((generator(torch.randn(1, 100))[0] + 1) / 2, mean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_noise_has_mean_0_and_variance_1(prior):
    z = sample_noise(prior, 2000, 50, rng=torch.Generator().manual_seed(0))
    assert z.shape == (2000, 50)
    assert z.mean().item() == pytest.approx(0, abs=0.02)
    assert z.var().item() == pytest.approx(1, abs=0.02)
    assert (z.abs().max() <= 3**0.5) == (prior == "uniform")


def test_an_unknown_prior_is_told():
    with pytest.raises(ValueError, match="choose from normal, uniform"):
        sample_noise("cauchy", 1, 1)
