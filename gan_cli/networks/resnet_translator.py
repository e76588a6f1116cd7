"""The residual translator of CycleGAN: Zhu et al. 2017 (arXiv 1703.10593), appendix 7.2, after Johnson et al. 2016.

It halves the sides twice, applies residual blocks, and doubles the sides twice. It is fully convolutional: it takes
every size whose sides 4 divides.
"""

from collections.abc import Sequence
from itertools import islice

from torch import Tensor, nn

from gan_cli.networks.layers import divisible_sides
from gan_cli.networks.translator_layers import NORMS, doubling, halving, initialise, normalisation

SMALL = 128  # pixels: up to this size six blocks, above it nine


class _Block(nn.Module):
    """``[N, maps, H, W]`` -> the same: 3x3, norm, ReLU, dropout, 3x3, norm, and the input added."""

    def __init__(self, maps: int, norm: str, dropout: float, bias: bool) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _reflecting(maps, maps, 3, bias),
            *normalisation(norm, maps),
            nn.ReLU(),
            *([nn.Dropout(dropout)] if dropout else []),
            _reflecting(maps, maps, 3, bias),
            *normalisation(norm, maps),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


def _reflecting(maps_in: int, maps_out: int, kernel: int, bias: bool) -> nn.Conv2d:
    """A convolution that keeps the sides. Beyond the border the image is its own reflection."""
    return nn.Conv2d(maps_in, maps_out, kernel, padding=kernel // 2, padding_mode="reflect", bias=bias)


class Generator(nn.Sequential):
    """Images ``[N, Cs, H, W]`` -> images ``[N, C, H, W]`` in [-1, 1].

    ``width`` is the number of maps at full size; there are twice as many after each halving. ``blocks`` is the number
    of residual blocks, by default 6 for images up to 128x128 and 9 for larger ones. ``norm`` is batch, instance or
    none. ``dropout`` is its probability in each block. ``upsampling`` and ``antialias`` are those of the U-Net.
    ``source_channels`` is Cs, by default C.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        source_channels: int | None = None,
        width: int = 64,
        blocks: int | None = None,
        norm: str = "instance",
        dropout: float = 0.0,
        upsampling: str = "transposed",
        antialias: bool = False,
    ) -> None:
        channels, height, breadth = divisible_sides(image_shape, "resnet_translator")
        if norm not in NORMS:
            raise ValueError(f"no norm {norm!r}; choose from {', '.join(NORMS)}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} should be from 0 up and below 1")
        depth, bias = blocks if blocks is not None else 6 if max(height, breadth) <= SMALL else 9, norm != "batch"
        layers: list[nn.Module] = [_reflecting(source_channels or channels, width, 7, bias)]
        layers += [*normalisation(norm, width), nn.ReLU()]
        seen = []  # the layers whose outputs are features
        for maps in (width, 2 * width):
            seen.append(len(layers))
            layers += [halving(maps, 2 * maps, bias, antialias, kernel=3), *normalisation(norm, 2 * maps), nn.ReLU()]
        seen += [len(layers) + block for block in (0, 4) if block < depth]
        layers += [_Block(4 * width, norm, dropout, bias) for _ in range(depth)]
        for maps in (2 * width, width):
            layers += [doubling(2 * maps, maps, bias, upsampling, kernel=3), *normalisation(norm, maps), nn.ReLU()]
        super().__init__(*layers, _reflecting(width, channels, 7, True), nn.Tanh())
        self.factor = 4  # the sides of an image must be multiples of this
        self._seen = seen
        self.feature_maps = [source_channels or channels, 2 * width, 4 * width, *([4 * width] * (len(seen) - 2))]
        self.apply(initialise)

    def features(self, images: Tensor) -> list[Tensor]:
        """The features that CUT compares (Park et al. 2020, arXiv 2007.15651), ``[N, feature_maps[i], h, w]`` each.

        They are the pixels, both halvings before normalisation, and the outputs of the first and the fifth block.
        """
        found, x = [images], images
        for index, layer in enumerate(islice(self, self._seen[-1] + 1)):
            x = layer(x)
            if index in self._seen:
                found.append(x)
        return found
