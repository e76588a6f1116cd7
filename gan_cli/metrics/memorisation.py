"""Memorisation: whether samples are nearer to the training images than held-out data are."""

import torch
from torch import Tensor

from gan_cli.metrics.distances import nearest


def copying(train: Tensor, held_out: Tensor, fake: Tensor) -> float:
    """The probability that a sample is nearer to the training set than a held-out point is; ties count half.

    Each input is ``[N, D]``, float or bytes. This is the statistic U of Meehan et al. 2020 (arXiv 2004.05675) over the
    number of pairs. It is 1/2 if samples are as new as held-out data, 1 for copies of training images, and below 1/2
    for samples far from all data.
    """
    of_held_out = nearest(held_out, train)[0].sort().values
    of_fake = nearest(fake, train)[0]
    further = len(of_held_out) - torch.searchsorted(of_held_out, of_fake, right=True).double()
    not_nearer = len(of_held_out) - torch.searchsorted(of_held_out, of_fake).double()
    return ((further + not_nearer) / 2).mean().item() / len(of_held_out)
