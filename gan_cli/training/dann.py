"""Domain-adversarial training: Ganin et al. 2016 (arXiv 1505.07818). A third game, and an example of a small one.

A classifier knows the labels of its sources alone, and should classify targets as well. The generator makes features of
images. The discriminator tells features of sources from features of targets. The generator classifies the sources, and
makes the features of both domains look alike.
"""

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_cli.training import ema
from gan_cli.training.batches import Batch
from gan_cli.training.device import Compute
from gan_cli.training.games import Average, Game, Loss
from gan_cli.training.logits import full
from gan_cli.training.terms import Term, Terms


class Features(NamedTuple):
    """The features of a batch's sources and of its targets, ``[N, F]`` each."""

    source: Tensor
    target: Tensor


class DANN(Game):
    """Equation 9: ``generator`` descends ``L_y - strength * L_d``, and ``discriminator`` descends ``L_d``.

    ``L_y`` is the cross entropy of the sources' labels. ``L_d`` is D's loss, with sources as real and targets as fake:
    binary cross-entropy (``loss=nonsaturating``). ``generator.features`` maps images ``[N, C, H, W]`` to features
    ``[N, F]``, and ``generator.classify`` maps features to logits. D maps features to logits ``[N]``. The paper's layer
    that reverses gradients is this game with ``update=simultaneous``: both sides move from the same point.
    ``strength`` rises from 0 over the first ``ramp`` minibatches, by the paper's curve: see :meth:`weight`.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: Loss,
        source_channels: int,
        average: Average = Average(),
        compute: Compute = Compute(),
        strength: float = 0.3,
        ramp: int = 1000,
    ) -> None:
        super().__init__()
        self.generator, self.discriminator = compute.placed(generator), compute.placed(discriminator)
        self.ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.strength, self.ramp = strength, ramp
        self._loss, self._channels, self._average, self._compute = loss, source_channels, average, compute

    def weight(self, number: int) -> float:
        """lambda at the minibatch ``number``: ``strength * (2 / (1 + exp(-10 p)) - 1)``, p = min(1, number / ramp)."""
        return self.strength * math.tanh(5 * min(1.0, number / self.ramp))  # the same

    def generate(self, batch: Batch) -> Features:
        sources, targets = batch.real[:, : self._channels], batch.real[:, self._channels :]
        both = self._run(self.generator.features, torch.cat([sources, targets]))
        return Features(*both.chunk(2))

    def discriminator_terms(self, batch: Batch, fake: Features) -> Terms:
        return {"loss_d": Term(self._told_apart(*(features.detach() for features in fake)))}

    def generator_terms(self, batch: Batch, fake: Features) -> Terms:
        """``label``: cross entropy. ``domain``: D's own loss, with a negative weight."""
        logits = self._run(self.generator.classify, fake.source)
        assert batch.labels is not None, "a dataset with labels, and conditional=true"
        return {
            "label": Term(cross_entropy(logits, batch.labels, reduction="none")),
            "domain": Term(self._told_apart(*fake), weight=-self.weight(batch.number)),
        }

    def average(self, step: int, batch_size: int) -> None:
        decay = ema.decay(step * batch_size, batch_size, self._average.half_life, self._average.ramp)
        ema.update(ema.tensors(self.ema), ema.tensors(self.generator), decay)

    def _told_apart(self, source: Tensor, target: Tensor) -> Tensor:
        """D's loss on these features, ``[N]``."""
        logits = self._run(self.discriminator, torch.cat([source, target]))
        return self._loss(*logits.chunk(2))[0]

    def _run(self, network: Any, inputs: Tensor) -> Tensor:
        with self._compute.autocast():
            return full(network(inputs))
