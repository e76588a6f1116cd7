"""Mean and standard deviation. This module imports no torch: a report should appear at once."""

import math
from collections.abc import Iterable


def mean_std(values: Iterable[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (divisor n - 1); the standard deviation of a single value is None."""
    data = list(values)
    mean = math.fsum(data) / len(data)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in data) / (len(data) - 1)) if len(data) > 1 else None
