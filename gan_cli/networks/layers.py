"""The layers that networks of different families share: resampling convolutions, normalisation, labels, attention.

:func:`downsample` and :func:`upsample` resample with a fixed filter. :mod:`gan_cli.networks.convolution` has the
convolutions.
"""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, one_hot
from torch.nn.utils.parametrizations import spectral_norm

from gan_cli.networks.convolution import Conv2d


def sides(image_shape: Sequence[int]) -> Sequence[int]:
    """``image_shape`` if it is (C, H, W); ValueError for points, which convolutions can't process."""
    if len(image_shape) != 3:
        raise ValueError("convolutions need images; for points take net=toy or net=waves")
    return image_shape


def divisible_sides(image_shape: Sequence[int], network: str) -> tuple[int, int, int]:
    """``image_shape`` (C, H, W). ValueError, which names ``network``, unless 4 divides both sides and both are >= 8."""
    channels, height, width = sides(image_shape)
    if height % 4 or width % 4 or min(height, width) < 8:
        near = [max(8, -(-side // 4) * 4) for side in (height, width)]
        raise ValueError(f"{network} needs sides >= 8 divisible by 4, not {height}x{width}: add {_size(*near)}")
    return channels, height, width


def _size(height: int, width: int) -> str:
    """What to type for images of this size."""
    return f"dataset.size={height}" if height == width else f"dataset.size=[{height},{width}]"


def halvings(height: int, width: int) -> int:
    """How often both sides of an image can be halved without remainder and stay >= 4: 64x64 -> 4, 48x80 -> 3."""
    count = 0
    while height % 2 == width % 2 == 0 and min(height, width) >= 8:
        height, width, count = height // 2, width // 2, count + 1
    return count


def pyramid(image_shape: Sequence[int], name: str) -> list[tuple[int, int]]:
    """The sizes (H, W) from that of ``image_shape`` down to a shorter side of 4 to 7, each half of the previous size.

    ValueError unless both sides are >= 8 and can be halved so often. The message has ``name`` and a size that works.
    """
    _, height, width = sides(image_shape)
    sizes = [(height >> i, width >> i) for i in range(halvings(height, width) + 1)]
    if len(sizes) == 1 or min(sizes[-1]) >= 8:
        side = min(height, width)
        octave = max(8, 1 << (side.bit_length() - 1))  # 8, 16, 32, …: the sizes are 4 to 8 quarters of one
        size = next(octave * quarters // 4 for quarters in range(4, 9) if octave * quarters // 4 >= side)
        step = 1 << (size.bit_length() - 3)  # what both sides must be multiples of
        near = [size if one == side else -(-one // step) * step for one in (height, width)]
        raise ValueError(
            f"{name} needs sides that halve without a remainder until the shorter is 4 to 7, not {height}x{width}: "
            f"add {_size(*near)}"
        )
    return sizes


def leaky_relu(x: Tensor, slope: float = 0.2) -> Tensor:
    """LeakyReLU. torch's own second derivative adds maps of zeros to the gradients; this one adds nothing."""
    plain = torch.compiler.is_compiling()
    return nn.functional.leaky_relu(x, slope) if plain else _LeakyReLU.apply(x, slope)


class LeakyReLU(nn.LeakyReLU):
    """:func:`leaky_relu` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(x, self.negative_slope)


class _LeakyReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        y = nn.functional.leaky_relu(x, slope)
        ctx.save_for_backward(y)
        ctx.slope = slope
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Sloped.apply(gradient, *ctx.saved_tensors, ctx.slope), None


class _Sloped(torch.autograd.Function):
    """``gradient`` times the slope of LeakyReLU at each place, which the sign of its output ``y`` tells."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, y: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.slope = slope
        return torch.ops.aten.leaky_relu_backward(gradient, y, slope, True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Sloped.apply(gradient, *ctx.saved_tensors, ctx.slope), None, None


def upsample(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` -> ``[N, C, 2 H, 2 W]``, bilinear: zeros between the pixels, then the filter [1, 3, 3, 1].

    Beyond the border the image is 0.
    """
    return _filtered(x, True, 4.0) if torch.compiler.is_compiling() else _Filtered.apply(x, True, 4.0)


def downsample(x: Tensor) -> Tensor:
    """``[N, C, H, W]``, even sides -> ``[N, C, H // 2, W // 2]``: the filter [1, 3, 3, 1], then every other pixel.

    It is the adjoint of :func:`upsample`, divided by 4. Beyond the border the image is 0.
    """
    return _filtered(x, False, 1.0) if torch.compiler.is_compiling() else _Filtered.apply(x, False, 1.0)


class _Filtered(torch.autograd.Function):
    """:func:`_filtered`, whose derivative is the other direction with the same gain."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, doubling: bool, gain: float) -> Tensor:
        ctx.doubling, ctx.gain = doubling, gain
        return _filtered(x, doubling, gain)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Filtered.apply(gradient, not ctx.doubling, ctx.gain), None, None


def _filtered(x: Tensor, doubling: bool, gain: float) -> Tensor:
    """Filter each channel of ``x`` separately. On a CPU in float32: bfloat16 takes ten times as long (NOTES.md)."""
    convolution = conv_transpose2d if doubling else conv2d
    dtype = torch.float32 if x.device.type == "cpu" and x.dtype is torch.bfloat16 else x.dtype
    with contextlib.nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
        # What a trace makes is part of it, and must not stay in the cache.
        make = _filter.__wrapped__ if torch.compiler.is_compiling() else _filter
        weight = make(gain, dtype, x.device).expand(x.shape[1], 1, -1, -1)
        return convolution(x.to(dtype), weight, stride=2, padding=1, groups=x.shape[1]).to(x.dtype)


@functools.cache
@torch.inference_mode(False)
def _filter(gain: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The kernel of the filter, ``[4, 4]``, with ``gain`` as the sum."""
    taps = torch.tensor([0.125, 0.375, 0.375, 0.125], dtype=dtype, device=device)
    return gain * torch.outer(taps, taps)


NORMS = ("batch", "instance", "layer", "spectral", "none")


def check_norm(norm: str) -> None:
    """ValueError unless ``norm`` is one of NORMS."""
    if norm not in NORMS:
        raise ValueError(f"no norm {norm!r}; choose from {', '.join(NORMS)}")


def mixing_group(norm: str) -> int | None:
    """A discriminator's ``group`` by its ``norm``: ``batch`` mixes all images of a pass, ``spectral`` counts passes."""
    return None if norm in ("batch", "spectral") else 1


def normalisation(norm: str, maps: int) -> list[nn.Module]:
    """The layer that normalises ``maps`` in a discriminator, as a list; empty for ``spectral`` (:func:`constrain`).

    ``instance`` normalises each image over H, W, and ``layer`` over C, H, W. Both keep images independent, which a
    gradient penalty needs (Gulrajani et al. 2017, arXiv 1704.00028, section 4). All have a learned gain and shift per
    map.
    """
    match norm:
        case "batch":
            return [nn.BatchNorm2d(maps)]
        case "instance":
            return [nn.InstanceNorm2d(maps, affine=True)]
        case "layer":
            return [nn.GroupNorm(1, maps)]
    return []


def constrain(network: nn.Module) -> None:
    """Spectral normalisation (Miyato et al. 2018, arXiv 1802.05957, equation 8) of each layer's weight, in place.

    Each weight is divided by its largest singular value. Every forward pass in training mode updates the estimate of
    this value by one power iteration. As in the paper, a convolution's weight is the matrix ``[C', C * H * W]``.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            spectral_norm(module)


class Conditional(nn.Module):
    """A layer whose forward also takes the images' classes: ``layer(x, labels)``, ``labels`` int64 ``[N]``."""


def labelled(layer: nn.Module, x: Tensor, labels: Tensor | None) -> Tensor:
    """``layer(x, labels)`` if ``layer`` takes labels, otherwise ``layer(x)``."""
    return layer(x, labels) if isinstance(layer, Conditional) else layer(x)


class LabelledSequential(nn.Sequential):
    """``nn.Sequential`` that passes ``labels`` to each layer that takes labels."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        for layer in self:
            x = labelled(layer, x, labels)
        return x


class ConditionalBatchNorm2d(Conditional):
    """Batch normalisation with a gain and a shift per class, which begin at 1 and 0: ``[N, C, H, W]`` -> the same.

    Dumoulin et al. 2017 (arXiv 1610.07629), equation 5. Miyato & Koyama 2018 (arXiv 1802.05637) use it in a generator.
    """

    def __init__(self, maps: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(maps, affine=False)
        self.gain, self.shift = nn.Embedding(classes, maps), nn.Embedding(classes, maps)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        x = self.norm(x)
        gain, shift = (embedding(labels).to(x.dtype)[..., None, None] for embedding in (self.gain, self.shift))
        return x * gain + shift


def batch_norm(maps: int, classes: int) -> nn.Module:
    """A generator's batch normalisation of ``maps``, conditional where there are ``classes``."""
    return ConditionalBatchNorm2d(maps, classes) if classes else nn.BatchNorm2d(maps)


class ProjectionHead(Conditional):
    """Features ``[N, …]``, ``size`` numbers each -> logits ``[N, 1]``: ``score(features) + <v_label, features>``.

    This is the last layer of a projection discriminator: Miyato & Koyama 2018 (arXiv 1802.05637), equation 3. ``score``
    is the last layer of the same discriminator without labels.
    """

    def __init__(self, score: nn.Module, size: int, classes: int) -> None:
        super().__init__()
        self.score = score
        self.projection = nn.Embedding(classes, size)
        nn.init.xavier_uniform_(self.projection.weight)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        projected = (self.projection(labels) * features.flatten(1)).sum(dim=1, keepdim=True)
        return self.score(features).flatten(1) + projected


def head(score: nn.Module, size: int, classes: int) -> nn.Module:
    """``score``, a layer of ``size`` features, with a projection of the label if ``classes`` is above 0."""
    return ProjectionHead(score, size, classes) if classes else score


def with_labels(x: Tensor, labels: Tensor | None, classes: int) -> Tensor:
    """``x`` ``[N, d]`` and the labels one-hot beside it, ``[N, d + classes]``; Mirza & Osindero 2014, arXiv 1411.1784.

    Without ``labels`` it returns ``x``.
    """
    return x if labels is None else torch.cat([x, one_hot(labels, classes).to(x.dtype)], dim=1)


class SelfAttention2d(nn.Module):
    """Self-attention over the places of a map (Zhang et al. 2019, arXiv 1805.08318, equations 1 to 3), a residual.

    ``[N, C, H, W]`` -> the same: ``y = gamma * o(x) + x``. gamma starts at 0. Keys, queries and values have C / 8
    channels. Memory grows with (H W)^2.
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        inner = max(1, maps // 8)
        self.query, self.key, self.value = (Conv2d(maps, inner, 1, bias=False) for _ in range(3))
        self.output = Conv2d(inner, maps, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        # Gradient penalties need a second derivative, which scaled_dot_product_attention lacks on a CPU.
        attention = torch.softmax(query.transpose(1, 2) @ key, dim=2)  # rows: places that look; columns: looked at
        seen = (value @ attention.transpose(1, 2)).unflatten(2, x.shape[2:])
        return self.gamma * self.output(seen) + x
