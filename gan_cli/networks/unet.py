"""The U-Net of pix2pix: Isola et al. 2017 (arXiv 1611.07004), section 6.1.1. It maps images to images.

The encoder halves the sides as often as both divide by 2: at 256x256 eight times, down to 1x1. The decoder doubles
them as often. Each level of the encoder is also an input of the decoder's level of the same size. The network is fully
convolutional: it takes every size whose sides can be halved as often as those it was built for.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gan_cli.networks.layers import sides
from gan_cli.networks.translator_layers import NORMS, doubling, halving, initialise, normalisation

DROPPED = 3  # the first levels of the decoder, which have dropout
FEWEST = 2  # levels


class Generator(nn.Module):
    """Images ``[N, Cs, H, W]`` -> images ``[N, C, H, W]`` in [-1, 1].

    ``width`` is the number of maps of the first level. It doubles with each level, up to ``8 * width``. ``norm`` is
    batch, instance or none. The first and the deepest level of the encoder have none, as in the authors' code.
    ``dropout`` is its probability in the first three levels of the decoder; it is the only noise of pix2pix, and stays
    on when images are translated. ``upsampling`` is transposed or resize, against checkerboards. ``antialias`` filters
    before subsampling. ``source_channels`` is Cs, by default C.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        source_channels: int | None = None,
        width: int = 64,
        norm: str = "batch",
        dropout: float = 0.5,
        upsampling: str = "transposed",
        antialias: bool = False,
    ) -> None:
        super().__init__()
        channels, height, breadth = sides(image_shape)
        levels = _levels(height, breadth)
        if norm not in NORMS:
            raise ValueError(f"no norm {norm!r}; choose from {', '.join(NORMS)}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} should be from 0 up and below 1")
        maps, bias = [min(width << level, 8 * width) for level in range(levels)], norm != "batch"
        self.factor = 1 << levels  # the sides of an image must be multiples of this
        self.down = nn.ModuleList([halving(source_channels or channels, maps[0], bias, antialias)])
        for level in range(1, levels):
            layers = [nn.LeakyReLU(0.2), halving(maps[level - 1], maps[level], bias, antialias)]
            self.down.append(nn.Sequential(*layers, *(normalisation(norm, maps[level]) if level < levels - 1 else [])))
        self.up = nn.ModuleList()
        for place, level in enumerate(range(levels - 1, 0, -1)):
            layers = [nn.ReLU(), doubling(maps[level] * (1 + (place > 0)), maps[level - 1], bias, upsampling)]
            layers += [*normalisation(norm, maps[level - 1]), *([nn.Dropout(dropout)] if place < DROPPED else [])]
            self.up.append(nn.Sequential(*layers))
        self.up.append(nn.Sequential(nn.ReLU(), doubling(2 * maps[0], channels, True, upsampling), nn.Tanh()))
        self.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        x, skips = images, []
        for down in self.down:
            x = down(x)
            skips.append(x)
        skips.pop()
        for up in self.up:
            x = up(x)
            if skips:
                x = torch.cat([skips.pop(), x], dim=1)
        return x


def _levels(height: int, width: int) -> int:
    """How often both sides can be halved without a remainder. ValueError for fewer than :data:`FEWEST` times."""
    levels = 0
    while height % 2 == width % 2 == 0:
        height, width, levels = height // 2, width // 2, levels + 1
    if levels < FEWEST:
        step = 1 << FEWEST
        near = [max(step, round(side / step) * step) for side in (height << levels, width << levels)]
        size = near[0] if near[0] == near[1] else f"[{near[0]},{near[1]}]"
        raise ValueError(
            f"unet needs sides divisible by {step}, not {height << levels}x{width << levels}: add dataset.size={size}"
        )
    return levels
