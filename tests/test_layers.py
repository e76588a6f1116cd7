"""The fast convolutions against torch's, in float64, and which shapes they are taken for; and the other layers."""

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from gan_cli.networks import convolution, layers

# Channels and side of the larger maps, channels of the smaller ones; each rule of convolution.py on both of its sides.
SHAPES = [
    (1, 64, 8),
    (3, 64, 5),
    (4, 64, 5),
    (5, 64, 3),
    (64, 16, 6),
    (64, 18, 6),
    (128, 8, 7),
    (130, 8, 6),
    (255, 8, 4),
    (256, 8, 5),
    (256, 4, 6),
    (256, 10, 4),
    (63, 4, 3),
    (2, 7, 3),
]


def _pair(kind, channels, maps, bias):
    torch.manual_seed(0)
    if kind == "halving":
        ours = convolution.HalvingConv2d(channels, maps, bias)
        plain = nn.Conv2d(channels, maps, 4, stride=2, padding=1, bias=bias)
    else:
        ours = convolution.DoublingConvTranspose2d(maps, channels, bias)
        plain = nn.ConvTranspose2d(maps, channels, 4, stride=2, padding=1, bias=bias)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    plain.load_state_dict(ours.state_dict())
    return ours, plain.double()


def _results(layer, x, gradient):
    x = x.requires_grad_()
    y = layer(x)
    y.backward(gradient.to(y.dtype))
    return [y, x.grad, *(parameter.grad for parameter in layer.parameters())]


def _relative(a, b):
    return ((a.double() - b).norm() / b.norm()).item()


@pytest.mark.parametrize("kind", ["halving", "doubling"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("channels", "side", "maps"), SHAPES)
@pytest.mark.parametrize(("bf16", "tolerance"), [(True, 2e-2), (False, 1e-5)])
def test_the_functions_and_gradients_are_torchs(kind, bias, channels, side, maps, bf16, tolerance):
    side -= side % 2 if kind == "doubling" else 0
    ours, plain = _pair(kind, channels, maps, bias)
    x = torch.randn(3, channels, side, side) if kind == "halving" else torch.randn(3, maps, side // 2, side // 2)
    gradient = torch.randn_like(plain(x.double()))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        results = _results(ours, x.clone(), gradient)
    assert results[0].dtype == (torch.bfloat16 if bf16 else torch.float32)
    for result, expected in zip(results, _results(plain, x.double(), gradient), strict=True):
        assert result.shape == expected.shape
        assert _relative(result, expected) < tolerance


def _recorded(monkeypatch, name):
    """The calls of a function of layers.py, noted."""
    calls, real = [], getattr(convolution, name)
    monkeypatch.setattr(convolution, name, lambda *args: (calls.append(args), real(*args))[1])
    return calls


def test_products_are_taken_in_bf16_only_and_where_they_pay(monkeypatch):
    calls = _recorded(monkeypatch, "patches")
    x = torch.randn(2, 128, 8, 8)
    layer = convolution.HalvingConv2d(128, 8)
    layer(x)
    assert not calls
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        assert len(calls) == 1  # the product
        y.sum().backward()
        assert len(calls) == 2  # and the weight's gradient
        convolution.HalvingConv2d(128, 8)(torch.randn(2, 128, 32, 32)).sum().backward()
    assert len(calls) == 2


def test_many_small_maps_are_doubled_by_a_product_in_bf16(monkeypatch):
    calls = _recorded(monkeypatch, "double_by_product")
    halving, doubling = convolution.HalvingConv2d(256, 6), convolution.DoublingConvTranspose2d(6, 256)
    x, y = torch.randn(2, 256, 8, 8, requires_grad=True), torch.randn(2, 6, 4, 4)
    halving(x).sum().backward()
    doubling(y)
    assert not calls
    with torch.autocast("cpu", torch.bfloat16):
        halving(x).sum().backward()
        assert len(calls) == 1
        doubling(y)
        assert len(calls) == 2
        convolution.DoublingConvTranspose2d(6, 256)(torch.randn(2, 6, 5, 5))
        convolution.DoublingConvTranspose2d(6, 255)(y)
    assert len(calls) == 2


@pytest.mark.parametrize("options", [{"padding": 1}, {"groups": 4}, {"stride": 2}, {"padding": 1, "groups": 2}])
def test_a_kernel_of_the_maps_size_with_other_options_is_a_convolution(options):
    torch.manual_seed(0)
    ours, plain = convolution.Conv2d(4, 8, 3, **options), nn.Conv2d(4, 8, 3, **options)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(ours(x), plain(x))


def test_nothing_is_computed_that_nobody_asked_for(monkeypatch):
    """The generator's step wants the frozen discriminator's gradient in its input, and none in its weights."""
    layer = convolution.HalvingConv2d(64, 8).requires_grad_(False)
    calls = _recorded(monkeypatch, "weight_gradient")
    x = torch.randn(2, 64, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).sum().backward()
    assert x.grad is not None
    assert not calls


@pytest.mark.parametrize(("bf16", "tolerance"), [(True, 2e-2), (False, 1e-5)])
@pytest.mark.parametrize("of_latents", [True, False])
def test_a_kernel_of_the_maps_size_is_one_product(of_latents, bf16, tolerance):
    torch.manual_seed(0)
    if of_latents:
        ours, plain = convolution.FirstConvTranspose2d(7, 5, (3, 4)), nn.ConvTranspose2d(7, 5, (3, 4), bias=False)
    else:
        ours, plain = convolution.Conv2d(7, 5, (3, 4)), nn.Conv2d(7, 5, (3, 4))
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(6, 7, 1, 1) if of_latents else torch.randn(6, 7, 3, 4)
    expected = plain.double()(x.double())
    gradient = torch.randn_like(expected)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        results = _results(ours, x.clone(), gradient)
    for result, wanted in zip(results, _results(plain, x.double(), gradient), strict=True):
        assert result.shape == wanted.shape
        assert _relative(result, wanted) < tolerance


@pytest.mark.parametrize("kind", ["halving", "doubling"])
@pytest.mark.parametrize(("channels", "maps"), [(2, 64), (64, 8), (256, 6)])
def test_the_gradient_of_a_gradient_is_torchs(kind, channels, maps, monkeypatch):
    """A penalty of one's own may well be taken in bfloat16: nothing may be lost from it in silence."""
    monkeypatch.setattr(convolution, "_by_products", lambda *_: True)
    ours, plain = _pair(kind, channels, maps, bias=False)
    x = torch.randn(3, channels, 8, 8) if kind == "halving" else torch.randn(3, maps, 4, 4)

    def second_order(layer, x):
        x = x.requires_grad_()
        (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        gradient.square().sum().backward()
        return x.grad, layer.weight.grad

    with torch.autocast("cpu", torch.bfloat16):
        results = second_order(ours, x.clone())
    for result, expected in zip(results, second_order(plain, x.double()), strict=True):
        assert _relative(result, expected) < 2e-2


@pytest.mark.parametrize(("sides", "count"), [((64, 64), 4), ((28, 28), 2), ((48, 80), 3), ((8, 12), 1), ((8, 64), 1)])
def test_sides_are_halved_while_four_pixels_remain(sides, count):
    assert layers.halvings(*sides) == count


def test_conditional_batch_normalisation_has_a_gain_and_a_shift_per_class():
    layer, plain = layers.ConditionalBatchNorm2d(4, classes=3), nn.BatchNorm2d(4)
    x, labels = torch.randn(6, 4, 5, 5) * 3 + 1, torch.tensor([0, 2, 0, 2, 2, 0])
    expected = plain(x)
    torch.testing.assert_close(layer(x, labels), expected)
    with torch.no_grad():
        layer.gain.weight[2], layer.shift.weight[2] = torch.arange(4.0), torch.tensor([5.0, 6.0, 7.0, 8.0])
    y = layer(x, labels)
    of_two = labels == 2
    torch.testing.assert_close(y[~of_two], expected[~of_two])
    there = expected[of_two] * torch.arange(4.0).view(1, 4, 1, 1) + torch.arange(5.0, 9.0).view(1, 4, 1, 1)
    torch.testing.assert_close(y[of_two], there)
    y.square().sum().backward()
    for embedding in (layer.gain, layer.shift):
        assert (embedding.weight.grad.abs().sum(1) > 0).tolist() == [True, False, True]


def test_a_projection_adds_the_product_with_its_label():
    score, features, labels = nn.Conv2d(2, 1, 3), torch.randn(4, 2, 3, 3), torch.tensor([1, 0, 1, 2])
    layer = layers.ProjectionHead(score, 18, classes=3)
    vectors = layer.projection.weight
    expected = [score(x[None]).item() + torch.dot(vectors[y], x.flatten()).item()
                for x, y in zip(features, labels, strict=True)]  # fmt: skip
    torch.testing.assert_close(layer(features, labels), torch.tensor(expected)[:, None])


def test_labels_stand_one_hot_beside_numbers():
    x = torch.randn(2, 3)
    assert layers.with_labels(x, None, 0) is x
    expected = torch.cat([x, torch.tensor([[0.0, 0, 1], [1, 0, 0]])], dim=1)
    assert torch.equal(layers.with_labels(x, torch.tensor([2, 0]), 3), expected)


def test_attention_is_torchs_and_has_a_second_derivative():
    torch.manual_seed(0)
    layer, x = layers.SelfAttention2d(16).double(), torch.randn(2, 16, 3, 4, dtype=torch.float64)
    assert torch.equal(layer(x), x)
    nn.init.constant_(layer.gamma, 0.7)
    query, key, value = ((m(x).flatten(2).transpose(1, 2)) for m in (layer.query, layer.key, layer.value))
    seen = scaled_dot_product_attention(query, key, value, scale=1.0).transpose(1, 2).unflatten(2, (3, 4))
    torch.testing.assert_close(layer(x), x + 0.7 * layer.output(seen))
    small = torch.randn(1, 16, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (small,))
