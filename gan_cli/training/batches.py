"""Minibatches of a dataset, on the device. The seed alone decides their order."""

from typing import NamedTuple

import torch
from torch import Tensor

from gan_cli import processes
from gan_cli.data import Dataset, Points, Sampler
from gan_cli.data.pairs import Domains
from gan_cli.training import device as devices


class Batch(NamedTuple):
    """A minibatch: m real examples as the networks see them, their labels (if the game is conditional), its number.

    ``real`` is float32 ``[m, C, H, W]`` in [-1, 1], or points ``[m, d]``; of two domains it has the source's channels,
    then the target's. ``labels`` are int64 ``[m]``. ``number`` counts the minibatches of the run from 1. If several
    processes share the minibatch, each holds its part of it. The part is computed in ``parts`` shares, and this is
    share ``part``: see :mod:`gan_cli.training.shares`.
    """

    real: Tensor
    labels: Tensor | None
    number: int
    part: int = 0
    parts: int = 1

    @property
    def given(self) -> tuple[Tensor, ...]:
        """The extra arguments of both networks: the labels, or nothing."""
        return () if self.labels is None else (self.labels,)

    @property
    def last(self) -> bool:
        """Whether no further share of this process's part follows."""
        return self.part == self.parts - 1

    def share(self, part: int) -> "Batch":
        """Share ``part``: every ``parts``-th example."""
        labels = None if self.labels is None else self.labels[part :: self.parts]
        return self._replace(real=self.real[part :: self.parts], labels=labels, part=part)


class Batches:
    """The endless sequence of minibatches of ``batch_size`` examples. Each epoch draws every example once.

    A checkpoint saves only ``position``, the number of examples drawn so far. If the memory of ``device`` can hold the
    examples, all of them lie there (``resident``). Otherwise each minibatch is copied to it. If several processes share
    the run, each gets its part of the minibatch, which it computes in ``accumulate`` shares. ValueError if ``labelled``
    and the data have no labels.
    """

    def __init__(
        self, dataset: Dataset | Points | Domains, batch_size: int, seed: int, device: torch.device,
        labelled: bool = False, accumulate: int = 1, dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        if labelled and dataset.labels is None:
            raise ValueError("conditional training needs a dataset with labels")
        self.batch_size, self.accumulate = batch_size, accumulate
        self.resident = devices.holds(device, dataset.examples)
        self._dataset, self._device, self._dtype = dataset, device, dtype
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

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Batch:
        indices = processes.share(self._sampler.draw(self.batch_size))
        real = self._dataset.network_input(devices.gather(self._examples, indices, self._device)).to(self._dtype)
        labels = None if self._labels is None else devices.gather(self._labels, indices, self._device)
        return Batch(real, labels, self._sampler.position // self.batch_size, parts=self.accumulate)
