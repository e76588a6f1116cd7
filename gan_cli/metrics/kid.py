"""The kernel distance between two sets of features: Bińkowski et al. 2018 (arXiv 1801.01401)."""

import torch
from torch import Tensor

from gan_cli.metrics.mean_std import mean_std


def cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    """``(x . y / D + 1)^3`` of features ``[N, D]`` and ``[M, D]``: ``[N, M]`` (section 4 of the paper)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def squared_mmd(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy under :func:`cubic_kernel`.

    Gretton et al. 2012 (JMLR 13), equation 3. Each set needs at least two features. For equal distributions the
    estimate is 0 on average, so it is sometimes negative.
    """
    n, m = len(x), len(y)
    within_x, within_y, between = cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y)
    first = (within_x.sum() - within_x.trace()) / (n * (n - 1))
    second = (within_y.sum() - within_y.trace()) / (m * (m - 1))
    return (first + second - 2 * between.mean()).item()


def kernel_distance(
    real: Tensor, fake: Tensor, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Mean and standard deviation of :func:`squared_mmd` over random subsets of features ``[N, D]`` and ``[M, D]``.

    The estimate is unbiased at any number of samples, unlike the Fréchet distance. ``seed`` decides the subsets. Each
    subset is drawn without replacement and has at most min(N, M) features. All computations are in float64.
    """
    rng = torch.Generator().manual_seed(seed)
    size = min(subset_size, len(real), len(fake))
    estimates = []
    for _ in range(subsets):
        x, y = (f[torch.randperm(len(f), generator=rng)[:size].to(f.device)].double() for f in (real, fake))
        estimates.append(squared_mmd(x, y))
    mean, std = mean_std(estimates)
    return mean, std or 0.0
