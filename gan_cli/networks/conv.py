"""Small convolutional networks for small images, such as 28x28 and 32x32: the default, made for a laptop's CPU."""

from collections.abc import Sequence

from torch import Tensor, nn


def _quarter(image_shape: Sequence[int]) -> tuple[int, int, int]:
    """(C, H/4, W/4). ValueError unless 4 divides both sides."""
    channels, height, width = image_shape
    if height % 4 or width % 4:
        raise ValueError(
            f"conv needs sides divisible by 4, not {height}x{width}: add dataset.size={-(-height // 4) * 4}"
        )
    return channels, height // 4, width // 4


class Generator(nn.Sequential):
    """Latents ``[N, z_dim]`` -> linear, at a quarter of the size -> two doublings -> images ``[N, C, H, W]``."""

    def __init__(self, image_shape: Sequence[int], z_dim: int, width: int = 64) -> None:
        channels, height, breadth = _quarter(image_shape)
        super().__init__(
            nn.Linear(z_dim, 2 * width * height * breadth, bias=False),
            nn.Unflatten(1, (2 * width, height, breadth)),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(),
            nn.Conv2d(width // 2, channels, 3, padding=1),
            nn.Tanh(),
        )


class Discriminator(nn.Sequential):
    """Images ``[N, C, H, W]`` -> two halvings -> logits ``[N]``; no normalisation, so that R1 sees each image alone."""

    def __init__(self, image_shape: Sequence[int], width: int = 64) -> None:
        channels, height, breadth = _quarter(image_shape)
        super().__init__(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * width * height * breadth, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).squeeze(1)
