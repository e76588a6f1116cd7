"""The fast convolutions against torch's, in float64; and which shapes they are taken for."""

import pytest
import torch
from torch import nn

from gan_cli.networks import layers

# Channels and side of the larger maps, channels of the smaller ones; each rule of layers.py on both of its sides.
SHAPES = [
    (1, 64, 8),
    (3, 64, 5),
    (4, 64, 5),
    (5, 64, 3),
    (64, 16, 6),
    (64, 18, 6),
    (128, 8, 7),
    (130, 8, 6),
    (63, 4, 3),
    (2, 7, 3),
]


def _pair(kind, channels, maps, bias):
    torch.manual_seed(0)
    if kind == "halving":
        ours = layers.HalvingConv2d(channels, maps, bias)
        plain = nn.Conv2d(channels, maps, 4, stride=2, padding=1, bias=bias)
    else:
        ours = layers.DoublingConvTranspose2d(maps, channels, bias)
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
    calls, real = [], getattr(layers, name)
    monkeypatch.setattr(layers, name, lambda *args: (calls.append(args), real(*args))[1])
    return calls


def test_products_are_taken_in_bf16_only_and_where_they_pay(monkeypatch):
    calls = _recorded(monkeypatch, "patches")
    x = torch.randn(2, 128, 8, 8)
    layer = layers.HalvingConv2d(128, 8)
    layer(x)
    assert not calls
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        assert len(calls) == 1  # the product
        y.sum().backward()
        assert len(calls) == 2  # and the weight's gradient
        layers.HalvingConv2d(128, 8)(torch.randn(2, 128, 32, 32)).sum().backward()
    assert len(calls) == 2


def test_nothing_is_computed_that_nobody_asked_for(monkeypatch):
    """The generator's step wants the frozen discriminator's gradient in its input, and none in its weights."""
    layer = layers.HalvingConv2d(64, 8).requires_grad_(False)
    calls = _recorded(monkeypatch, "weight_gradient")
    x = torch.randn(2, 64, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).sum().backward()
    assert x.grad is not None
    assert not calls


@pytest.mark.parametrize("kind", ["halving", "doubling"])
@pytest.mark.parametrize(("channels", "maps"), [(2, 64), (64, 8)])
def test_the_gradient_of_a_gradient_is_torchs(kind, channels, maps, monkeypatch):
    """A penalty of one's own may well be taken in bfloat16: nothing may be lost from it in silence."""
    monkeypatch.setattr(layers, "_pays", lambda *_: True)
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
