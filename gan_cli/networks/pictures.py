"""Convolutional networks for pictures of 32 pixels and more, made for a laptop's CPU: the default of a folder.

They differ from :mod:`gan_cli.networks.conv` in three ways. The number of stages follows from the size: the deepest
layers see the whole picture. The generator has no feature maps at full size, which take almost half of the time of a
step of ``conv`` at 64x64 (NOTES.md). And the discriminator sees how much the images of a group differ.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gan_cli.networks.convolution import Conv2d, DoublingConvTranspose2d, HalvingConv2d
from gan_cli.networks.layers import LabelledSequential, LeakyReLU, batch_norm, divisible_sides, head, labelled
from gan_cli.networks.minibatch import GROUP, minibatch_std


def doublings(height: int, width: int) -> int:
    """How often a generator doubles the sides: 32x32 -> 2, 64x64 -> 3. It starts from a shorter side of 8 or more.

    The exceptions: sides below 32 are doubled twice as well, and so are sides that can't be halved more often.
    """
    count = 2
    while height % (2 << count) == width % (2 << count) == 0 and min(height, width) >> (count + 1) >= 8:
        count += 1
    return count


class Generator(nn.Module):
    """Latents ``[N, z_dim]`` -> linear -> :func:`doublings` -> images ``[N, C, H, W]`` in [-1, 1].

    The maps of half the images' size are ``2 * width``. Each smaller size has twice as many, up to ``max_width``. Each
    layer except the last is followed by batch normalisation and ReLU. The last layer is a 3x3 convolution at half the
    size that computes the four pixels of each place, and a pixel shuffle (Shi et al. 2016, arXiv 1609.05158). With
    ``classes`` the normalisation is conditional, and forward takes ``labels``.
    """

    def __init__(
        self, image_shape: Sequence[int], z_dim: int, width: int = 16, max_width: int = 128, classes: int = 0
    ) -> None:
        super().__init__()
        channels, height, breadth = divisible_sides(image_shape, "pictures")
        depth = doublings(height, breadth)
        height, breadth = height >> depth, breadth >> depth
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
    """Images ``[N, C, H, W]`` -> halvings to a shorter side of 4 to 7 -> 3x3 convolution -> logits ``[N]``.

    The first layer has ``width`` maps. Each further halving has twice as many, up to ``max_width``. The activation is
    LeakyReLU(0.2). There is no normalisation, because R1 needs a separate gradient for each image. A logit also depends
    on how much the images of its group differ (:func:`~gan_cli.networks.minibatch.minibatch_std`): without that the
    shares of the data's variants drift away while a generator trains (NOTES.md). With ``classes`` a projection of the
    label is added, and forward takes ``labels``.
    """

    group = GROUP

    def __init__(self, image_shape: Sequence[int], width: int = 16, max_width: int = 128, classes: int = 0) -> None:
        super().__init__()
        channels, height, breadth = divisible_sides(image_shape, "pictures")
        depth = min(height, breadth).bit_length() - 3
        widths = [min(width << level, max_width) for level in range(depth)]
        layers: list[nn.Module] = []
        for maps, more in itertools.pairwise([channels, *widths]):
            layers += [HalvingConv2d(maps, more), LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Sequential(Conv2d(widths[-1] + 1, widths[-1], 3, padding=1), LeakyReLU(0.2))
        features = widths[-1] * (height >> depth) * (breadth >> depth)
        self.score = head(nn.Linear(features, 1), features, classes)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.last(minibatch_std(self.layers(images))).permute(0, 2, 3, 1).flatten(1)
        return labelled(self.score, features, labels).squeeze(1)
