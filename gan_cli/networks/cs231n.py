"""The networks of Stanford's CS231n GAN assignment on MNIST: fully connected networks and convolutional networks.

The layers, their order, their initial weights and the numbers of parameters are the assignment's. The assignment draws
z from U(-1, 1). Here ``prior=uniform`` is U(-sqrt 3, sqrt 3), so the generators divide z by sqrt 3.
"""

from collections.abc import Sequence
from math import prod, sqrt

from torch import Tensor, nn

from gan_cli.networks.convolution import DoublingConvTranspose2d
from gan_cli.networks.layers import sides


def _check(image_shape: Sequence[int]) -> None:
    """ValueError unless the images have the shape of MNIST's."""
    if tuple(sides(image_shape)) != (1, 28, 28):
        channels, height, width = image_shape
        raise ValueError(
            f"cs231n needs grey 28x28 images, not {channels} channels of {height}x{width}: "
            + ("add dataset.size=28" if channels == 1 else "take dataset=mnist")
        )


def _initialise(module: nn.Module) -> None:
    """The assignment's ``initialize_weights``, for its convolutional networks."""
    if isinstance(module, nn.Linear | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)


class Generator(nn.Sequential):
    """Latents ``[N, z_dim]`` of variance 1 -> 1024 -> 1024, ReLU -> images ``[N, 1, 28, 28]``, tanh."""

    def __init__(self, image_shape: Sequence[int], z_dim: int) -> None:
        _check(image_shape)
        super().__init__(
            nn.Linear(z_dim, 1024),
            nn.ReLU(),
            nn.Linear(1024, 1024),
            nn.ReLU(),
            nn.Linear(1024, prod(image_shape)),
            nn.Tanh(),
            nn.Unflatten(1, tuple(image_shape)),
        )

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z / sqrt(3))


class Discriminator(nn.Sequential):
    """Images ``[N, 1, 28, 28]`` -> 256 -> 256, LeakyReLU(0.01) -> logits ``[N]``: 267,009 parameters."""

    group = 1

    def __init__(self, image_shape: Sequence[int]) -> None:
        _check(image_shape)
        super().__init__(
            nn.Flatten(),
            nn.Linear(prod(image_shape), 256),
            nn.LeakyReLU(0.01),
            nn.Linear(256, 256),
            nn.LeakyReLU(0.01),
            nn.Linear(256, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).squeeze(1)


class ConvGenerator(nn.Sequential):
    """Latents ``[N, z_dim]`` of variance 1 -> 1024 -> 7x7x128 -> two doublings -> images ``[N, 1, 28, 28]``, tanh.

    Batch normalisation follows each ReLU, as in the assignment.
    """

    def __init__(self, image_shape: Sequence[int], z_dim: int) -> None:
        _check(image_shape)
        super().__init__(
            nn.Linear(z_dim, 1024),
            nn.ReLU(),
            nn.BatchNorm1d(1024),
            nn.Linear(1024, 7 * 7 * 128),
            nn.ReLU(),
            nn.BatchNorm1d(7 * 7 * 128),
            nn.Unflatten(1, (128, 7, 7)),
            DoublingConvTranspose2d(128, 64),
            nn.ReLU(),
            nn.BatchNorm2d(64),
            DoublingConvTranspose2d(64, 1),
            nn.Tanh(),
        )
        self.apply(_initialise)

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z / sqrt(3))


class ConvDiscriminator(nn.Sequential):
    """Images ``[N, 1, 28, 28]`` -> two 5x5 convolutions, each pooled -> 1024 -> logits ``[N]``: 1,102,721 parameters.

    LeakyReLU(0.01), max pooling, no padding.
    """

    group = 1

    def __init__(self, image_shape: Sequence[int]) -> None:
        _check(image_shape)
        super().__init__(
            nn.Conv2d(1, 32, 5),
            nn.LeakyReLU(0.01),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5),
            nn.LeakyReLU(0.01),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * 4 * 64, 4 * 4 * 64),
            nn.LeakyReLU(0.01),
            nn.Linear(4 * 4 * 64, 1),
        )
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).squeeze(1)
