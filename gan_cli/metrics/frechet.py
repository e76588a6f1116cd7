"""The Fréchet distance between two sets of features: Heusel et al. 2017 (arXiv 1706.08500), equation 6."""

import torch
from torch import Tensor


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """``|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))`` of two sets of features ``[N, F]`` and ``[M, F]``, at least 0.

    Means m and covariances C (n - 1) in float64. At small N or M it is biased upwards: never compare across different
    numbers of samples, nor across feature extractors.
    """
    real, fake = real.double(), fake.double()
    mean_term = (real.mean(dim=0) - fake.mean(dim=0)).square().sum()
    c_real, c_fake = torch.cov(real.T), torch.cov(fake.T)
    # C C' is similar to the symmetric R C' R with R = C^(1/2): the trace of its root is the sum of the roots of the
    # latter's eigenvalues, with no root of a non-symmetric matrix to take.
    values, vectors = torch.linalg.eigh(c_real)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ c_fake @ root).clamp(min=0).sqrt().sum()
    return max(0.0, (mean_term + c_real.trace() + c_fake.trace() - 2 * cross).item())
