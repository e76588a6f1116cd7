"""StyleGAN2: Karras et al. 2020 (arXiv 1912.04958), configuration F, in plain PyTorch.

There are ``width`` maps at full size. Each halving doubles their number, up to ``max_width``; the paper has 512 maps at
64x64 and below. Every weight starts from N(0, 1) and is divided by sqrt(fan-in) at each use (equalised learning rate,
Karras et al. 2018, arXiv 1710.10196, section 4.1), so that one learning rate suits all layers.

There is no style mixing and no path length regularisation; StyleGAN2-ADA (Karras et al. 2020, arXiv 2006.06676) also
omits both for CIFAR-10. Path length regularisation makes the mapping from w smooth, but needs second derivatives
through the generator. The paper's generator blurs after a transposed convolution; here each layer convolves the
upsampled maps.

With ``classes`` > 0 both networks take ``labels`` (int64, ``[N]``) as a second argument. The mapping network gets the
label's embedding beside z. The discriminator's logit is the scaled product of image features and label embedding.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from gan_cli import processes
from gan_cli.errors import UserError
from gan_cli.networks.convolution import Geometry, convolve
from gan_cli.networks.layers import downsample, leaky_relu, pyramid, upsample

EPSILON = 1e-8
GROUP = 4  # images per group of minibatch_std, at least
MAPPING_RATE = 0.01  # learning rate of the mapping network's layers, relative to that of the other layers


def activate(x: Tensor) -> Tensor:
    """LeakyReLU(0.2) times sqrt 2. The factor keeps the variance approximately."""
    return leaky_relu(x) * math.sqrt(2)


def normalise(z: Tensor) -> Tensor:
    """``z`` ``[N, D]``, with each row scaled to a mean square of 1."""
    return z * (z.square().mean(dim=1, keepdim=True) + EPSILON).rsqrt()


class Linear(nn.Module):
    """A linear layer with equalised learning rate. ``rate`` is its learning rate relative to that of other layers."""

    def __init__(self, fan_in: int, fan_out: int, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.rate, self.scale = rate, rate / math.sqrt(fan_in)
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in) / rate)
        self.bias = nn.Parameter(torch.full((fan_out,), bias / rate))

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight * self.scale, self.bias * self.rate)


class Conv2d(nn.Module):
    """A convolution with equalised learning rate. It keeps the size; with ``stride=2`` it halves the size."""

    def __init__(self, fan_in: int, fan_out: int, kernel: int, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.scale = 1 / math.sqrt(fan_in * kernel**2)
        self.geometry = Geometry(stride, kernel // 2)
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight * self.scale, self.bias, self.geometry)


class ModulatedConv2d(nn.Module):
    """A convolution whose weights each image's style s scales: ``w'_ijk = s_i w_ijk`` (equation 1), and demodulates:
    ``w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2)`` (equation 3).

    One convolution of all images computes the same: s scales the input maps, and 1 / sqrt(...) scales the output maps
    (appendix B).
    """

    def __init__(self, fan_in: int, fan_out: int, kernel: int, w_dim: int, demodulate: bool = True) -> None:
        super().__init__()
        self.demodulate = demodulate
        self.style = Linear(w_dim, fan_in, bias=1.0)
        self.conv = Conv2d(fan_in, fan_out, kernel, bias=False)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.style(w)
        y = self.conv(x * style[:, :, None, None])
        if not self.demodulate:
            return y
        squares = (self.conv.weight * self.conv.scale).square().sum(dim=(2, 3))
        factor = (linear(style.square(), squares) + EPSILON).rsqrt()
        return y * factor[:, :, None, None]


class StyledLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, activation: ``[N, fan_in, H, W]`` and w -> ``[N, fan_out, H, W]``.

    The noise is one number per pixel, times a learned strength that starts at 0. In training mode the noise is drawn
    anew. In eval mode it is a fixed map, saved with the weights, so that an image is a function of its latent.
    """

    noise: Tensor

    def __init__(self, fan_in: int, fan_out: int, size: tuple[int, int], w_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(fan_in, fan_out, 3, w_dim)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(fan_out))
        self.register_buffer("noise", torch.randn(size))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        y = self.conv(x, w)
        noise = torch.randn(len(y), 1, *y.shape[2:], device=y.device) if self.training else self.noise
        noise = noise.to(self.strength.dtype)
        return activate(y + (noise * self.strength).to(y.dtype) + self.bias[:, None, None].to(y.dtype))


class Stage(nn.Module):
    """The layers of one size; ``maps`` are the numbers of maps before, between and after them. Returns the last maps
    and their contribution to the image, by a modulated 1x1 convolution.
    """

    def __init__(self, maps: Sequence[int], channels: int, size: tuple[int, int], w_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(StyledLayer(a, b, size, w_dim) for a, b in pairwise(maps))
        self.to_image = ModulatedConv2d(maps[-1], channels, 1, w_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.layers:
            x = layer(x, w)
        return x, self.to_image(x, w) + self.bias[:, None, None]


class Generator(nn.Module):
    """Latents ``[N, z_dim]`` -> w ``[N, z_dim]`` -> images ``[N, C, H, W]``, linear.

    Only training keeps the images in [-1, 1]. The mapping network normalises z and applies ``mapping_layers`` linear
    layers. The first stage starts from learned maps with a shorter side of 4 to 7; each further stage doubles the
    sides. w gives the styles of all convolutions. The image of a stage is its own contribution plus the upsampled image
    of the stage before (skip output, figure 7b).
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        z_dim: int,
        width: int = 16,
        max_width: int = 128,
        mapping_layers: int = 4,
        classes: int = 0,
    ) -> None:
        super().__init__()
        if mapping_layers < 1:
            raise ValueError(f"mapping_layers={mapping_layers} should be 1 or more")
        sizes = pyramid(image_shape, "stylegan2")
        widths = [min(width << halvings, max_width) for halvings in range(len(sizes))]
        self.embed = nn.Embedding(classes, z_dim) if classes else None
        fans = [z_dim * (1 + bool(classes))] + [z_dim] * (mapping_layers - 1)
        self.mapping = nn.ModuleList(Linear(fan_in, z_dim, MAPPING_RATE) for fan_in in fans)
        self.constant = nn.Parameter(torch.randn(widths[-1], *sizes[-1]))
        maps = [widths[-1:] * 2, *([a, b, b] for a, b in pairwise(reversed(widths)))]
        self.stages = nn.ModuleList(
            Stage(along, image_shape[0], size, z_dim) for along, size in zip(maps, reversed(sizes), strict=True)
        )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        w = normalise(z)
        if self.embed is not None:
            w = torch.cat([w, normalise(self.embed(labels))], dim=1)
        for layer in self.mapping:
            w = activate(layer(w))
        x, image = self.stages[0](self.constant.expand(len(z), -1, -1, -1), w)
        for stage in self.stages[1:]:
            x, more = stage(upsample(x), w)
            image = upsample(image) + more
        return image


def minibatch_std(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` -> ``[N, C + 1, H, W]``: a map of how much the batch varies (Karras et al. 2018, section 3).

    The map is the standard deviation over a group of images, averaged over all channels and pixels. The group size is
    the smallest divisor of N that is at least :data:`GROUP`. A smaller batch is one group. Image i is in group
    i modulo the number of groups, so that every part of a minibatch holds whole groups. UserError if it does not.
    """
    n, channels, height, width = x.shape
    size, of = _group_size(n), processes.parts()
    if size != _group_size(n * of):
        raise UserError(
            f"a part of {n} images holds no whole groups of minibatch_std: give each of {of} a multiple of {GROUP}"
        )
    groups = x.to(torch.promote_types(x.dtype, torch.float32)).view(size, n // size, channels, height, width)
    std = (groups.var(dim=0, correction=0) + EPSILON).sqrt().mean(dim=(1, 2, 3))
    return torch.cat([x, std.to(x.dtype).repeat(size)[:, None, None, None].expand(n, 1, height, width)], dim=1)


def _group_size(n: int) -> int:
    """The smallest divisor of ``n`` that is at least :data:`GROUP`, or ``n`` itself."""
    return next(size for size in range(min(n, GROUP), n + 1) if n % size == 0)


class Block(nn.Module):
    """Two 3x3 convolutions, the second at half the size, plus a 1x1 shortcut; the sum / sqrt 2 (figure 7c)."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.first = Conv2d(fan_in, fan_in, 3)
        self.second = Conv2d(fan_in, fan_out, 3)
        self.past = Conv2d(fan_in, fan_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = activate(self.second(downsample(activate(self.first(x)))))
        return (y + self.past(downsample(x))) / math.sqrt(2)


class Discriminator(nn.Module):
    """Images ``[N, C, H, W]`` -> logits ``[N]``: residual blocks down to a shorter side of 4 to 7, minibatch_std.

    minibatch_std sees the whole batch, so a logit also depends on the other images of the batch.
    """

    def __init__(self, image_shape: Sequence[int], width: int = 16, max_width: int = 128, classes: int = 0) -> None:
        super().__init__()
        sizes = pyramid(image_shape, "stylegan2")
        widths = [min(width << halvings, max_width) for halvings in range(len(sizes))]
        maps = widths[-1]
        self.from_image = Conv2d(image_shape[0], widths[0], 1)
        self.blocks = nn.Sequential(*[Block(a, b) for a, b in pairwise(widths)])
        self.conv = Conv2d(maps + 1, maps, 3)
        self.hidden = Linear(maps * math.prod(sizes[-1]), maps)
        self.embed = nn.Embedding(classes, maps) if classes else None
        self.score = Linear(maps, maps if classes else 1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.blocks(activate(self.from_image(images)))
        x = activate(self.conv(minibatch_std(x)))
        features = self.score(activate(self.hidden(x.flatten(1))))
        if self.embed is None:
            return features.squeeze(1)
        return (features * normalise(self.embed(labels))).sum(dim=1) / math.sqrt(features.shape[1])
