"""Every architecture at every size it does."""

import copy
import inspect
import re
from itertools import pairwise

import pytest
import torch
from helpers import save_modules
from torch import nn

from gan_cli import penalties
from gan_cli.networks import conv, cs231n, dcgan, layers, maxout, mlp, pictures, r3gan, resnet, stylegan2, toy
from gan_cli.noise import sample_noise
from gan_cli.rundir import checkpoint
from gan_cli.training.state import load_module

ANY = [(1, 28, 28), (3, 32, 32), (1, 8, 12), (3, 64, 64)]
SIZES = {
    mlp: ANY,
    maxout: ANY,
    conv: ANY,
    pictures: [*ANY, (1, 100, 100), (3, 64, 128), (3, 128, 128)],
    dcgan: [*ANY, (1, 48, 80), (3, 128, 128), (1, 256, 256)],
    resnet: [*ANY, (1, 48, 80), (3, 80, 80), (1, 128, 128)],
    cs231n: [(1, 28, 28)],
}
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


@pytest.mark.parametrize(
    ("height", "width", "count"), [(8, 8, 2), (28, 28, 2), (32, 32, 2), (64, 96, 3), (100, 100, 2), (128, 128, 4)]
)
def test_maps_of_pictures_are_doubled_from_eight(height, width, count):
    assert pictures.doublings(height, width) == count


@pytest.mark.parametrize("module", [conv, pictures, dcgan, resnet])
def test_sizes_that_cannot_be_done_are_told(module):
    for network in (lambda shape: module.Generator(shape, 8), module.Discriminator):
        for shape, size in [((1, 30, 30), "32"), ((1, 4, 4), "8"), ((3, 28, 30), "[28,32]"), ((3, 90, 64), "[92,64]")]:
            told = f"needs sides >= 8 divisible by 4, not {shape[1]}x{shape[2]}: add dataset.size={size}"
            with pytest.raises(ValueError, match=re.escape(told) + "$"):
                network(shape)


def test_the_assignments_networks_are_for_mnist_alone():
    for discriminator in (cs231n.Discriminator, cs231n.ConvDiscriminator):
        with pytest.raises(ValueError, match=r"not 1 channels of 32x32: add dataset.size=28$"):
            discriminator((1, 32, 32))
        with pytest.raises(ValueError, match="take dataset=mnist$"):
            discriminator((3, 28, 28))


def test_an_unknown_norm_is_told_and_so_are_maps_for_attention():
    for module in (dcgan, resnet):
        with pytest.raises(ValueError, match="no norm 'bach'; choose from batch, instance, layer, spectral, none"):
            module.Discriminator((1, 32, 32), norm="bach")
    with pytest.raises(ValueError, match="no maps are 7 high for attention; choose from 32, 16, 8, 4"):
        resnet.Generator((1, 32, 32), 8, attention=7)


def _parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_dcgan_is_the_tutorials():
    """The PyTorch faces tutorial's parameter counts at nc=3, nz=100, ngf=ndf=64."""
    assert _parameters(dcgan.Generator((3, 64, 64), 100)) == 3_576_704
    assert _parameters(dcgan.Discriminator((3, 64, 64))) == 2_765_568


@pytest.mark.parametrize(("z_dim", "fully", "convolutional"), [(4, 1_858_320, 6_580_801), (96, 1_952_528, 6_675_009)])
def test_cs231n_is_the_assignments(z_dim, fully, convolutional):
    """The counts that the assignment's notebook checks, at z of 4; at 96, from the layers."""
    shape, inner = (1, 28, 28), 7 * 7 * 128
    assert fully == (z_dim + 1) * 1024 + 1025 * 1024 + 1025 * 784
    batch_norms = 2 * (1024 + inner + 64)
    assert convolutional == (z_dim + 1) * 1024 + 1025 * inner + (128 * 16 + 1) * 64 + (64 * 16 + 1) + batch_norms
    assert _parameters(cs231n.Generator(shape, z_dim)) == fully
    assert _parameters(cs231n.ConvGenerator(shape, z_dim)) == convolutional
    assert _parameters(cs231n.Discriminator(shape)) == 267_009
    assert _parameters(cs231n.ConvDiscriminator(shape)) == 1_102_721


@pytest.mark.parametrize("network", [cs231n.Generator, cs231n.ConvGenerator])
def test_the_assignments_generators_see_z_in_minus_1_to_1(network):
    generator, seen = network((1, 28, 28), 96), []
    generator[0].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    generator(sample_noise("uniform", 100, 96))
    assert 0.99 < seen[0].abs().max() <= 1
    assert seen[0].var().item() == pytest.approx(1 / 3, abs=0.02)


def _conv(fan_in, fan_out, kernel):
    return (fan_in * kernel**2 + 1) * fan_out


def test_resnet_is_mimicrys():
    """The layers of mimicry's SNGAN, counted: widths by stage, from the start for G and from the image for D."""
    for size, maps in [(32, [256] * 4), (64, [1024, 512, 256, 128, 64])]:
        count = 129 * 16 * maps[0] + 2 * maps[-1] + _conv(maps[-1], 3, 3)
        for i, o in pairwise(maps):
            count += 2 * i + _conv(i, o, 3) + 2 * o + _conv(o, o, 3) + _conv(i, o, 1)
        with torch.device("meta"):
            assert _parameters(resnet.Generator((3, size, size), 128)) == count
    for size, maps, projected in [(32, [128] * 4, 2), (64, [64, 128, 256, 512, 1024], 5)]:
        count = _conv(3, maps[0], 3) + _conv(maps[0], maps[0], 3) + _conv(3, maps[0], 1) + maps[-1] + 1
        for block, (i, o) in enumerate(pairwise(maps), start=1):
            count += _conv(i, i, 3) + _conv(i, o, 3) + (_conv(i, o, 1) if block < projected else 0)
        with torch.device("meta"):
            discriminator = resnet.Discriminator((3, size, size))
        assert _parameters(discriminator) == count


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


CONDITIONAL = [mlp, conv, pictures, dcgan, resnet]


@pytest.mark.parametrize("module", CONDITIONAL)
def test_conditional_networks_see_the_label(module):
    torch.manual_seed(0)
    shape, labels = (1, 16, 16), torch.tensor([0, 1, 2, 0])
    generator = module.Generator(shape, 7, classes=3, **_small(module.Generator))
    discriminator = module.Discriminator(shape, classes=3, **_small(module.Discriminator))
    z = torch.randn(4, 7)
    images = generator(z, labels)
    logits = discriminator(images, labels)
    assert images.shape == (4, *shape)
    assert logits.shape == (4,)
    logits.square().sum().backward()
    for network in (generator, discriminator):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
        with torch.no_grad():  # gains are alike at first, and change with training
            for name, parameter in network.named_parameters():
                if "gain" in name or "shift" in name:
                    parameter.add_(torch.randn_like(parameter))
    generator.eval(), discriminator.eval()
    other = torch.tensor([1, 1, 2, 0])
    with torch.no_grad():
        differs = (generator(z, labels) != generator(z, other)).flatten(1).any(1)
        assert differs.tolist() == [True, False, False, False]
        assert (discriminator(images, labels) != discriminator(images, other)).tolist() == [True, False, False, False]


def test_the_names_of_saved_weights_stay():
    """Unconditional networks keep the names that the checkpoints of earlier versions hold."""
    shape = (1, 16, 16)
    names = {module: [*module.Generator(shape, 7).state_dict()] for module in (mlp, conv, dcgan)}
    assert names[conv][:3] == ["project.0.weight", "layers.0.weight", "layers.0.bias"]
    assert names[conv][-2:] == ["layers.8.weight", "layers.8.bias"]
    assert [name for name in names[dcgan] if "running" not in name and "tracked" not in name] == [
        "1.weight", "2.weight", "2.bias", "4.weight", "5.weight", "5.bias", "7.weight"
    ]  # fmt: skip
    assert names[mlp][:3] == ["0.weight", "0.bias", "2.weight"]
    of_d = [*conv.Discriminator(shape).state_dict()]
    assert of_d == [f"{name}.{kind}" for name in ("layers.0", "layers.2", "layers.4", "layers.6", "score")
                    for kind in ("weight", "bias")]  # fmt: skip
    of_d = [name for name in dcgan.Discriminator(shape).state_dict() if name.endswith("weight")]
    assert of_d == ["0.weight", "2.weight", "3.weight", "5.weight"]


def _discriminators():
    """Those without batch normalisation, which a penalty per image is taken on."""
    for norm in ("instance", "layer", "spectral", "none"):
        yield f"dcgan-{norm}", lambda norm=norm: dcgan.Discriminator((1, 16, 16), width=4, norm=norm)
        yield f"resnet-{norm}", lambda norm=norm: resnet.Discriminator((1, 16, 16), width=8, norm=norm, attention=8)
    yield "cs231n", lambda: cs231n.Discriminator((1, 28, 28))
    yield "cs231n_dc", lambda: cs231n.ConvDiscriminator((1, 28, 28))


DISCRIMINATORS = dict(_discriminators())


@pytest.fixture(params=DISCRIMINATORS)
def discriminator(request):
    torch.manual_seed(0)
    return DISCRIMINATORS[request.param]()


def _images(discriminator, n=3):
    side = 28 if type(discriminator).__module__.endswith("cs231n") else 16
    return torch.randn(n, 1, side, side)


def test_penalties_have_gradients_and_images_are_judged_alone(discriminator):
    for module in discriminator.modules():
        if isinstance(module, layers.SelfAttention2d):
            nn.init.ones_(module.gamma)
    images = _images(discriminator)
    penalties.r1(discriminator, images, images).mean().backward()
    weights = [p for p in discriminator.parameters() if p.dim() > 1]
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in weights)
    discriminator.eval()  # no power iteration between the two
    torch.testing.assert_close(discriminator(images)[:1], discriminator(images[:1]), rtol=1e-4, atol=1e-5)


GROUPS = {
    "conv": (1, lambda: conv.Discriminator((1, 16, 16), width=4)),
    "cs231n": (1, lambda: cs231n.Discriminator((1, 28, 28))),
    "cs231n_dc": (1, lambda: cs231n.ConvDiscriminator((1, 28, 28))),
    "dcgan": (None, lambda: dcgan.Discriminator((1, 16, 16), width=4)),
    "dcgan, layer": (1, lambda: dcgan.Discriminator((1, 16, 16), width=4, norm="layer")),
    "dcgan, spectral": (None, lambda: dcgan.Discriminator((1, 16, 16), width=4, norm="spectral")),
    "maxout": (1, lambda: maxout.Discriminator((1, 16, 16)).eval()),  # dropout draws for each image
    "mlp": (1, lambda: mlp.Discriminator((1, 16, 16))),
    "pictures": (4, lambda: pictures.Discriminator((1, 16, 16), width=4)),
    "r3gan": (1, lambda: r3gan.Discriminator((1, 16, 16), width=8, max_width=8, group_width=4)),
    "resnet": (1, lambda: resnet.Discriminator((1, 16, 16), width=8, norm="none")),
    "stylegan2": (4, lambda: stylegan2.Discriminator((1, 16, 16), width=4)),
    "toy": (1, lambda: toy.Discriminator((2,))),
    "toy, batch_mean": (None, lambda: toy.Discriminator((2,), batch_mean=True)),
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_logit_depends_on_the_images_of_its_group(name):
    group, make = GROUPS[name]
    torch.manual_seed(0)
    discriminator = make()
    assert getattr(discriminator, "group", None) == group
    x = torch.randn(8, 2) if name.startswith("toy") else _images(discriminator, 8)
    whole, places = discriminator(x), torch.arange(8).view(group or 1, -1)[:, 0]
    alone = torch.allclose(whole[places], discriminator(x[places]), rtol=1e-4, atol=1e-5)
    assert alone == bool(group) or "spectral" in name  # of which each pass is an iteration


def test_bf16_runs_and_a_frozen_discriminator_gives_its_input_a_gradient(discriminator):
    """What the loop does to a discriminator in the generator's step."""
    images = _images(discriminator).requires_grad_()
    copied = copy.deepcopy(discriminator)
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        logits = copied(images)
    logits.float().sum().backward()
    assert logits.isfinite().all()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for p in copied.parameters())


@pytest.mark.parametrize("name", ["dcgan-spectral", "resnet-spectral"])
def test_spectral_normalisation_bounds_each_layer_and_is_saved(name, tmp_path):
    discriminator = DISCRIMINATORS[name]()
    images = _images(discriminator)
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.mul_(5)
        for _ in range(100):
            discriminator(images)
    weights = [m.weight for m in discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weights) == sum(p.dim() > 1 for p in discriminator.parameters())
    for weight in weights:
        assert torch.linalg.svdvals(weight.flatten(1))[0].item() == pytest.approx(1, abs=0.02)

    save_modules(tmp_path, checkpoint.Progress(), {}, {"discriminator": discriminator})
    loaded = DISCRIMINATORS[name]()
    load_module(checkpoint.read(tmp_path / "last.safetensors"), "discriminator", loaded)
    assert torch.equal(loaded.eval()(images), discriminator.eval()(images))
    with torch.device("meta"):
        sketch = DISCRIMINATORS[name]()
        assert sketch.eval()(torch.empty(images.shape)).shape == (3,)
    assert {k: v.shape for k, v in sketch.state_dict().items()} == {k: v.shape for k, v in loaded.state_dict().items()}


def test_attention_begins_as_the_identity():
    torch.manual_seed(0)
    generator = resnet.Generator((1, 16, 16), 7, width=8, attention=8).eval()
    z = torch.randn(3, 7)
    before = generator(z)
    (attention,) = (m for m in generator.modules() if isinstance(m, layers.SelfAttention2d))
    without = nn.Sequential(*(m for m in generator if m is not attention))
    torch.testing.assert_close(before, without(z))
    nn.init.ones_(attention.gamma)
    assert (generator(z) - before).abs().max() > 1e-4
