"""The residual networks of SNGAN, Miyato et al. 2018 (arXiv 1802.05957), appendix B.4, in the sizes of kwotsin/mimicry.

The sides must be at least 8 and divisible by 4. ``net=sngan`` is the paper's network, with spectral normalisation in D.
``net=resnet`` is the same with another ``norm``, none by default, for gradient penalties. At 32x32 and 64x64 the layers
and widths are mimicry's, with one difference. Mimicry's in-place ReLU also rectifies the input of D's shortcuts; here,
as in the paper's own code, the shortcuts see the maps before the ReLU.
"""

from collections.abc import Sequence
from math import prod, sqrt

from torch import Tensor, nn

from gan_cli.networks.convolution import Conv2d
from gan_cli.networks.layers import (
    Conditional,
    LabelledSequential,
    SelfAttention2d,
    batch_norm,
    check_norm,
    constrain,
    divisible_sides,
    halvings,
    head,
    mixing_group,
    normalisation,
)

SMALL = 32  # pixels: up to this size all layers have the same number of maps


def _pyramid(base: int, depth: int) -> list[int]:
    """The numbers of maps at full size and after each of ``depth`` halvings: doubled each time, up to ``16 * base``."""
    return [min(base << stage, 16 * base) for stage in range(depth + 1)]


def _check_attention(attention: int | None, heights: Sequence[int]) -> None:
    """ValueError unless some maps have the height ``attention``, at which self-attention is inserted."""
    if attention is not None and attention not in heights:
        raise ValueError(f"no maps are {attention} high for attention; choose from {', '.join(map(str, heights))}")


def _conv(maps_in: int, maps_out: int, kernel: int, gain: float) -> Conv2d:
    """A convolution that keeps the sides, with weights by Glorot & Bengio 2010, times ``gain``."""
    layer = Conv2d(maps_in, maps_out, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(layer.weight, gain)
    return layer


def _linear(fan_in: int, fan_out: int) -> nn.Linear:
    layer = nn.Linear(fan_in, fan_out)
    nn.init.xavier_uniform_(layer.weight)
    return layer


class _Doubling(Conditional):
    """``[N, maps_in, H, W]`` -> ``[N, maps_out, 2 H, 2 W]``: batch normalisation and ReLU before each of two 3x3s."""

    def __init__(self, maps_in: int, maps_out: int, classes: int) -> None:
        super().__init__()
        self.residual = LabelledSequential(
            batch_norm(maps_in, classes),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            _conv(maps_in, maps_out, 3, sqrt(2)),
            batch_norm(maps_out, classes),
            nn.ReLU(),
            _conv(maps_out, maps_out, 3, sqrt(2)),
        )
        # A 1x1 convolution gives the same result before the upsampling as after it, at a quarter of the cost.
        self.shortcut = nn.Sequential(_conv(maps_in, maps_out, 1, 1.0), nn.Upsample(scale_factor=2, mode="bilinear"))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.residual(x, labels) + self.shortcut(x)


class _Block(nn.Module):
    """``[N, maps_in, H, W]`` -> ``[N, maps_out, H, W]``, or half the sides: ``norm`` and ReLU before each of two 3x3s.

    The ``first`` block of a discriminator sees images: it has no norm and no ReLU before its first convolution.
    """

    def __init__(self, maps_in: int, maps_out: int, norm: str, halve: bool, first: bool = False) -> None:
        super().__init__()
        hidden = maps_out if first else maps_in
        before = [] if first else [*normalisation(norm, maps_in), nn.ReLU()]
        pool = [nn.AvgPool2d(2)] if halve else []
        self.residual = nn.Sequential(
            *before,
            _conv(maps_in, hidden, 3, sqrt(2)),
            *normalisation(norm, hidden),
            nn.ReLU(),
            _conv(hidden, maps_out, 3, sqrt(2)),
            *pool,
        )
        project = [_conv(maps_in, maps_out, 1, 1.0)] if halve or maps_in != maps_out else []
        self.shortcut = nn.Sequential(*pool, *project)

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


class Generator(LabelledSequential):
    """Latents ``[N, z_dim]`` -> linear, 4x4 -> residual blocks that double the sides -> images ``[N, C, H, W]``, tanh.

    For images up to 32x32, all layers have ``width`` (ngf) maps. For larger images, the number of maps falls from at
    most ``4 * width`` at the start to ``width / 4``. ``attention`` is the height of the maps at which self-attention is
    inserted; None means no attention. With ``classes`` the blocks' normalisation is conditional, and forward takes
    ``labels``.
    """

    def __init__(
        self, image_shape: Sequence[int], z_dim: int, width: int = 256, attention: int | None = None, classes: int = 0
    ) -> None:
        channels, height, breadth = divisible_sides(image_shape, "resnet")
        depth = halvings(height, breadth)
        small = max(height, breadth) <= SMALL
        maps = [width] * (depth + 1) if small else _pyramid(max(1, width // 4), depth)
        heights = [height >> stage for stage in range(depth + 1)]
        _check_attention(attention, heights)
        start = maps[depth], heights[depth], breadth >> depth
        layers: list[nn.Module] = [_linear(z_dim, prod(start)), nn.Unflatten(1, start)]
        for stage in range(depth, -1, -1):
            if stage < depth:
                layers.append(_Doubling(maps[stage + 1], maps[stage], classes))
            if heights[stage] == attention:
                layers.append(SelfAttention2d(maps[stage]))
        super().__init__(*layers, nn.BatchNorm2d(maps[0]), nn.ReLU(), _conv(maps[0], channels, 3, 1.0), nn.Tanh())


class _Pooled(nn.Module):
    """``[N, C, H, W]`` -> ReLU -> the sum (``summed``) or the mean over the places, ``[N, C]``."""

    def __init__(self, summed: bool) -> None:
        super().__init__()
        self.summed = summed

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        return x.sum(dim=(2, 3)) if self.summed else x.mean(dim=(2, 3))


class Discriminator(LabelledSequential):
    """Images ``[N, C, H, W]`` -> residual blocks -> pooled -> logits ``[N]``.

    For images up to 32x32, two blocks halve the sides and two keep them, all with ``width`` (ndf) maps. For larger
    images, there is one block for each halving and one more, from ``width / 2`` to at most ``8 * width`` maps. With
    ``norm`` spectral, every layer is normalised, and the last maps are summed over their places. With ``norm`` batch,
    instance, layer or none, their mean is taken, as in mimicry's WGAN-GP. ``attention`` is as in :class:`Generator`.
    With ``classes`` a projection of the label is added, and forward takes ``labels``.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        width: int = 128,
        norm: str = "spectral",
        attention: int | None = None,
        classes: int = 0,
    ) -> None:
        check_norm(norm)
        channels, height, breadth = divisible_sides(image_shape, "resnet")
        depth = halvings(height, breadth)
        if max(height, breadth) <= SMALL:
            maps, halved = [width] * 4, 2
        else:
            maps = _pyramid(max(1, width // 2), depth)
            halved = depth if (height >> depth) % 2 or (breadth >> depth) % 2 else depth + 1
        heights = [height >> min(block + 1, halved) for block in range(len(maps))]
        _check_attention(attention, heights)
        layers: list[nn.Module] = []
        for block, maps_in in enumerate([channels, *maps[:-1]]):
            layers.append(_Block(maps_in, maps[block], norm, halve=block < halved, first=block == 0))
            if heights[block] == attention and attention not in heights[:block]:
                layers.append(SelfAttention2d(maps[block]))
        pooled = _Pooled(summed=norm == "spectral")
        super().__init__(*layers, pooled, head(_linear(maps[-1], 1), maps[-1], classes))
        self.group = mixing_group(norm)
        if norm == "spectral":
            constrain(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(images, labels).flatten()
