"""The game of StyleGAN2: Karras et al. 2020 (arXiv 1912.04958), section 3.2."""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from gan_cli import processes
from gan_cli.errors import UserError
from gan_cli.noise import sample_noise
from gan_cli.training.batches import Batch
from gan_cli.training.games import Adversarial
from gan_cli.training.logits import full
from gan_cli.training.terms import Term, Terms


class Spread(nn.Module):
    """``(length - a)^2`` of path lengths ``[N]``, with ``a`` their moving average. A checkpoint contains ``a``.

    Each call first moves ``a`` towards the mean of the lengths, by the share ``decay``.
    """

    mean: Tensor
    needs_whole_minibatch = "game=path_length"

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, lengths: Tensor) -> Tensor:
        with torch.no_grad():
            self.mean.lerp_(processes.mean(lengths.mean()).to(self.mean.dtype), self.decay)
        return (lengths - self.mean).square()


class PathLength(Adversarial):
    """The adversarial game, with path length regularisation of the generator: equation 4.

    Every ``interval``-th minibatch adds ``weight * interval * (|J_w^T y| - a)^2`` to what G descends, at half as many
    fresh latents as the minibatch has images. ``decay`` is that of ``a``: see :class:`Spread`. The lengths have the
    precision of the networks. ``parts`` are those of :class:`.games.Adversarial`. ValueError if the generator has no
    ``path_lengths``: StyleGAN2's has.
    """

    def __init__(self, weight: float = 2.0, interval: int = 4, decay: float = 0.01, **parts: Any) -> None:
        super().__init__(**parts)
        network: Any = self.generator
        if not hasattr(network, "path_lengths"):
            raise ValueError("game=path_length needs a generator with path lengths: use net=stylegan2")
        if not weight >= 0 or interval < 1 or not 0 < decay <= 1:
            raise ValueError(f"weight={weight} should be 0 or more, interval={interval} 1 or more, decay={decay} to 1")
        self._lengths: Callable[..., Tensor] = network.path_lengths
        self.weight, self.path_interval = weight, interval
        self.spread = Spread(decay).to(self._compute.device)

    def generator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        terms = super().generator_terms(batch, fake)
        if not self._lengths_due(batch):
            return terms
        return {**terms, "path_length": Term(self.spread(self._fresh_lengths(batch)), self.weight * self.path_interval)}

    def kind(self, batch: Batch) -> Hashable:
        return super().kind(batch), self._lengths_due(batch)

    def _lengths_due(self, batch: Batch) -> bool:
        return self.weight > 0 and batch.number % self.path_interval == 0

    def _fresh_lengths(self, batch: Batch) -> Tensor:
        """The path lengths at fresh latents, for half of the labels of ``batch``."""
        n = max(1, len(batch.real) // 2)
        if len(batch.real) % 2 and processes.parts() > 1:
            raise UserError(f"path lengths take half of each part, and a part has {len(batch.real)} images: use 2 or 4")
        z = sample_noise(self._noise.prior, n, self._noise.z_dim, batch.real.device)
        with self._compute.autocast():
            return full(self._lengths(z.to(self._compute.dtype), *(given[:n] for given in batch.given)))
