"""Fidelity and diversity apart: precision and recall, density and coverage, by balls round the nearest neighbours."""

import torch
from torch import Tensor

from gan_cli.metrics.distances import squared_distances, without_self


def squared_radii(points: Tensor, k: int) -> Tensor:
    """The squared distance of each of the points ``[N, D]`` to its ``k``-th nearest other one, ``[N]``. k < N."""
    radii: list[Tensor] = []
    start = 0
    for block in squared_distances(points, points):
        radii.append(without_self(block, start).topk(k, largest=False).values[:, -1])
        start += len(block)
    return torch.cat(radii)


def _inside(points: Tensor, centres: Tensor, k: int) -> float:
    """The share of the points that lie within the ``k``-neighbour ball of at least one centre."""
    radii = squared_radii(centres, k)
    return (
        torch.cat([(block <= radii).any(dim=1) for block in squared_distances(points, centres)]).double().mean().item()
    )


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall of features ``[N, D]`` and ``[M, D]``, both in [0, 1]; N, M > k.

    Kynkäänniemi et al. 2019 (arXiv 1904.06991), equations 1 and 2. Precision: the share of the fake that lie in the
    ball to the k-th neighbour of some real feature, where the data are; recall: the other way round, the share of the
    data that the generator reaches. Only figures with the same N, M and k compare.
    """
    return _inside(fake, real, k), _inside(real, fake, k)


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, float]:
    """Density (from 0 up) and coverage (in [0, 1]) of features ``[N, D]`` and ``[M, D]``; N > k.

    Naeem et al. 2020 (arXiv 2002.09797), section 3. Density: the average number of real balls that hold a fake feature,
    over k, which one outlier can't inflate as it can precision; 1 on average for equal distributions. Coverage: the
    share of real balls that hold a fake feature; 1 - 2^-k for equal distributions and large N = M.
    """
    radii = squared_radii(real, k)
    held = 0.0
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for block in squared_distances(fake, real):
        inside = block <= radii
        held += inside.sum().item()
        covered |= inside.any(dim=0)
    return held / (k * len(fake)), covered.double().mean().item()
