"""DCGAN: Radford et al. 2016 (arXiv 1511.06434), section 3, in the layer plan of the PyTorch faces tutorial.

Any square power-of-two size from 32 up: a generator's stage doubles a side, from 4x4; a discriminator's halves it.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from gan_cli.networks.layers import DoublingConvTranspose2d, HalvingConv2d, sides


def stages(image_shape: Sequence[int]) -> int:
    """How many doublings lead from 4x4 to the image. ValueError unless it is square, a power of two, and >= 32."""
    _, height, width = sides(image_shape)
    if height != width or height < 32 or height & (height - 1):
        raise ValueError(
            f"dcgan needs square images of a power-of-two size >= 32, not {height}x{width}: "
            f"add dataset.size={max(32, 1 << (height - 1).bit_length())}"
        )
    return height.bit_length() - 3


def _initialise(module: nn.Module) -> None:
    """Section 4 of the paper: weights from N(0, 0.02); batch normalisation's scale from N(1, 0.02), shift 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class Generator(nn.Sequential):
    """Latents ``[N, z_dim]`` -> 4x4 -> transposed 4x4 convolutions of stride 2 -> images ``[N, C, H, W]`` in [-1, 1].

    ``width`` (ngf) is the number of maps before the last layer; each earlier stage has twice as many.
    """

    def __init__(self, image_shape: Sequence[int], z_dim: int, width: int = 64) -> None:
        depth = stages(image_shape)
        maps = width << (depth - 1)
        layers: list[nn.Module] = [
            nn.Unflatten(1, (z_dim, 1, 1)),
            nn.ConvTranspose2d(z_dim, maps, 4, bias=False),
            nn.BatchNorm2d(maps),
            nn.ReLU(),
        ]
        for _ in range(depth - 1):
            layers += [
                DoublingConvTranspose2d(maps, maps // 2, bias=False),
                nn.BatchNorm2d(maps // 2),
                nn.ReLU(),
            ]
            maps //= 2
        super().__init__(*layers, DoublingConvTranspose2d(maps, image_shape[0], bias=False), nn.Tanh())
        self.apply(_initialise)


class Discriminator(nn.Sequential):
    """Images ``[N, C, H, W]`` -> 4x4 convolutions of stride 2 down to 4x4 -> logits ``[N]``.

    ``width`` (ndf) maps after the first layer, twice as many after each further one. Batch normalisation in all but the
    first and the last layer, LeakyReLU(0.2).
    """

    def __init__(self, image_shape: Sequence[int], width: int = 64) -> None:
        layers: list[nn.Module] = [
            HalvingConv2d(image_shape[0], width, bias=False),
            nn.LeakyReLU(0.2),
        ]
        maps = width
        for _ in range(stages(image_shape) - 1):
            layers += [
                HalvingConv2d(maps, maps * 2, bias=False),
                nn.BatchNorm2d(maps * 2),
                nn.LeakyReLU(0.2),
            ]
            maps *= 2
        super().__init__(*layers, nn.Conv2d(maps, 1, 4, bias=False))
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).flatten()
