"""Distances between all pairs of two sets of points, in blocks, so that memory stays bounded."""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 2**24  # distances held at a time


def squared_distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """``|a_i - b_j|^2`` of points ``[N, D]`` and ``[M, D]``, at least 0, as blocks of rows ``[<= N, M]`` in order.

    By one matrix product a block, in the points' precision; about the mean of b, since little is then lost to rounding.
    """
    centre = b.mean(dim=0)
    b = b - centre
    norms = b.square().sum(dim=1)
    for block in a.split(max(1, BLOCK // len(b))):
        rows = block - centre
        yield torch.addmm(norms, rows, b.T, alpha=-2).add_(rows.square().sum(dim=1, keepdim=True)).clamp_(min=0)


def nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """How far each of the points a ``[N, D]`` is from its nearest of b ``[M, D]``, and which that is: both ``[N]``.

    Of equally near ones, the first. Bytes are measured as float32; b is converted in parts.
    """
    queries = a if a.is_floating_point() else a.float()
    best = queries.new_full((len(a),), torch.inf)
    which = torch.zeros(len(a), dtype=torch.int64, device=a.device)
    for start in range(0, len(b), 8192):
        part = b[start : start + 8192].to(queries.dtype)
        found = [block.min(dim=1) for block in squared_distances(queries, part)]
        values = torch.cat([f.values for f in found])
        closer = values < best
        which[closer] = torch.cat([f.indices for f in found])[closer] + start
        best[closer] = values[closer]
    return best.sqrt(), which


def without_self(block: Tensor, start: int) -> Tensor:
    """Rows ``start`` onwards of a set's distances to itself, with each point infinitely far from itself; in place."""
    rows = torch.arange(len(block), device=block.device)
    block[rows, start + rows] = torch.inf
    return block
