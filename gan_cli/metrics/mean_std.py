"""Mean and standard deviation."""

from collections.abc import Iterable

import torch


def mean_std(values: Iterable[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (divisor n - 1); the standard deviation of a single value is None."""
    data = torch.tensor(list(values), dtype=torch.float64)
    return data.mean().item(), data.std().item() if len(data) > 1 else None
