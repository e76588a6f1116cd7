"""Memorisation: whether samples are nearer to the training images than held-out data are."""

import hashlib

import torch
from torch import Tensor

from gan_cli.metrics.distances import nearest


def copying(train: Tensor, held_out: Tensor, fake: Tensor) -> float:
    """The probability that a sample is nearer to the training set than a held-out point is; ties count half.

    Each input is ``[N, D]``, float or bytes. This is the statistic U of Meehan et al. 2020 (arXiv 2004.05675) over the
    number of pairs. It is 1/2 if samples are as new as held-out data, 1 for copies of training images, and below 1/2
    for samples far from all data.
    """
    return nearer(nearest(held_out, train)[0], nearest(fake, train)[0])


def copying_of(real: Tensor, some: Tensor, fake: Tensor) -> float:
    """:func:`copying` without held-out data: a real point's distance to the nearest other real point takes their place.

    ``some`` ``[n]`` are the indices of the real points that are asked. It is 1/2 for fresh draws from the data.
    """
    return nearer(nearest(real[some], real, own=some)[0], nearest(fake, real)[0])


def identical(real: Tensor, fake: Tensor) -> int:
    """How many rows of ``fake`` are rows of ``real``, byte for byte; uint8 ``[N, D]`` and ``[M, D]``."""
    known = {_digest(row) for row in real}
    return sum(_digest(row) in known for row in fake)


def _digest(row: Tensor) -> bytes:
    return hashlib.blake2b(row.contiguous().numpy().data, digest_size=16).digest()


def nearer(of_held_out: Tensor, of_fake: Tensor) -> float:
    """The share of pairs in which a distance ``of_fake`` is below one ``of_held_out``; ties count half."""
    of_held_out = of_held_out.sort().values
    further = len(of_held_out) - torch.searchsorted(of_held_out, of_fake, right=True).double()
    not_nearer = len(of_held_out) - torch.searchsorted(of_held_out, of_fake).double()
    return ((further + not_nearer) / 2).mean().item() / len(of_held_out)
