"""The Fréchet distance between two sets of features: Heusel et al. 2017 (arXiv 1706.08500), equation 6."""

import math

import torch
from torch import Tensor


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """``|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))`` of two sets of features ``[N, F]`` and ``[M, F]``, at least 0.

    The means m and covariances C (divisor n - 1) are float64. A set of one sample has no covariance: the distance is
    nan. The distance is biased upwards at small N or M. Compare
    only distances with the same numbers of samples and the same feature extractor.
    """
    if min(len(real), len(fake)) < 2:
        return math.nan
    real, fake = real.double(), fake.double()
    mean_term = (real.mean(dim=0) - fake.mean(dim=0)).square().sum()
    c_real, c_fake = torch.cov(real.T), torch.cov(fake.T)
    # C C' is similar to the symmetric matrix R C' R with R = C^(1/2), so both have the same eigenvalues. The trace of
    # the root of C C' is the sum of the roots of these eigenvalues; no root of a non-symmetric matrix is needed.
    values, vectors = torch.linalg.eigh(c_real)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ c_fake @ root).clamp(min=0).sqrt().sum()
    return max(0.0, (mean_term + c_real.trace() + c_fake.trace() - 2 * cross).item())
