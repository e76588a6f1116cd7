"""DCGAN: Radford et al. 2016 (arXiv 1511.06434), section 3, in the layer plan of the PyTorch faces tutorial.

The sides must be at least 8 and divisible by 4. Each stage of a generator doubles the sides; each stage of a
discriminator halves them. The smallest size is the image's size, halved as often as both sides are even and stay at
least 4. 64x64 starts at 4x4 as in the tutorial, 28x28 at 7x7, 48x80 at 6x10.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from gan_cli.networks.convolution import Conv2d, DoublingConvTranspose2d, FirstConvTranspose2d, HalvingConv2d
from gan_cli.networks.layers import (
    LabelledSequential,
    LeakyReLU,
    batch_norm,
    check_norm,
    constrain,
    divisible_sides,
    halvings,
    head,
    mixing_group,
    normalisation,
)


def _plan(image_shape: Sequence[int]) -> tuple[int, tuple[int, int]]:
    """The number of doublings up to the image, and the sides before them. ValueError for unsupported sides."""
    _, height, width = divisible_sides(image_shape, "dcgan")
    depth = halvings(height, width)
    return depth, (height >> depth, width >> depth)


def _initialise(module: nn.Module) -> None:
    """Section 4 of the paper: weights from N(0, 0.02); batch normalisation's scale from N(1, 0.02), shift 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class Generator(LabelledSequential):
    """Latents ``[N, z_dim]`` -> 4x4 -> transposed 4x4 convolutions of stride 2 -> images ``[N, C, H, W]`` in [-1, 1].

    ``width`` (ngf) is the number of maps before the last layer; each earlier stage has twice as many. With ``classes``
    batch normalisation is conditional, and forward takes ``labels``.
    """

    def __init__(self, image_shape: Sequence[int], z_dim: int, width: int = 64, classes: int = 0) -> None:
        depth, start = _plan(image_shape)
        maps = width << (depth - 1)
        layers: list[nn.Module] = [
            nn.Unflatten(1, (z_dim, 1, 1)),
            FirstConvTranspose2d(z_dim, maps, start),
            batch_norm(maps, classes),
            nn.ReLU(),
        ]
        for _ in range(depth - 1):
            layers += [
                DoublingConvTranspose2d(maps, maps // 2, bias=False),
                batch_norm(maps // 2, classes),
                nn.ReLU(),
            ]
            maps //= 2
        super().__init__(*layers, DoublingConvTranspose2d(maps, image_shape[0], bias=False), nn.Tanh())
        self.apply(_initialise)


class Discriminator(LabelledSequential):
    """Images ``[N, C, H, W]`` -> 4x4 convolutions of stride 2 down to 4x4 -> logits ``[N]``.

    The first layer has ``width`` (ndf) maps; each further layer has twice as many. The activation is LeakyReLU(0.2).
    ``norm`` is batch (as in the paper), instance, layer or none, in all layers except the first and the last; or it is
    spectral, in every layer. With ``classes`` a projection of the label is added, and forward takes ``labels``.
    """

    def __init__(self, image_shape: Sequence[int], width: int = 64, norm: str = "batch", classes: int = 0) -> None:
        check_norm(norm)
        depth, (height, breadth) = _plan(image_shape)
        bias = norm in ("spectral", "none")  # the other norms remove the bias or have their own shift
        layers: list[nn.Module] = [
            HalvingConv2d(image_shape[0], width, bias=bias),
            LeakyReLU(0.2),
        ]
        maps = width
        for _ in range(depth - 1):
            layers += [
                HalvingConv2d(maps, maps * 2, bias=bias),
                *normalisation(norm, maps * 2),
                LeakyReLU(0.2),
            ]
            maps *= 2
        score = Conv2d(maps, 1, (height, breadth), bias=bias)
        super().__init__(*layers, head(score, maps * height * breadth, classes))
        self.group = mixing_group(norm)
        self.apply(_initialise)
        if norm == "spectral":
            constrain(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(images, labels).flatten()
