"""StyleGAN2: Karras et al. 2020 (arXiv 1912.04958), configuration F, in plain PyTorch.

There are ``width`` maps at full size. Each halving doubles their number, up to ``max_width``; the paper has 512 maps at
64x64 and below. Every weight starts from N(0, 1) and is divided by sqrt(fan-in) at each use (equalised learning rate,
Karras et al. 2018, arXiv 1710.10196, section 4.1), so that one learning rate suits all layers.

Path length regularisation, which makes the mapping from w smooth, is the game's: :mod:`gan_cli.training.path_length`.
The paper's generator blurs after a transposed convolution; here each layer convolves the upsampled maps.

With ``classes`` > 0 both networks take ``labels`` (int64, ``[N]``) as a second argument. The mapping network gets the
label's embedding beside z. The discriminator's logit is the scaled product of image features and label embedding.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from gan_cli.networks.convolution import Geometry, convolve
from gan_cli.networks.layers import downsample, leaky_relu, pyramid, upsample
from gan_cli.networks.minibatch import GROUP, minibatch_std

EPSILON = 1e-8
SQRT2 = math.sqrt(2)
MAPPING_RATE = 0.01  # learning rate of the mapping network's layers, relative to that of the other layers


def normalise(z: Tensor) -> Tensor:
    """``z`` ``[N, D]``, with each row scaled to a mean square of 1."""
    return z * (z.square().mean(dim=1, keepdim=True) + EPSILON).rsqrt()


class Equalised(nn.Module):
    """A layer with equalised learning rate: each of its parameters acts times a constant, the parameter's gain.

    The activations of this network are LeakyReLU(0.2) times sqrt 2, a factor that keeps the variance approximately. The
    gains of the layer before an activation include this factor.
    """

    def __init__(self, **gains: float) -> None:
        super().__init__()
        self.gains = gains
        self.prepared: Mapping[str, Tensor] = {}  # filled by at_once

    def effective(self, name: str) -> Tensor:
        """The parameter ``name``, times its gain."""
        return self.prepared[name] if self.prepared else self.get_parameter(name) * self.gains[name]


@contextmanager
def at_once(network: nn.Module) -> Iterator[None]:
    """Within this context the layers of ``network`` have their effective parameters from one product of them all.

    Under autocast the products are in its type. A layer outside of this context computes its own.
    """
    layers = [module for module in network.modules() if isinstance(module, Equalised)]
    names = [(layer, name) for layer in layers for name in layer.gains]
    parameters = [layer.get_parameter(name) for layer, name in names]
    kind = parameters[0].device.type
    plain = kind == "meta" or not torch.is_autocast_enabled(kind)
    dtype = parameters[0].dtype if plain else torch.get_autocast_dtype(kind)
    if not torch.compiler.is_compiling():
        products = _Products.apply([layer.gains[name] for layer, name in names], dtype, *parameters)
        for layer in layers:
            layer.prepared = {name: product for (of, name), product in zip(names, products, strict=True) if of is layer}
    try:
        yield
    finally:
        for layer in layers:
            layer.prepared = {}


class _Products(torch.autograd.Function):
    """``tensors`` times ``gains``, one by one, in the type ``dtype``."""

    @staticmethod
    def forward(ctx: Any, gains: Sequence[float], dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.gains, ctx.dtype = gains, tensors[0].dtype
        products = torch._foreach_mul(tensors, gains)
        if dtype == ctx.dtype:
            return tuple(products)
        cast = [torch.empty_like(product, dtype=dtype) for product in products]
        torch._foreach_copy_(cast, products)
        return tuple(cast)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        return None, None, *_Products.apply(ctx.gains, ctx.dtype, *gradients)


class Linear(Equalised):
    """A linear layer. ``rate`` is its learning rate relative to that of other layers."""

    def __init__(self, fan_in: int, fan_out: int, rate: float = 1.0, bias: float = 0.0, gain: float = 1.0) -> None:
        super().__init__(weight=gain * rate / math.sqrt(fan_in), bias=gain * rate)
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in) / rate)
        self.bias = nn.Parameter(torch.full((fan_out,), bias / rate))

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.effective("weight"), self.effective("bias"))


class Conv2d(Equalised):
    """A convolution that keeps the size."""

    def __init__(self, fan_in: int, fan_out: int, kernel: int, bias: bool = True, gain: float = 1.0) -> None:
        super().__init__(weight=gain / math.sqrt(fan_in * kernel**2), **({"bias": gain} if bias else {}))
        self.geometry = Geometry(padding=kernel // 2)
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        bias = self.effective("bias") if "bias" in self.gains else bias
        return convolve(x, self.effective("weight"), bias, self.geometry)


class ModulatedConv2d(nn.Module):
    """A convolution whose weights each image's style s scales: ``w'_ijk = s_i w_ijk`` (equation 1), and demodulates:
    ``w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2)`` (equation 3).

    One convolution of all images computes the same: s scales the input maps, and the ``factor`` 1 / sqrt(...) scales
    the output maps (appendix B). :func:`styles` and :func:`factors` compute both, for all layers of a network.
    """

    def __init__(self, fan_in: int, fan_out: int, kernel: int, w_dim: int) -> None:
        super().__init__()
        self.style = Linear(w_dim, fan_in, bias=1.0)
        self.conv = Conv2d(fan_in, fan_out, kernel, bias=False)

    def forward(self, x: Tensor, style: Tensor, factor: Tensor | None, bias: Tensor) -> Tensor:
        x = x * style[:, :, None, None]
        if factor is None:
            return self.conv(x, bias)
        y = self.conv(x)
        return torch.addcmul(bias.to(y.dtype)[:, None, None], y, factor[:, :, None, None].to(y.dtype))


def styles(layers: Sequence[ModulatedConv2d], w: Tensor) -> tuple[Tensor, ...]:
    """The style of each of ``layers`` for w ``[N, w_dim]``, ``[N, fan_in]`` each: one linear layer for all of them."""
    weight, bias = (torch.cat([layer.style.effective(name) for layer in layers]) for name in ("weight", "bias"))
    return linear(w, weight, bias).split([len(layer.style.bias) for layer in layers], dim=1)


def factors(layers: Sequence[ModulatedConv2d], of: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The demodulation of each of ``layers`` with the styles ``of``, ``[N, fan_out]`` each, times sqrt 2."""
    squared = torch.cat(tuple(of), dim=1).square().split([style.shape[1] for style in of], dim=1)
    sums = (layer.conv.effective("weight").square().sum(dim=(2, 3)) for layer in layers)
    squares = torch.cat([linear(style, total) for style, total in zip(squared, sums, strict=True)], dim=1)
    together = (squares.to(torch.promote_types(squares.dtype, torch.float32)) + EPSILON).rsqrt() * SQRT2
    return together.split([len(layer.conv.weight) for layer in layers], dim=1)


class StyledLayer(Equalised):
    """Modulated 3x3 convolution, noise, bias, activation: ``[N, fan_in, H, W]`` -> ``[N, fan_out, H, W]``.

    The noise is one number per pixel, times a learned strength that starts at 0. In training mode the noise is drawn
    anew. In eval mode it is a fixed map, saved with the weights, so that an image is a function of its latent.
    """

    noise: Tensor

    def __init__(self, fan_in: int, fan_out: int, size: tuple[int, int], w_dim: int) -> None:
        super().__init__(strength=SQRT2, bias=SQRT2)
        self.conv = ModulatedConv2d(fan_in, fan_out, 3, w_dim)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(fan_out))
        self.register_buffer("noise", torch.randn(size))

    def forward(self, x: Tensor, style: Tensor, factor: Tensor, noise: Tensor) -> Tensor:
        y = self.conv(x, style, factor, self.effective("bias"))
        return leaky_relu(torch.addcmul(y, noise.to(y.dtype), self.effective("strength").to(y.dtype)))


class Stage(Equalised):
    """The layers of one size; ``maps`` are the numbers of maps before, between and after them. Returns the last maps
    and their contribution to the image, by a modulated 1x1 convolution.
    """

    def __init__(self, maps: Sequence[int], channels: int, size: tuple[int, int], w_dim: int) -> None:
        super().__init__(bias=1.0)
        self.layers = nn.ModuleList(StyledLayer(a, b, size, w_dim) for a, b in pairwise(maps))
        self.to_image = ModulatedConv2d(maps[-1], channels, 1, w_dim)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, given: Iterator[tuple[Tensor, ...]], style: Tensor) -> tuple[Tensor, Tensor]:
        """``given`` yields style, factor and noise of each layer; ``style`` is that of the 1x1 convolution."""
        for layer in self.layers:
            x = layer(x, *next(given))
        return x, self.to_image(x, style, None, self.effective("bias"))


def _mixed(of: Sequence[Tensor], second: Sequence[Tensor], places: Sequence[int], begins: Tensor) -> tuple[Tensor, ...]:
    """The styles ``of``, or ``second`` from layer ``begins`` ``[N]`` on; ``places`` are the layers' numbers, from 0."""
    return tuple(torch.where((begins <= place)[:, None], b, a) for a, b, place in zip(of, second, places, strict=True))


class Generator(nn.Module):
    """Latents ``[N, z_dim]`` -> w ``[N, z_dim]`` -> images ``[N, C, H, W]``, linear.

    Only training keeps the images in [-1, 1]. The mapping network normalises z and applies ``mapping_layers`` linear
    layers. The first stage starts from learned maps with a shorter side of 4 to 7; each further stage doubles the
    sides. w gives the styles of all convolutions. The image of a stage is its own contribution plus the upsampled image
    of the stage before (skip output, figure 7b).

    In training mode ``mixing`` is the probability that an image has two latents (style mixing regularisation, Karras et
    al. 2019, arXiv 1812.04948, section 3.1): the layers from a random one on have the w of the second. The 1x1
    convolution to the image counts with the layer after it.
    """

    centre: Tensor | None = None
    psi: float = 1.0

    def __init__(
        self,
        image_shape: Sequence[int],
        z_dim: int,
        width: int = 16,
        max_width: int = 128,
        mapping_layers: int = 4,
        mixing: float = 0.0,
        classes: int = 0,
    ) -> None:
        super().__init__()
        if mapping_layers < 1 or not 0 <= mixing <= 1:
            raise ValueError(f"mapping_layers={mapping_layers} should be 1 or more, and mixing={mixing} from 0 to 1")
        self.mixing = mixing
        sizes = pyramid(image_shape, "stylegan2")
        widths = [min(width << halvings, max_width) for halvings in range(len(sizes))]
        self.embed = nn.Embedding(classes, z_dim) if classes else None
        fans = [z_dim * (1 + bool(classes))] + [z_dim] * (mapping_layers - 1)
        self.mapping = nn.ModuleList(Linear(fan_in, z_dim, MAPPING_RATE, gain=SQRT2) for fan_in in fans)
        self.constant = nn.Parameter(torch.randn(widths[-1], *sizes[-1]))
        maps = [widths[-1:] * 2, *([a, b, b] for a, b in pairwise(reversed(widths)))]
        self.stages = nn.ModuleList(
            Stage(along, image_shape[0], size, z_dim) for along, size in zip(maps, reversed(sizes), strict=True)
        )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        with at_once(self):
            return self._draw(self._styles(*self._latents(z, labels))[0])

    def mapped(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """w of the latents ``z``, ``[N, z_dim]``, moved as :meth:`truncate` says."""
        w = normalise(z)
        if self.embed is not None:
            w = torch.cat([w, normalise(self.embed(labels))], dim=1)
        for layer in self.mapping:
            w = leaky_relu(layer(w))
        return w if self.centre is None else self.centre.lerp(w, self.psi)

    def synthesise(self, w: Tensor, second: Tensor | None = None, begins: Tensor | None = None) -> Tensor:
        """The images of ``w`` ``[N, z_dim]``. Image i has the styles of ``second[i]`` from layer ``begins[i]`` on."""
        with at_once(self):
            return self._draw(self._styles(w, second, begins)[0])

    def path_lengths(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``|J_w^T y|`` at the w of each latent, ``[N]``: Karras et al. 2020, section 3.2. It can be differentiated.

        ``J_w`` is the Jacobian of the image with respect to w, and ``y`` an image of noise N(0, 1 / (H W)). As in the
        authors' code each layer has its own w, and the length is the root of the mean square over the layers.
        """
        with at_once(self):
            of, places = self._styles(*self._latents(z, labels))
            images = self._draw(of)
            y = torch.randn_like(images) / math.sqrt(images[0, 0].numel())
            slopes = torch.autograd.grad((images * y).sum(), of, create_graph=True)
            of_layers: dict[int, Tensor] = {}  # the gradient in the w of each layer
            for slope, place, convolution in zip(slopes, places, self._modulated(), strict=True):
                of_layers[place] = of_layers.get(place, 0) + slope @ convolution.style.effective("weight")
        gradients = torch.stack([*of_layers.values()])
        wide = gradients.to(torch.promote_types(gradients.dtype, torch.float32))
        return wide.square().sum(dim=2).mean(dim=0).sqrt()

    @torch.no_grad()
    def truncate(self, psi: float, z: Tensor, labels: Tensor | None = None) -> None:
        """From now on move each w towards the mean w of the latents ``z``: ``mean + psi (w - mean)``.

        This is the truncation trick of Karras et al. 2019, appendix B: for ``psi`` < 1 the images are more alike, and
        better. 1 changes nothing.
        """
        self.centre = None
        self.centre, self.psi = self.mapped(z, labels).mean(dim=0), psi

    @torch.no_grad()
    def affine(self) -> Tensor:
        """The matrix ``[styles, z_dim]`` by which w gives the styles of all layers, but for their biases."""
        return torch.cat([layer.style.effective("weight") for layer in self._modulated()])

    @property
    def first_layers(self) -> dict[tuple[int, int], int]:
        """The size (H, W) of each stage but the last, and the number of the first layer after it."""
        layers = [(layer.noise.shape[0], layer.noise.shape[1]) for layer in self._layers()]
        return {size: number for number, (size, after) in enumerate(pairwise(layers), 1) if size != after}

    def _in_order(self) -> list[Stage]:
        return [*self.stages]

    def _layers(self) -> list[StyledLayer]:
        return [layer for stage in self._in_order() for layer in stage.layers]  # type: ignore[misc]

    def _modulated(self) -> list[ModulatedConv2d]:
        """The convolutions that have styles: those of all layers, then those to the image."""
        return [*(layer.conv for layer in self._layers()), *(stage.to_image for stage in self._in_order())]

    def _begins(self, w: Tensor) -> Tensor:
        """The layer from which each image has its second w, with probability ``mixing``; else one after the last."""
        last = len(self._layers())
        begins = 1 + (torch.rand(len(w), device=w.device) * last).long()  # uniform on 1 to the last layer
        return begins.where(torch.rand(len(w), device=w.device) < self.mixing, last + 1)

    def _latents(self, z: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What :meth:`_styles` takes for the latents ``z``, with style mixing in training mode."""
        w = self.mapped(z, labels)
        if not (self.training and self.mixing):
            return w, None, None
        return w, self.mapped(torch.randn_like(z), labels), self._begins(w)

    def _styles(
        self, w: Tensor, second: Tensor | None = None, begins: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], list[int]]:
        """The styles of all modulated convolutions, and the number of the layer of each."""
        modulated, ends = self._modulated(), accumulate(len(stage.layers) for stage in self._in_order())
        of, places = styles(modulated, w), [*range(len(self._layers())), *ends]
        if second is not None and begins is not None:
            of = _mixed(of, styles(modulated, second), places, begins)
        return of, places

    def _draw(self, of: Sequence[Tensor]) -> Tensor:
        """The images of the styles ``of``."""
        stages, layers = self._in_order(), self._layers()
        n, factor = of[0].shape[0], factors([layer.conv for layer in layers], of[: len(layers)])
        given = zip(of, factor, self._noises(layers, n), strict=False)
        x, image = stages[0](self.constant.expand(n, -1, -1, -1), given, of[len(layers)])
        for stage, style in zip(stages[1:], of[len(layers) + 1 :], strict=True):
            x, more = stage(upsample(x), given, style)
            image = upsample(image) + more
        return image

    def _noises(self, layers: Sequence[StyledLayer], n: int) -> Sequence[Tensor]:
        """The noise of each of ``layers``: in training mode ``[n, 1, H, W]``, drawn for all of them at once."""
        maps = [layer.noise for layer in layers]
        if not self.training:
            return maps
        drawn = torch.randn(n, sum(map(torch.numel, maps)), dtype=maps[0].dtype, device=maps[0].device)
        parts = drawn.split([fixed.numel() for fixed in maps], dim=1)
        return [part.view(n, 1, *fixed.shape) for part, fixed in zip(parts, maps, strict=True)]


class Block(nn.Module):
    """Two 3x3 convolutions, the second at half the size, plus a 1x1 shortcut; the sum / sqrt 2 (figure 7c).

    Dividing the sum by sqrt 2 cancels the factor of the second activation.
    """

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.first = Conv2d(fan_in, fan_in, 3, gain=SQRT2)
        self.second = Conv2d(fan_in, fan_out, 3)
        self.past = Conv2d(fan_in, fan_out, 1, bias=False, gain=1 / SQRT2)

    def forward(self, x: Tensor) -> Tensor:
        y = leaky_relu(self.second(downsample(leaky_relu(self.first(x)))))
        return y + self.past(downsample(x))


class Discriminator(nn.Module):
    """Images ``[N, C, H, W]`` -> logits ``[N]``: residual blocks down to a shorter side of 4 to 7, minibatch_std.

    minibatch_std compares the images of a group, so a logit also depends on the other images of the group.
    """

    group = GROUP

    def __init__(self, image_shape: Sequence[int], width: int = 16, max_width: int = 128, classes: int = 0) -> None:
        super().__init__()
        sizes = pyramid(image_shape, "stylegan2")
        widths = [min(width << halvings, max_width) for halvings in range(len(sizes))]
        maps = widths[-1]
        self.from_image = Conv2d(image_shape[0], widths[0], 1, gain=SQRT2)
        self.blocks = nn.Sequential(*[Block(a, b) for a, b in pairwise(widths)])
        self.conv = Conv2d(maps + 1, maps, 3, gain=SQRT2)
        self.hidden = Linear(maps * math.prod(sizes[-1]), maps, gain=SQRT2)
        self.embed = nn.Embedding(classes, maps) if classes else None
        self.score = Linear(maps, maps if classes else 1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        with at_once(self):
            x = self.blocks(leaky_relu(self.from_image(images)))
            x = leaky_relu(self.conv(minibatch_std(x)))
            features = self.score(leaky_relu(self.hidden(x.flatten(1))))
        if self.embed is None:
            return features.squeeze(1)
        return (features * normalise(self.embed(labels))).sum(dim=1) / math.sqrt(features.shape[1])
