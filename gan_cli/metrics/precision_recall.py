"""Separate numbers for fidelity (precision, density) and diversity (recall, coverage), by nearest-neighbour balls."""

import torch
from torch import Tensor

from gan_cli.metrics.distances import squared_distances, without_self


def squared_radii(points: Tensor, k: int) -> Tensor:
    """The squared distance of each point ``[N, D]`` to its ``k``-th nearest other point, ``[N]``; k < N."""
    radii: list[Tensor] = []
    start = 0
    for block in squared_distances(points, points):
        radii.append(without_self(block, start).topk(k, largest=False).values[:, -1])
        start += len(block)
    return torch.cat(radii)


def _inside(points: Tensor, centres: Tensor, k: int) -> float:
    """The share of points inside at least one centre's ball, which reaches to the centre's ``k``-th neighbour."""
    radii = squared_radii(centres, k)
    return (
        torch.cat([(block <= radii).any(dim=1) for block in squared_distances(points, centres)]).double().mean().item()
    )


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall of features ``[N, D]`` and ``[M, D]``, both in [0, 1]; N, M > k.

    Kynkäänniemi et al. 2019 (arXiv 1904.06991), equations 1 and 2. The ball of a feature reaches to its k-th neighbour
    in its own set. Precision is the share of fake features inside the ball of at least one real feature. Recall is the
    share of real features inside the ball of at least one fake feature. Numbers are comparable only at equal N, M, k.
    """
    return _inside(fake, real, k), _inside(real, fake, k)


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, float]:
    """Density (from 0 up) and coverage (in [0, 1]) of features ``[N, D]`` and ``[M, D]``; N > k.

    Naeem et al. 2020 (arXiv 2002.09797), section 3. Density is the average number of real balls around a fake feature,
    divided by k. It is 1 on average for equal distributions. One outlier can inflate precision, but not density.
    Coverage is the share of real balls that contain a fake feature. It is 1 - 2^-k for equal distributions and large
    N = M.
    """
    radii = squared_radii(real, k)
    held = 0.0
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for block in squared_distances(fake, real):
        inside = block <= radii
        held += inside.sum().item()
        covered |= inside.any(dim=0)
    return held / (k * len(fake)), covered.double().mean().item()
