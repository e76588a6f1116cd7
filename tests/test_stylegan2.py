"""StyleGAN2 against the paper's formulas, written out."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import save_modules
from torch import nn
from torch.nn.functional import conv2d

from gan_cli.networks import stylegan2
from gan_cli.networks.minibatch import minibatch_std
from gan_cli.networks.stylegan2 import Conv2d, Linear, ModulatedConv2d
from gan_cli.rundir.checkpoint import Progress

SMALL = {"width": 4, "max_width": 8}


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 12), (3, 28, 36)])
@pytest.mark.parametrize("classes", [0, 5])
def test_shapes_and_a_penaltys_gradient(shape, classes):
    generator = stylegan2.Generator(shape, 7, classes=classes, **SMALL)
    discriminator = stylegan2.Discriminator(shape, classes=classes, **SMALL)
    labels = (torch.tensor([0, 4, 4]),) if classes else ()
    images = generator(torch.randn(3, 7), *labels)
    assert images.shape == (3, *shape)
    logits = discriminator(images, *labels)
    assert logits.shape == (3,)
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    (logits.sum() + gradient.square().sum()).backward()
    for network in (generator, discriminator):
        for name, p in network.named_parameters():
            assert p.grad is not None and torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulation_is_that_of_each_images_weights(demodulate):
    """Equations 1 and 3 as they stand: weights of its own for each image, in one convolution of as many groups."""
    layer, bias = ModulatedConv2d(3, 5, 3, w_dim=4).double(), torch.randn(5, dtype=torch.float64)
    x, w = torch.randn(2, 3, 6, 7, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    style = w @ layer.style.weight.T / math.sqrt(4) + 1
    weight = style[:, None, :, None, None] * layer.conv.weight / math.sqrt(3 * 9)
    if demodulate:
        weight = weight / (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).sqrt()
    expected = conv2d(x.reshape(1, 6, 6, 7), weight.reshape(10, 3, 3, 3), padding=1, groups=2).view(2, 5, 6, 7)
    of = stylegan2.styles([layer], w)
    found = layer(x, *of, *(stylegan2.factors([layer], of) if demodulate else [None]), bias)
    expected = expected * (math.sqrt(2) if demodulate else 1) + bias[:, None, None]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_equalised_learning_rate():
    """Weights act with a standard deviation of 1 / sqrt(fan-in); a step on them acts ``rate`` times as far."""
    torch.manual_seed(0)
    eye = torch.eye(64)
    for rate in (1.0, 0.01):
        layer = Linear(64, 500, rate, bias=0.5)
        assert (layer(eye) - 0.5).std().item() == pytest.approx(1 / 8, rel=0.02)
        before = layer(eye)
        with torch.no_grad():
            layer.weight += 1
            layer.bias += 1
        torch.testing.assert_close(layer(eye) - before, torch.full((64, 500), rate / 8 + rate), rtol=1e-3, atol=1e-5)
    assert Conv2d(50, 40, 3)(torch.randn(4, 50, 9, 9))[..., 1:-1, 1:-1].std().item() == pytest.approx(1, rel=0.1)


def test_the_deviation_over_a_minibatch():
    x = torch.randn(8, 3, 2, 2)
    for n, size in ((8, 4), (6, 6), (7, 7), (2, 2)):  # the least number from 4 up that divides the batch, or all of it
        groups = x[:n].view(size, n // size, 3, 2, 2)
        expected = [groups[:, i].std(dim=0, correction=0).mean() for i in range(n // size)]
        found = minibatch_std(x[:n])
        assert torch.equal(found[:, :3], x[:n])
        for i in range(n):
            torch.testing.assert_close(found[i, 3], expected[i % (n // size)].expand(2, 2))
    same = x[:1].expand(4, 3, 2, 2).clone().requires_grad_()
    minibatch_std(same)[:, 3].sum().backward()
    assert torch.isfinite(same.grad).all()
    assert minibatch_std(x[:1])[0, 3].max() == pytest.approx(1e-4)


def test_noise_is_drawn_in_training_and_fixed_in_eval_mode():
    generator, z = stylegan2.Generator((1, 8, 12), 4, **SMALL), torch.randn(3, 4)
    assert torch.equal(generator(z), generator(z))  # its strength starts at 0
    with torch.no_grad():
        for name, p in generator.named_parameters():
            if name.endswith("strength"):
                p.fill_(1.0)
    assert not torch.equal(generator(z), generator(z))
    generator.eval()
    assert torch.equal(generator(z), generator(z))
    torch.testing.assert_close(generator(z)[:1], generator(z[:1]))
    other = copy.deepcopy(stylegan2.Generator((1, 8, 12), 4, **SMALL)).eval()
    other.load_state_dict(generator.state_dict())
    assert torch.equal(other(z), generator(z))


def test_a_latents_length_does_not_matter_and_labels_do():
    generator = stylegan2.Generator((1, 8, 8), 4, classes=3, **SMALL).eval()
    z, labels = torch.randn(1, 4).expand(3, 4), torch.arange(3)
    torch.testing.assert_close(generator(z, labels), generator(2 * z, labels), rtol=1e-4, atol=1e-5)
    discriminator = stylegan2.Discriminator((1, 8, 8), classes=3, **SMALL)
    for values in (generator(z, labels).flatten(1)[:, 0], discriminator(torch.ones(3, 1, 8, 8), labels)):
        assert len(values.unique()) == 3


def test_the_published_generator():
    """Configuration F at 64x64 and an eighth of its width, counted layer by layer: eight mapping layers, five sizes."""
    style = 64 * 64 + 64
    layer = 64 * 64 * 9 + style + 1 + 64
    to_image = 64 * 3 + style + 3
    generator = stylegan2.Generator((3, 64, 64), 64, width=64, max_width=64, mapping_layers=8)
    count = sum(p.numel() for p in generator.parameters())
    assert count == 8 * style + 64 * 16 + 9 * layer + 5 * to_image
    assert not [m for m in generator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]  # all of them equalised


def test_truncation_moves_w_towards_its_mean():
    """``mean + psi (w - mean)``, with a mapping written out; psi of 0 makes one image of all latents."""
    torch.manual_seed(0)
    generator = stylegan2.Generator((3, 8, 8), 7, **SMALL).double().eval()
    z, many = torch.randn(4, 7, dtype=torch.float64), torch.randn(50, 7, dtype=torch.float64)

    def mapped(x):
        x = x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
        for layer in generator.mapping:
            x = nn.functional.leaky_relu(0.01 * math.sqrt(2) * (x @ layer.weight.T / math.sqrt(7) + layer.bias), 0.2)
        return x

    plain, mean = generator(z), mapped(many).mean(dim=0)
    for psi in (1.0, 0.7, 0.0):
        generator.truncate(psi, many)
        expected = generator.synthesise(mean + psi * (mapped(z) - mean))
        torch.testing.assert_close(generator(z), expected, rtol=1e-10, atol=1e-10)
    assert (generator(z) - generator(z)[:1]).abs().max() < 1e-12
    generator.truncate(1.0, many)
    torch.testing.assert_close(generator(z), plain, rtol=1e-10, atol=1e-10)


def test_style_mixing_gives_late_layers_the_styles_of_the_second_latent(monkeypatch):
    """Images of 8x8 have layers 0 | 1, 2, the 1x1 convolutions counting as 1 and 3."""
    torch.manual_seed(0)
    generator = stylegan2.Generator((3, 8, 8), 7, mixing=0.5, **SMALL)
    seen, whole = [], stylegan2._mixed
    monkeypatch.setattr(stylegan2, "_mixed", lambda *given: seen.append((*given, whole(*given))) or seen[-1][-1])
    generator.eval()(torch.randn(2, 7))
    assert not seen  # images are functions of their latents
    generator.train()(torch.randn(4000, 7))
    ((of, second, places, _, found),) = seen
    assert places == [0, 1, 2, 1, 3]
    begins = []
    for image in range(4000):
        from_second = [torch.equal(one[image], b[image]) for one, b in zip(found, second, strict=True)]
        from_first = [torch.equal(one[image], a[image]) for one, a in zip(found, of, strict=True)]
        assert all(a != b for a, b in zip(from_first, from_second, strict=True))
        begins.append(min((place for place, late in zip(places, from_second, strict=True) if late), default=4))
        assert from_second == [place >= begins[-1] for place in places]
    counts = torch.bincount(torch.tensor(begins), minlength=5).double() / 4000
    torch.testing.assert_close(counts, torch.tensor([0, 1 / 6, 1 / 6, 1 / 6, 1 / 2]).double(), atol=0.03, rtol=0)


def test_no_mixing_draws_no_random_numbers():
    generator = stylegan2.Generator((1, 8, 8), 7, **SMALL)
    torch.manual_seed(1)
    generator(torch.zeros(2, 7))
    after = torch.get_rng_state()
    torch.manual_seed(1)
    torch.randn(2, sum(layer.noise.numel() for stage in generator.stages for layer in stage.layers))
    assert torch.equal(torch.get_rng_state(), after)
    with pytest.raises(ValueError, match="mixing=2 from 0 to 1"):
        stylegan2.Generator((1, 8, 8), 7, mixing=2)


def test_gan_sample_truncates(call, tmp_path):
    net = {
        "generator": {"_target_": "gan_cli.networks.stylegan2.Generator", **SMALL},
        "discriminator": {"_target_": "gan_cli.networks.stylegan2.Discriminator", **SMALL},
        "z_dim": 7,
        "prior": "normal",
    }
    torch.manual_seed(0)
    generator = stylegan2.Generator((1, 8, 8), 7, **SMALL)
    modules = {"generator": generator, "ema": generator}
    save_modules(
        tmp_path / "run" / "checkpoints", Progress(7, 70, 1.5), {"net": net, "image_shape": [1, 8, 8]}, modules
    )
    spread = []
    for psi in ("1", "0.5", "0"):
        done = call("gan-sample", "ckpt=run", "n=8", f"truncation={psi}", f"out={psi}.npz", "device=cpu")
        assert done.returncode == 0, done.stderr
        spread.append(np.load(tmp_path / f"{psi}.npz")["images"].astype(float).std(axis=0).mean())
    assert spread[0] > spread[1] > spread[2] == 0
