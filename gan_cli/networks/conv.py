"""Small convolutional networks for small images, such as 28x28 and 32x32: the default, made for a laptop's CPU.

Narrow on purpose: on a CPU a step's time goes by the number of products, and narrow networks bear a higher learning
rate. NOTES.md has what else was tried. Linear layers see images channels-last, the layout the convolutions run in.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from gan_cli.networks.layers import DoublingConvTranspose2d, HalvingConv2d, sides


def _check(image_shape: Sequence[int]) -> tuple[int, int, int]:
    """``image_shape``; ValueError unless 4 divides both sides, which are 8 at least."""
    channels, height, width = sides(image_shape)
    if height % 4 or width % 4 or min(height, width) < 8:
        size = max(8, -(-height // 4) * 4)
        raise ValueError(f"conv needs sides >= 8 divisible by 4, not {height}x{width}: add dataset.size={size}")
    return channels, height, width


class Generator(nn.Module):
    """Latents ``[N, z_dim]`` -> linear, at a quarter of the size -> two doublings -> images ``[N, C, H, W]``, tanh.

    ``width`` maps at full size, twice and four times as many at a half and a quarter of it. Batch normalisation and
    ReLU after each layer but the last.
    """

    def __init__(self, image_shape: Sequence[int], z_dim: int, width: int = 16) -> None:
        super().__init__()
        channels, height, breadth = _check(image_shape)
        self.project = nn.Sequential(
            nn.Linear(z_dim, height // 4 * (breadth // 4) * 4 * width, bias=False),
            nn.Unflatten(1, (height // 4, breadth // 4, 4 * width)),
        )
        self.layers = nn.Sequential(
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
            DoublingConvTranspose2d(4 * width, 2 * width, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            DoublingConvTranspose2d(2 * width, width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(self.project(z).permute(0, 3, 1, 2))


class Discriminator(nn.Module):
    """Images ``[N, C, H, W]`` -> three halvings and a 3x3 convolution -> logits ``[N]``, LeakyReLU(0.2).

    ``width`` maps after the first layer, then twice and four times as many. No normalisation, so that R1's gradient is
    each image's own.
    """

    def __init__(self, image_shape: Sequence[int], width: int = 16) -> None:
        super().__init__()
        channels, height, breadth = _check(image_shape)
        self.layers = nn.Sequential(
            HalvingConv2d(channels, width),
            nn.LeakyReLU(0.2),
            HalvingConv2d(width, 2 * width),
            nn.LeakyReLU(0.2),
            HalvingConv2d(2 * width, 4 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 4 * width, 3, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.score = nn.Linear(4 * width * (height // 8) * (breadth // 8), 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.score(self.layers(images).permute(0, 2, 3, 1).flatten(1)).squeeze(1)
