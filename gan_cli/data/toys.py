"""Points of one or two dimensions from known distributions, so that a generator's result can be seen and counted.

The points are the same in every run, for every ``seed``.
"""

import math
from collections.abc import Sequence

import torch

from gan_cli.data import Mixture, Points
from gan_cli.errors import UserError

MOST_POINTS = 10_000_000


def gaussian1d(mixture: Sequence[Sequence[float]] = ((1.0, 0.0, 1.0),), n: int = 100_000) -> Points:
    """``n`` numbers from a mixture of Gaussians, each ``(weight, mean, std)``: the data of Figure 1.

    The weights are divided by their sum. UserError unless every row has three numbers, with weight and std above 0.
    """
    parts = [tuple(part) if isinstance(part, Sequence) else () for part in mixture]
    if not parts or not all(len(part) == 3 and _are_numbers(part) and part[0] > 0 and part[2] > 0 for part in parts):
        raise UserError(
            f"dataset.mixture={mixture} should be rows of weight, mean, std, with weight and std above 0: "
            "'dataset.mixture=[[0.5,-1,0.3],[0.5,1,0.3]]'"
        )
    weights, means, stds = torch.tensor(parts, dtype=torch.float32).T
    return _drawn(Mixture(weights / weights.sum(), means[:, None], stds), n)


def ring8(n: int = 100_000) -> Points:
    """Eight Gaussians of std 0.01, evenly spaced on the unit circle: the code of Lin et al. 2018 (arXiv 1712.04086)."""
    angle = torch.arange(8) * (2 * math.pi / 8)
    return _drawn(_even(torch.stack([angle.cos(), angle.sin()], dim=1), 0.01), n)


def grid25(n: int = 100_000) -> Points:
    """25 Gaussians of std 0.05 on a grid of spacing 2 around 0: the code of Lin et al. 2018 (arXiv 1712.04086)."""
    side = torch.arange(-4.0, 5.0, 2.0)
    return _drawn(_even(torch.cartesian_prod(side, side), 0.05), n)


def spiral(n: int = 100_000, turns: float = 2.0, std: float = 0.02) -> Points:
    """Points along an Archimedean spiral of radius 1 with ``turns`` turns, plus Gaussian noise of ``std``."""
    if not (math.isfinite(turns) and turns > 0 and math.isfinite(std) and std >= 0):
        raise UserError(f"dataset.turns={turns} should be above 0, dataset.std={std} from 0 up")
    rng = _rng(n)
    radius = torch.rand(n, generator=rng).sqrt()  # so that the points lie evenly along the spiral
    angle = radius * turns * 2 * math.pi
    curve = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return Points(curve + std * torch.randn(n, 2, generator=rng))


def _are_numbers(part: Sequence[object]) -> bool:
    return all(type(value) in (int, float) and math.isfinite(value) for value in part)  # type: ignore[arg-type]


def _even(means: torch.Tensor, std: float) -> Mixture:
    """A mixture of equal weights and equal stds."""
    return Mixture(torch.full((len(means),), 1 / len(means)), means, torch.full((len(means),), std))


def _drawn(mixture: Mixture, n: int) -> Points:
    return Points(mixture.draw(n, _rng(n)), mixture)


def _rng(n: int) -> torch.Generator:
    """A random number generator for ``n`` points. UserError if ``n`` is less than 1 or too large."""
    if not 1 <= n <= MOST_POINTS:
        raise UserError(f"dataset.n={n} should be at least 1 and at most {MOST_POINTS}")
    return torch.Generator().manual_seed(0)
