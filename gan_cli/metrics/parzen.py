"""The Parzen-window log-likelihood of Goodfellow et al. 2014, Table 1.

The metric says little about sample quality: k-means centres of the training data score higher than the data themselves
(Theis et al. 2016, arXiv 1511.01844, section 3.2). It is here for comparison with the numbers in the paper.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gan_cli.metrics.distances import squared_distances

WARNING = "Parzen figures mislead: k-means centres beat real data by them (Theis et al. 2016, arXiv 1511.01844)"
SIGMAS = torch.logspace(-1, 0, 10, dtype=torch.float64)  # the authors' grid (goodfeli/adversarial, parzen_ll.py)


class Parzen(NamedTuple):
    """The mean log-likelihood of the test points in nats, its standard error over these points, and sigma."""

    mean: float
    standard_error: float
    sigma: float


def log_likelihoods(points: Tensor, centres: Tensor, sigmas: Tensor) -> Tensor:
    """``log(1/M sum_i N(x; c_i, sigma^2 I))`` in nats: points ``[N, D]``, centres ``[M, D]``, S sigmas -> ``[N, S]``.

    Distances are in the points' precision. The rest is in float64, by log-sum-exp.
    """
    m, d = centres.shape
    rows = []
    for block in squared_distances(points, centres):
        halved = block.double().div_(-2)
        rows.append(torch.stack([torch.logsumexp(halved / sigma**2, dim=1) for sigma in sigmas.tolist()], dim=1))
    return torch.cat(rows) - math.log(m) - d / 2 * torch.log(2 * math.pi * sigmas.to(points.device) ** 2)


def parzen_window(samples: Tensor, validation: Tensor, test: Tensor, sigmas: Tensor = SIGMAS) -> Parzen:
    """The log-likelihood of ``test`` under equal Gaussians around all samples; pixels in [0, 1], ``[N, D]``.

    The method is that of Goodfellow et al. 2014, section 5: sigma is the value in ``sigmas`` with the highest mean
    log-likelihood on ``validation``.
    """
    sigma = sigmas[log_likelihoods(validation, samples, sigmas).mean(dim=0).argmax()]
    found = log_likelihoods(test, samples, sigma[None])[:, 0]
    return Parzen(found.mean().item(), found.std(correction=0).item() / math.sqrt(len(test)), sigma.item())
