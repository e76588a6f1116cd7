"""R3GAN: sizes, initialisation, what the paper's penalties need."""

import copy
import math
import re

import pytest
import torch
from torch import nn

from gan_cli.networks import r3gan
from gan_cli.networks.layers import downsample, pyramid, upsample

SHAPES = [(1, 28, 28), (3, 32, 32), (1, 8, 12), (3, 28, 36)]


def _parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("patch", "classes"), [(1, 0), (2, 5)])
def test_shapes_and_a_penaltys_gradient(shape, patch, classes):
    generator = r3gan.Generator(shape, 7, width=16, patch=patch, classes=classes)
    discriminator = r3gan.Discriminator(shape, width=16, patch=patch, classes=classes)
    labels = (torch.tensor([0, 4, 4]),) if classes else ()
    with torch.no_grad():
        for p in [*generator.parameters(), *discriminator.parameters()]:  # else the blocks' inner weights get none
            p.add_(0.1 * torch.randn_like(p))
    images = generator(torch.randn(3, 7), *labels)
    assert images.shape == (3, *shape)
    logits = discriminator(images, *labels)
    assert logits.shape == (3,)
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    (logits.sum() + gradient.square().sum()).backward()
    for network in (generator, discriminator):
        for name, p in network.named_parameters():
            assert p.grad is not None and torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0, name


def test_the_published_network():
    """Parameters of the CIFAR-10 preset at an eighth of its width, counted layer by layer from the published code."""
    block = 2 * 96 * 192 + 2 * 192 + 192 * 16 * 9
    trunk = 4 * 2 * block + 16 * 96 + 3 * 96
    preset = {"width": 96, "max_width": 96, "blocks": 2, "patch": 1}
    assert _parameters(r3gan.Generator((3, 32, 32), 64, **preset)) == trunk + 64 * 96
    assert _parameters(r3gan.Discriminator((3, 32, 32), **preset)) == trunk + 96


def test_each_block_starts_as_the_identity():
    for network in (r3gan.Generator((3, 64, 64), 8, blocks=2), r3gan.Discriminator((3, 64, 64), blocks=2)):
        blocks = [module for module in network.modules() if isinstance(module, r3gan.Block)]
        assert len(blocks) == 8
        for block in blocks:
            x = torch.randn(2, block.layers[0].in_channels, 4, 4)
            assert torch.equal(block(x), x)


def test_the_variance_stays_of_order_1_through_depth():
    """Were a block's last convolution not at 0, each would add a variance of 1 / depth to one of 1."""
    torch.manual_seed(0)
    generator = r3gan.Generator((3, 16, 16), 64, width=64, blocks=5)
    discriminator = r3gan.Discriminator((3, 16, 16), width=64, blocks=5)
    for network in (generator, discriminator):
        for block in (module for module in network.modules() if isinstance(module, r3gan.Block)):
            layers = copy.deepcopy(block.layers)
            r3gan._initialised(layers[-1])
            added = layers(torch.randn(16, 64, 8, 8))[..., 1:-1, 1:-1]  # beyond the border all is 0
            assert added.std().item() == pytest.approx(10**-0.5, rel=0.15)
    assert 0.3 < generator(torch.randn(64, 64)).std() < 3
    plain = torch.randn(64, 3, 1, 1).expand(64, 3, 16, 16)  # of noise, resampling leaves little
    assert 0.3 < discriminator(plain).std() < 3


def test_the_discriminator_is_a_function_of_each_image():
    discriminator, images = r3gan.Discriminator((1, 28, 28)), torch.randn(5, 1, 28, 28)
    torch.testing.assert_close(discriminator(images)[:2], discriminator(images[:2]))


def test_labels_decide():
    generator, discriminator = r3gan.Generator((1, 8, 8), 4, classes=3), r3gan.Discriminator((1, 8, 8), classes=3)
    z, images = torch.randn(1, 4).expand(3, 4), torch.randn(1, 1, 8, 8).expand(3, 1, 8, 8)
    for values in (generator(z, torch.arange(3)).flatten(1)[:, 0], discriminator(images, torch.arange(3))):
        assert len(values.unique()) == 3


def test_sizes_that_cannot_be_done_are_told():
    for given, near in (
        ((30, 30), (32, 32)), ((4, 4), (8, 8)), ((100, 100), (112, 112)), ((64, 30), (64, 32)),
        ((129, 200), (160, 224)),
    ):  # fmt: skip
        told = f"add dataset.size={near[0] if near[0] == near[1] else list(near)}".replace(", ", ",")
        with pytest.raises(ValueError, match=f"not {given[0]}x{given[1]}: {re.escape(told)}$"):
            r3gan.Generator((1, *given), 8)
        pyramid((1, *near), "what it says can be done")
    with pytest.raises(ValueError, match="for points take"):
        r3gan.Discriminator((2,))
    with pytest.raises(ValueError, match=r"width of 12 \* expansion=2 should be a multiple of group_width=16"):
        r3gan.Discriminator((1, 8, 8), width=12)
    for patch in (0, 3, 4):
        with pytest.raises(ValueError, match=f"patch={patch} should be 1, 2, 4"):
            r3gan.Discriminator((1, 8, 8), patch=patch)


def test_resampling_is_bilinear_and_adjoint():
    x, y = torch.randn(2, 3, 6, 8), torch.randn(2, 3, 12, 16)
    interpolated = nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(upsample(x)[..., 1:-1, 1:-1], interpolated[..., 1:-1, 1:-1])  # the border: 0 beyond it
    assert (upsample(x) * y).sum().item() == pytest.approx(4 * (x * downsample(y)).sum().item(), rel=1e-4)
    constant = downsample(torch.ones(1, 1, 8, 8))
    torch.testing.assert_close(constant[..., 1:-1, 1:-1], torch.ones(1, 1, 2, 2))
    with torch.autocast("cpu", torch.bfloat16):
        assert upsample(x.bfloat16()).dtype is torch.bfloat16
        assert math.isclose(downsample(y).sum(), downsample(y.bfloat16()).sum(), rel_tol=0.05, abs_tol=1)
