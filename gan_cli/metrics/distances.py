"""Distances between all pairs of points from two sets, in blocks, so that memory stays bounded."""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 2**24  # distances held at a time


def squared_distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """``|a_i - b_j|^2`` of points ``[N, D]`` and ``[M, D]``, at least 0, as blocks of rows ``[<= N, M]`` in order.

    Each block is one matrix product in the points' precision. Both sets are first shifted by the mean of b, which keeps
    rounding errors small.
    """
    centre = b.mean(dim=0)
    b = b - centre
    norms = b.square().sum(dim=1)
    for block in a.split(max(1, BLOCK // len(b))):
        rows = block - centre
        yield torch.addmm(norms, rows, b.T, alpha=-2).add_(rows.square().sum(dim=1, keepdim=True)).clamp_(min=0)


def nearest(a: Tensor, b: Tensor, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """For each point of a ``[N, D]``: the distance to the nearest point of b ``[M, D]``, and its index; both ``[N]``.

    Of several equally near points the first counts. Bytes are converted to float32, b in parts. If the points of a are
    themselves points of b, ``own`` ``[N]`` are their indices there, which then don't count.
    """
    queries = a if a.is_floating_point() else a.float()
    best = queries.new_full((len(a),), torch.inf)
    which = torch.zeros(len(a), dtype=torch.int64, device=a.device)
    for start in range(0, len(b), 8192):
        part = b[start : start + 8192].to(queries.dtype)
        found = []
        row = 0
        for block in squared_distances(queries, part):
            if own is not None:
                column = own[row : row + len(block)] - start
                inside = ((column >= 0) & (column < len(part))).nonzero()[:, 0]
                block[inside, column[inside]] = torch.inf
            row += len(block)
            found.append(block.min(dim=1))
        values = torch.cat([f.values for f in found])
        closer = values < best
        which[closer] = torch.cat([f.indices for f in found])[closer] + start
        best[closer] = values[closer]
    return best.sqrt(), which


def without_self(block: Tensor, start: int) -> Tensor:
    """Set each point's distance to itself to infinity, in place. ``block`` has rows ``start`` onwards of a set's
    distances to itself.
    """
    rows = torch.arange(len(block), device=block.device)
    block[rows, start + rows] = torch.inf
    return block
