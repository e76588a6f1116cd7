"""Small convolutional networks for small images, such as 28x28 and 32x32: the default, made for a laptop's CPU.

The networks are narrow for two reasons: on a CPU a step's time grows with the number of products, and narrow networks
tolerate a higher learning rate. NOTES.md lists the alternatives that were tried. Linear layers see images
channels-last, the memory layout of the convolutions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gan_cli.networks.convolution import Conv2d, DoublingConvTranspose2d, HalvingConv2d
from gan_cli.networks.layers import LabelledSequential, LeakyReLU, batch_norm, divisible_sides, head, labelled


class Generator(nn.Module):
    """Latents ``[N, z_dim]`` -> linear, at a quarter of the size -> two doublings -> images ``[N, C, H, W]``, tanh.

    There are ``width`` maps at full size, ``2 * width`` at half and ``4 * width`` at a quarter of it. Each layer except
    the last is followed by batch normalisation and ReLU. With ``classes`` the normalisation is conditional, and forward
    takes ``labels``.
    """

    def __init__(self, image_shape: Sequence[int], z_dim: int, width: int = 16, classes: int = 0) -> None:
        super().__init__()
        channels, height, breadth = divisible_sides(image_shape, "conv")
        self.project = nn.Sequential(
            nn.Linear(z_dim, height // 4 * (breadth // 4) * 4 * width, bias=False),
            nn.Unflatten(1, (height // 4, breadth // 4, 4 * width)),
        )
        self.layers = LabelledSequential(
            batch_norm(4 * width, classes),
            nn.ReLU(),
            DoublingConvTranspose2d(4 * width, 2 * width, bias=False),
            batch_norm(2 * width, classes),
            nn.ReLU(),
            DoublingConvTranspose2d(2 * width, width, bias=False),
            batch_norm(width, classes),
            nn.ReLU(),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        maps = self.project(z).permute(0, 3, 1, 2)
        # A trace of channels-last maps would hold for batches of more than one image alone.
        return self.layers(maps.contiguous() if torch.compiler.is_compiling() else maps, labels)


class Discriminator(nn.Module):
    """Images ``[N, C, H, W]`` -> three halvings and a 3x3 convolution -> logits ``[N]``, LeakyReLU(0.2).

    The layers have ``width``, ``2 * width``, ``4 * width`` and ``4 * width`` maps. There is no normalisation, because
    R1 needs a separate gradient for each image. With ``classes`` a projection of the label is added, and forward takes
    ``labels``.
    """

    group = 1

    def __init__(self, image_shape: Sequence[int], width: int = 16, classes: int = 0) -> None:
        super().__init__()
        channels, height, breadth = divisible_sides(image_shape, "conv")
        self.layers = nn.Sequential(
            HalvingConv2d(channels, width),
            LeakyReLU(0.2),
            HalvingConv2d(width, 2 * width),
            LeakyReLU(0.2),
            HalvingConv2d(2 * width, 4 * width),
            LeakyReLU(0.2),
            Conv2d(4 * width, 4 * width, 3, padding=1),
            LeakyReLU(0.2),
        )
        features = 4 * width * (height // 8) * (breadth // 8)
        self.score = head(nn.Linear(features, 1), features, classes)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.layers(images).permute(0, 2, 3, 1).flatten(1)
        return labelled(self.score, features, labels).squeeze(1)
