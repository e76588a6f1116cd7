"""The inception score: how surely and how evenly a classifier names the samples. Salimans et al. 2016."""

import torch
from torch import Tensor

from gan_cli.metrics.mean_std import mean_std


def inception_score(probabilities: Tensor, splits: int = 10) -> tuple[float, float]:
    """``exp(E_x KL(p(y|x) || p(y)))`` of class probabilities ``[N, C]``: mean and standard deviation over ``splits``.

    Salimans et al. 2016 (arXiv 1606.03498), section 4. The score is 1 if every sample gets the same prediction. It is C
    if all predictions are certain and all classes equally frequent. The score ignores the real data. Scores with
    different classifiers, N or splits are not comparable.
    """
    scores = []
    for part in probabilities.double().tensor_split(splits):
        marginal = part.mean(dim=0)
        divergence = (torch.xlogy(part, part) - torch.xlogy(part, marginal)).sum(dim=1)
        scores.append(divergence.mean().exp().item())
    mean, std = mean_std(scores)
    return mean, std or 0.0
