"""Small multilayer perceptrons for points of a few dimensions.

Input and output points have the data's own scale. Inside the networks they have mean 0 and variance 1: both networks
save the data's mean and scale with their weights. ``waves`` adds features to the input of a network: the sines and
cosines of ``waves`` fixed random projections, drawn from N(0, ``frequency``^2). Without these random Fourier features
(Tancik et al. 2020, arXiv 2006.10739) a perceptron learns fine detail slowly.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from gan_cli import processes


class _Waves(nn.Module):
    """``x`` ``[N, d]`` -> ``x``, sin(xB), cos(xB): ``[N, width]``."""

    projection: Tensor

    def __init__(self, d: int, waves: int, frequency: float) -> None:
        super().__init__()
        self.register_buffer("projection", frequency * torch.randn(d, waves))
        self.width = d + 2 * waves

    def forward(self, x: Tensor) -> Tensor:
        angles = x @ self.projection
        return torch.cat([x, angles.sin(), angles.cos()], dim=1)


class _Scaled(nn.Module):
    """The data's ``mean`` and ``std`` as buffers: 0 and 1 until they are given or loaded."""

    mean: Tensor
    std: Tensor

    def __init__(self, shape: Sequence[int], mean: Tensor | None, std: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tuple(shape)))
        self.register_buffer("std", torch.ones(()))
        if mean is not None and std is not None:
            self.mean.copy_(mean)
            self.std.copy_(std)


def _layers(inputs: int, widths: Sequence[int], outputs: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, width in zip((inputs, *widths[:-1]), widths, strict=True):
        layers += [nn.Linear(fan_in, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


class Generator(_Scaled):
    """Latents ``[N, z_dim]`` -> ``widths``, ReLU -> points ``[N, d]``, linear.

    With ``spread`` a linear layer of the latent, at first its first d dimensions, is added to the output. The samples
    then start spread over all of the data, and no mode is far from them. Without ``spread`` they start in one place.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        z_dim: int,
        widths: Sequence[int] = (128, 128, 128),
        waves: int = 0,
        frequency: float = 1.0,
        spread: bool = True,
        data_mean: Tensor | None = None,
        data_std: Tensor | None = None,
    ) -> None:
        super().__init__(image_shape, data_mean, data_std)
        d = prod(image_shape)
        self.past = nn.Linear(z_dim, d, bias=False) if spread else None
        if self.past is not None:
            nn.init.eye_(self.past.weight)
        self.waves = _Waves(z_dim, waves, frequency)
        self.layers = _layers(self.waves.width, widths, d)

    def forward(self, z: Tensor) -> Tensor:
        x = self.layers(self.waves(z))
        if self.past is not None:
            x = x + self.past(z)
        return x.unflatten(1, self.mean.shape) * self.std + self.mean


class Discriminator(_Scaled):
    """Points ``[N, d]`` -> ``widths``, ReLU -> logits ``[N]``.

    With ``batch_mean`` the layers' input is each point's features and the mean of these features over its batch. A
    batch is all real or all generated, so D can detect a batch that lacks some modes. This is similar to minibatch
    discrimination (Salimans et al. 2016, arXiv 1606.03498, section 3.2). A logit then depends on the whole batch.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        widths: Sequence[int] = (128, 128, 128),
        waves: int = 0,
        frequency: float = 2.0,
        batch_mean: bool = False,
        data_mean: Tensor | None = None,
        data_std: Tensor | None = None,
    ) -> None:
        super().__init__(image_shape, data_mean, data_std)
        self.batch_mean, self.group = batch_mean, None if batch_mean else 1
        self.waves = _Waves(prod(image_shape), waves, frequency)
        self.layers = _layers(self.waves.width * (1 + batch_mean), widths, 1)

    def forward(self, points: Tensor) -> Tensor:
        features = self.waves(((points - self.mean) / self.std).flatten(1))
        if self.batch_mean:
            features = torch.cat([features, processes.mean(features.mean(dim=0)).expand_as(features)], dim=1)
        return self.layers(features).squeeze(1)
