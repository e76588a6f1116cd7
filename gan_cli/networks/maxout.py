"""The networks of Goodfellow et al. 2014 on MNIST: a ReLU and sigmoid generator, a maxout discriminator with dropout.

Layer sizes, initial values and dropout are those of the authors' published configuration (goodfeli/adversarial,
``mnist.yaml``). Inside, both networks use pixels in [0, 1], as in the paper. Their input and output images are in
[-1, 1], as in all of this package.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn


def _uniform(layer: nn.Linear, bound: float) -> nn.Linear:
    """Weights from U(-bound, bound), biases 0."""
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)
    return layer


class Generator(nn.Module):
    """Latents ``[N, z_dim]`` -> 1200 ReLU -> 1200 ReLU -> sigmoid pixels, scaled to images in [-1, 1].

    ``pixel_mean`` is the training data's mean image, [C, H, W] in [0, 1]. If it is given, the output biases start at
    its logits, so that zero weights would give the mean image: the generator starts at the pixels' marginals.
    """

    def __init__(
        self, image_shape: Sequence[int], z_dim: int, width: int = 1200, pixel_mean: Tensor | None = None
    ) -> None:
        super().__init__()
        output = _uniform(nn.Linear(width, prod(image_shape)), 0.05)
        if pixel_mean is not None:
            with torch.no_grad():
                output.bias.copy_(torch.logit(pixel_mean.flatten(), eps=1e-4))
        self.layers = nn.Sequential(
            _uniform(nn.Linear(z_dim, width), 0.05),
            nn.ReLU(),
            _uniform(nn.Linear(width, width), 0.05),
            nn.ReLU(),
            output,
            nn.Sigmoid(),
            nn.Unflatten(1, tuple(image_shape)),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z) * 2 - 1


class Maxout(nn.Module):
    """A layer of maxout units (Goodfellow et al. 2013, arXiv 1302.4389): each the largest of ``pieces`` linear maps."""

    def __init__(self, fan_in: int, units: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = _uniform(nn.Linear(fan_in, units * pieces), 0.005)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(dim=2)


class Discriminator(nn.Module):
    """Images ``[N, C, H, W]`` -> two layers of 240 maxout units with 5 pieces -> logits ``[N]``.

    Dropout keeps 0.8 of the pixels and 0.5 of the units. As in the paper, it is also active in the generator's step.
    """

    group = 1

    def __init__(self, image_shape: Sequence[int], width: int = 240, pieces: int = 5) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.2),
            Maxout(prod(image_shape), width, pieces),
            nn.Dropout(0.5),
            Maxout(width, width, pieces),
            nn.Dropout(0.5),
            _uniform(nn.Linear(width, 1), 0.005),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers((images + 1) / 2).squeeze(1)
