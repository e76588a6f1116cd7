"""Minibatches of a dataset, on the device. The seed alone decides their order."""

from typing import NamedTuple

import torch
from torch import Tensor

from gan_cli.data import Dataset, Points, Sampler
from gan_cli.data.pairs import Domains
from gan_cli.training import device as devices


class Batch(NamedTuple):
    """A minibatch: m real examples as the networks see them, their labels (if the game is conditional), its number.

    ``real`` is float32 ``[m, C, H, W]`` in [-1, 1], or points ``[m, d]``; of two domains it has the source's channels,
    then the target's. ``labels`` are int64 ``[m]``. ``number`` counts the minibatches of the run from 1.
    """

    real: Tensor
    labels: Tensor | None
    number: int

    @property
    def given(self) -> tuple[Tensor, ...]:
        """The extra arguments of both networks: the labels, or nothing."""
        return () if self.labels is None else (self.labels,)


class Batches:
    """The endless sequence of minibatches of ``batch_size`` examples. Each epoch draws every example once.

    A checkpoint saves only ``position``, the number of examples drawn so far. If the memory of ``device`` can hold the
    examples, all of them lie there (``resident``). Otherwise each minibatch is copied to it. ValueError if ``labelled``
    and the data have no labels.
    """

    def __init__(
        self,
        dataset: Dataset | Points | Domains,
        batch_size: int,
        seed: int,
        device: torch.device,
        labelled: bool = False,
    ) -> None:
        if labelled and dataset.labels is None:
            raise ValueError("conditional training needs a dataset with labels")
        self.batch_size = batch_size
        self.resident = devices.holds(device, dataset.examples)
        self._dataset, self._device = dataset, device
        self._examples = dataset.examples.to(device) if self.resident else dataset.examples
        self._labels = dataset.labels.to(self._examples.device) if labelled and dataset.labels is not None else None
        self._sampler = Sampler(len(dataset), seed, 0, self._examples.device)

    @property
    def position(self) -> int:
        """The number of examples drawn so far, over all epochs."""
        return self._sampler.position

    @position.setter
    def position(self, position: int) -> None:
        self._sampler.position = position

    def __next__(self) -> Batch:
        indices = self._sampler.draw(self.batch_size)
        real = self._dataset.network_input(devices.gather(self._examples, indices, self._device))
        labels = None if self._labels is None else devices.gather(self._labels, indices, self._device)
        return Batch(real, labels, self._sampler.position // self.batch_size)
