"""Convolutions that are fast in every derivative.

A convolution ``y = w * x`` is linear in ``x`` and in ``w``, so the number ``<g, w * x>`` is linear in each of ``g``,
``w`` and ``x``. Its derivative in one of the three is a function of the other two: the convolution itself, the gradient
in the input, the gradient in the weight. Every further derivative is one of the same three functions. A gradient
penalty differentiates D twice. torch computes the second derivative of a grouped convolution group by group, and all
second derivatives through transposed copies; here the three functions call each other.

In bfloat16 on a CPU, some 4x4 convolutions of stride 2 are slow as a convolution and fast as one matrix product over
the convolution's patches. These shapes use the matrix product; docs/performance.md has the measurements. A convolution
whose kernel is as large as the maps is one product in every precision and on every device.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, linear, pixel_shuffle

KERNEL = 4  # of the convolutions that halve and double the sides
FEW = 4  # at most so many channels, as images have, count as few


class Geometry(NamedTuple):
    """The stride and the padding of a convolution, the same in both directions, and its number of groups."""

    stride: int = 1
    padding: int = 0
    groups: int = 1


PLAIN = Geometry()
HALVING = Geometry(stride=2, padding=1)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, geometry: Geometry = PLAIN) -> Tensor:
    """``conv2d`` of ``x`` ``[N, C, H, W]`` with ``weight`` ``[C', C / groups, h, w]`` and ``bias`` ``[C']``."""
    if torch.compiler.is_compiling():
        return conv2d(x, weight, bias, *geometry[:2], 1, geometry.groups)
    if weight.shape[1:] == x.shape[1:] and not geometry.padding and geometry.groups == 1:  # one place
        return linear(_flat(x), _flat(weight), bias)[:, :, None, None]
    return _Convolution.apply(*_cast(x, weight, bias), geometry)


def double(y: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``conv_transpose2d`` of ``y`` ``[N, C', H, W]`` with ``weight`` ``[C', C, 4, 4]``, stride 2, padding 1."""
    if torch.compiler.is_compiling():
        return conv_transpose2d(y, weight, bias, HALVING.stride, HALVING.padding)
    y, weight, bias = _cast(y, weight, bias)
    n, _, height, width = y.shape
    larger = y.new_empty(()).expand(n, weight.shape[1], 2 * height, 2 * width)
    return _biased(_InInput.apply(y, weight, larger, HALVING), bias)


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` by :func:`convolve`, with zeros beyond the border and without dilation."""

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias, Geometry(self.stride[0], int(self.padding[0]), self.groups))


class HalvingConv2d(nn.Conv2d):
    """4x4 convolution of stride 2 and padding 1: ``[N, C, H, W]`` -> ``[N, C', H // 2, W // 2]``."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, KERNEL, HALVING.stride, HALVING.padding, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        return convolve(images, self.weight, self.bias, HALVING)


class FirstConvTranspose2d(nn.ConvTranspose2d):
    """Transposed convolution of latents: ``[N, C, 1, 1]`` -> maps of the kernel's size, as one product."""

    def __init__(self, in_channels: int, out_channels: int, size: tuple[int, int]) -> None:
        super().__init__(in_channels, out_channels, size, bias=False)

    def forward(self, latents: Tensor, output_size: list[int] | None = None) -> Tensor:
        if torch.compiler.is_compiling():
            return super().forward(latents)
        weight = self.weight.permute(0, 2, 3, 1)
        return (latents.flatten(1) @ weight.flatten(1)).view(-1, *weight.shape[1:]).permute(0, 3, 1, 2)


class DoublingConvTranspose2d(nn.ConvTranspose2d):
    """4x4 transposed convolution of stride 2 and padding 1: ``[N, C, H, W]`` -> ``[N, C', 2 H, 2 W]``."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, KERNEL, HALVING.stride, HALVING.padding, bias=bias)

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        return double(maps, self.weight, self.bias)


def _flat(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` -> ``[N, H * W * C]``: a view of a channels-last tensor."""
    return x.permute(0, 2, 3, 1).flatten(1)


def _biased(y: Tensor, bias: Tensor | None) -> Tensor:
    return y if bias is None else y + bias[:, None, None]


def _cast(x: Tensor, *parameters: Tensor | None) -> tuple[Any, ...]:
    """The tensors in the type that autocast chooses for a convolution; None stays None."""
    kind = x.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return (x, *parameters)
    dtype = torch.get_autocast_dtype(kind)
    return tuple(None if tensor is None else tensor.to(dtype) for tensor in (x, *parameters))


class _Convolution(torch.autograd.Function):
    """``y`` from ``x``, ``weight`` and ``bias``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.biased = geometry, bias is not None
        if _halves_by_product(x, weight, geometry):
            return _biased(halve(x, weight), bias)
        stride, padding, groups = geometry
        return conv2d(x, weight, bias, stride, padding, 1, groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        wanted = [_wanted(ctx, 0), _wanted(ctx, 1), ctx.biased and _wanted(ctx, 2)]
        if not torch.is_grad_enabled() and not _by_products(x, weight, ctx.geometry):
            return *_gradients(gradient, x, weight, ctx.geometry, wanted), None  # all in one call
        return (
            _InInput.apply(gradient, weight, x.detach(), ctx.geometry) if wanted[0] else None,
            _InWeight.apply(x, gradient, weight.detach(), ctx.geometry) if wanted[1] else None,
            gradient.sum(dim=(0, 2, 3)) if wanted[2] else None,
            None,
        )


class _InInput(torch.autograd.Function):
    """The gradient in the input, of the shape of ``x``, from the gradient ``y`` in the output and ``weight``."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(y, weight)
        ctx.geometry = geometry
        if _doubles_by_shuffle(x, weight, geometry):
            return double_by_shuffle(y, weight)
        if _doubles_by_product(x, weight, geometry):
            return double_by_product(y, weight)
        return _gradients(y, x, weight, geometry, (True, False, False))[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        y, weight = ctx.saved_tensors
        return (
            _Convolution.apply(gradient, weight, None, ctx.geometry) if _wanted(ctx, 0) else None,
            _InWeight.apply(gradient, y, weight.detach(), ctx.geometry) if _wanted(ctx, 1) else None,
            None,
            None,
        )


class _InWeight(torch.autograd.Function):
    """The gradient in the weight, of the shape of ``weight``, from ``x`` and the gradient ``y`` in the output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.geometry = geometry
        if _weights_by_product(x, weight, geometry):
            return weight_gradient(x, y)
        return _gradients(y, x, weight, geometry, (False, True, False))[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, y = ctx.saved_tensors
        return (
            _InInput.apply(y, gradient, x.detach(), ctx.geometry) if _wanted(ctx, 0) else None,
            _Convolution.apply(x, gradient, None, ctx.geometry) if _wanted(ctx, 1) else None,
            None,
            None,
        )


def _wanted(ctx: Any, index: int) -> bool:
    """Whether the backward pass that runs now needs the gradient in the tensor ``index`` of a function's arguments.

    ``ctx.needs_input_grad`` says which arguments require gradients at all. A gradient penalty asks for those in the
    images alone, and the weights' would cost as much again.
    """
    node = ctx.next_functions[index][0]
    if node is None:
        return False
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # torch.autograd.grad asks for this very tensor
        return True


def _gradients(
    y: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients in ``x``, ``weight`` and a bias that are ``wanted``, from the gradient ``y`` in the output."""
    stride, padding, groups = geometry
    return torch.ops.aten.convolution_backward(
        y, x, weight, [len(weight)], [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups, list(wanted)
    )


def _in_cpu_bf16(x: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether a convolution halves even sides, in bfloat16 on a CPU: then a product may be faster."""
    even = x.shape[2] % 2 == x.shape[3] % 2 == 0
    kernel = weight.shape[2:] == (KERNEL, KERNEL)
    return x.dtype is torch.bfloat16 and x.device.type == "cpu" and geometry == HALVING and kernel and even


def _halves_by_product(x: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    _, channels, height, width = x.shape
    return channels >= 128 and height * width <= 8 * 8 and _in_cpu_bf16(x, weight, geometry)


def _doubles_by_shuffle(x: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    _, channels, height, width = x.shape
    return channels <= FEW and height * width >= 64 * 64 and _in_cpu_bf16(x, weight, geometry)


def _doubles_by_product(x: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    _, channels, height, width = x.shape
    return channels >= 256 and height * width <= 8 * 8 and _in_cpu_bf16(x, weight, geometry)


def _weights_by_product(x: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    _, channels, height, width = x.shape
    return channels >= 64 and height * width <= 16 * 16 and _in_cpu_bf16(x, weight, geometry)


def _by_products(x: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether a gradient in ``x`` or in ``weight`` is faster as a product: weights of small maps always are."""
    return _doubles_by_shuffle(x, weight, geometry) or _weights_by_product(x, weight, geometry)


def patches(x: Tensor) -> Tensor:
    """The 4x4 patches of ``x`` ``[N, C, H, W]`` at stride 2, padding 1: ``[N * H/2 * W/2, 16 * C]``, channels last."""
    n, c, height, width = x.shape
    padded = x.new_zeros(n, height + 2, width + 2, c)
    padded[:, 1:-1, 1:-1] = x.permute(0, 2, 3, 1)
    of_image, of_row, of_pixel, _ = padded.stride()
    # A patch's row of four pixels is contiguous in memory.
    view = padded.as_strided(
        (n, height // 2, width // 2, KERNEL, KERNEL * c), (of_image, 2 * of_row, 2 * of_pixel, of_row, 1)
    )
    return view.reshape(n * (height // 2) * (width // 2), KERNEL * KERNEL * c)


def halve(x: Tensor, weight: Tensor) -> Tensor:
    """``conv2d`` of ``x`` ``[N, C, H, W]``, even sides, and ``weight`` ``[C', C, 4, 4]``, stride 2, padding 1."""
    n, _, height, width = x.shape
    product = patches(x) @ weight.permute(2, 3, 1, 0).reshape(-1, len(weight))
    return product.view(n, height // 2, width // 2, len(weight)).permute(0, 3, 1, 2)


def double_by_product(y: Tensor, weight: Tensor) -> Tensor:
    """``conv_transpose2d`` of ``y`` ``[N, C', H, W]`` and ``weight`` ``[C', C, 4, 4]``, stride 2, padding 1.

    One product computes a 4x4 patch of the output for each input place. Patches overlap, and are added in the type of
    ``y``: in bfloat16 the error is twice that of a convolution.
    """
    n, maps, height, width = y.shape
    channels = weight.shape[1]
    rows = y.permute(0, 2, 3, 1).reshape(-1, maps)
    product = (rows @ weight.permute(0, 2, 3, 1).reshape(maps, -1)).view(n, height, width, KERNEL, KERNEL, channels)
    padded = y.new_zeros(n, height + 1, 2, width + 1, 2, channels)
    # A patch covers two pairs of rows and two pairs of columns.
    for i in (0, 1):
        for j in (0, 1):
            part = product[:, :, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            padded[:, i : i + height, :, j : j + width] += part.transpose(2, 3)
    return padded.flatten(3, 4).flatten(1, 2)[:, 1:-1, 1:-1].contiguous().permute(0, 3, 1, 2)


def double_by_shuffle(y: Tensor, weight: Tensor) -> Tensor:
    """``conv_transpose2d`` of ``y`` ``[N, C', H, W]`` and ``weight`` ``[C', C, 4, 4]`` of a few channels C, stride 2.

    A 3x3 convolution computes the four output pixels of each input place. A pixel shuffle then moves them to their
    places (Shi et al. 2016, arXiv 1609.07009).
    """
    return pixel_shuffle(conv2d(y, _into_quarters(weight), padding=1), 2)


def _into_quarters(weight: Tensor) -> Tensor:
    """A transposed convolution's weight ``[C', C, 4, 4]`` as that of a 3x3 convolution, ``[4 * C, C', 3, 3]``."""
    maps, channels = weight.shape[:2]
    taps = weight.permute(1, 0, 2, 3)
    quarters = weight.new_zeros(channels, 2, 2, maps, 3, 3)
    # An even output row sees the input row above and its own, through the kernel's rows 3 and 1. An odd output row sees
    # its own input row and the row below, through the kernel's rows 2 and 0. The same holds for columns.
    places, rows = (slice(0, 2), slice(1, 3)), ([3, 1], [2, 0])
    for i in (0, 1):
        for j in (0, 1):
            quarters[:, i, j, :, places[i], places[j]] = taps[:, :, rows[i]][..., rows[j]]
    return quarters.view(4 * channels, maps, 3, 3)


def weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of ``halve(x, weight)`` in ``weight``, ``[C', C, 4, 4]``, from the ``gradient`` in its output."""
    channels, maps = x.shape[1], gradient.shape[1]
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, maps)
    return (rows.T @ patches(x)).view(maps, KERNEL, KERNEL, channels).permute(0, 3, 1, 2)
