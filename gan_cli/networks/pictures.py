"""Convolutional networks for pictures of 32 pixels and more, made for a laptop's CPU: the default of a folder.

They differ from :mod:`gan_cli.networks.conv` in two ways. The number of stages follows from the size, so that the
deepest layer of each network sees the whole picture. And the generator has no feature maps at full size: at 64x64 those
take almost half of the time of a step of ``conv``, although they hold a tenth of its products (NOTES.md).
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gan_cli.networks.convolution import Conv2d, DoublingConvTranspose2d, HalvingConv2d
from gan_cli.networks.layers import LabelledSequential, LeakyReLU, batch_norm, divisible_sides, head, labelled

SMALLEST = 8  # the shorter side of the maps that a generator starts from, at least


def _plan(image_shape: Sequence[int]) -> tuple[int, int, int, int]:
    """The channels of the images, how often a generator doubles the sides, and the height and width it starts from."""
    channels, height, width = divisible_sides(image_shape, "pictures")
    depth = 2
    while height % (2 << depth) == width % (2 << depth) == 0 and min(height, width) >= SMALLEST << (depth + 1):
        depth += 1
    return channels, depth, height >> depth, width >> depth


class Generator(nn.Module):
    """Latents ``[N, z_dim]`` -> linear, 8x8 to 15x15 -> doublings -> images ``[N, C, H, W]`` in [-1, 1].

    The maps of half the images' size are ``2 * width``. Each smaller size has twice as many, up to ``max_width``. Each
    layer except the last is followed by batch normalisation and ReLU. The last layer is a 3x3 convolution at half the
    size that computes the four pixels of each place, and a pixel shuffle (Shi et al. 2016, arXiv 1609.05158). With
    ``classes`` the normalisation is conditional, and forward takes ``labels``.
    """

    def __init__(
        self, image_shape: Sequence[int], z_dim: int, width: int = 16, max_width: int = 128, classes: int = 0
    ) -> None:
        super().__init__()
        channels, depth, height, breadth = _plan(image_shape)
        widths = [min(width << level, max_width) for level in range(depth, 0, -1)]
        self.project = nn.Sequential(
            nn.Linear(z_dim, height * breadth * widths[0], bias=False), nn.Unflatten(1, (height, breadth, widths[0]))
        )
        layers: list[nn.Module] = [batch_norm(widths[0], classes), nn.ReLU()]
        for maps, fewer in itertools.pairwise(widths):
            layers += [DoublingConvTranspose2d(maps, fewer, bias=False), batch_norm(fewer, classes), nn.ReLU()]
        layers += [nn.Conv2d(widths[-1], 4 * channels, 3, padding=1), nn.PixelShuffle(2), nn.Tanh()]
        self.layers = LabelledSequential(*layers)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        maps = self.project(z).permute(0, 3, 1, 2)
        # A trace of channels-last maps would hold for batches of more than one image alone.
        return self.layers(maps.contiguous() if torch.compiler.is_compiling() else maps, labels)


class Discriminator(nn.Module):
    """Images ``[N, C, H, W]`` -> halvings down to 4x4 to 7x7 and a 3x3 convolution -> logits ``[N]``, LeakyReLU(0.2).

    The first layer has ``width`` maps. Each further halving has twice as many, up to ``max_width``. There is no
    normalisation, because R1 needs a separate gradient for each image. With ``classes`` a projection of the label is
    added, and forward takes ``labels``.
    """

    group = 1

    def __init__(self, image_shape: Sequence[int], width: int = 16, max_width: int = 128, classes: int = 0) -> None:
        super().__init__()
        channels, depth, height, breadth = _plan(image_shape)
        widths = [min(width << level, max_width) for level in range(depth + 1)]
        layers: list[nn.Module] = []
        for maps, more in itertools.pairwise([channels, *widths]):
            layers += [HalvingConv2d(maps, more), LeakyReLU(0.2)]
        layers += [Conv2d(widths[-1], widths[-1], 3, padding=1), LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        features = widths[-1] * (height // 2) * (breadth // 2)
        self.score = head(nn.Linear(features, 1), features, classes)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.layers(images).permute(0, 2, 3, 1).flatten(1)
        return labelled(self.score, features, labels).squeeze(1)
