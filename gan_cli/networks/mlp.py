"""The multilayer perceptrons that tutorials train on MNIST: a plain form of Goodfellow et al. 2014, section 3."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from gan_cli.networks.layers import with_labels


class Generator(nn.Sequential):
    """Latents ``[N, z_dim]`` -> 128 -> 256 -> 512 -> 1024 -> images ``[N, C, H, W]`` in [-1, 1].

    LeakyReLU(0.2) follows each hidden layer, batch normalisation each hidden layer except the first, tanh the last
    layer. The widths are those of Linder-Norén's PyTorch-GAN ``gan.py``, which many tutorials use. With ``classes``,
    forward takes ``labels``, which are one-hot and concatenated to the latents.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        z_dim: int,
        widths: Sequence[int] = (128, 256, 512, 1024),
        norm: bool = True,
        classes: int = 0,
    ) -> None:
        layers: list[nn.Module] = []
        for i, (fan_in, width) in enumerate(zip((z_dim + classes, *widths[:-1]), widths, strict=True)):
            normalised = norm and i > 0
            layers.append(nn.Linear(fan_in, width, bias=not normalised))
            if normalised:
                layers.append(nn.BatchNorm1d(width))
            layers.append(nn.LeakyReLU(0.2))
        super().__init__(
            *layers, nn.Linear(widths[-1], prod(image_shape)), nn.Tanh(), nn.Unflatten(1, tuple(image_shape))
        )
        self.classes = classes

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(with_labels(z, labels, self.classes))


class Discriminator(nn.Sequential):
    """Images ``[N, C, H, W]`` -> 512 -> 256 -> logits ``[N]``, LeakyReLU(0.2) between; with ``classes``, labels too."""

    group = 1

    def __init__(self, image_shape: Sequence[int], widths: Sequence[int] = (512, 256), classes: int = 0) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, width in zip((prod(image_shape) + classes, *widths[:-1]), widths, strict=True):
            layers += [nn.Linear(fan_in, width), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Linear(widths[-1], 1))
        self.classes = classes

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(with_labels(images.flatten(1), labels, self.classes)).squeeze(1)
