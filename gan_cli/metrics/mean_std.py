"""Mean and spread."""

from collections.abc import Iterable

import torch


def mean_std(values: Iterable[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); None in place of the latter for a single value."""
    data = torch.tensor(list(values), dtype=torch.float64)
    return data.mean().item(), data.std().item() if len(data) > 1 else None
