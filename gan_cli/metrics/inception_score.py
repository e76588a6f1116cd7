"""The inception score: how surely and how evenly a classifier names the samples. Salimans et al. 2016."""

import torch
from torch import Tensor

from gan_cli.metrics.mean_std import mean_std


def inception_score(probabilities: Tensor, splits: int = 10) -> tuple[float, float]:
    """``exp(E_x KL(p(y|x) || p(y)))`` of class probabilities ``[N, C]``: mean and standard deviation over ``splits``.

    Salimans et al. 2016 (arXiv 1606.03498), section 4. From 1, where every sample gets the same answer, to C, where
    answers are sure and classes equally frequent. The real data are not looked at; figures of different classifiers, N
    or splits do not compare.
    """
    scores = []
    for part in probabilities.double().tensor_split(splits):
        marginal = part.mean(dim=0)
        divergence = (torch.xlogy(part, part) - torch.xlogy(part, marginal)).sum(dim=1)
        scores.append(divergence.mean().exp().item())
    mean, std = mean_std(scores)
    return mean, std or 0.0
