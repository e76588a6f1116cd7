"""Metrics of the user's own: functions of samples and of real examples, which return numbers."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gan_cli.errors import UserError
from gan_cli.metrics.catalogue import own_terms
from gan_cli.metrics.measurement import Measurement

# (samples, real examples) -> a number, or numbers by name. Images are uint8 [N, C, H, W], points float [N, d].
OwnMetric = Callable[[Tensor, Tensor], Any]


def own_numbers(metrics: Mapping[str, OwnMetric], samples: Tensor, real: Tensor) -> dict[str, float]:
    """What ``metrics`` say of ``samples`` beside ``real`` examples, by name. A single number has its metric's name.

    Random numbers that a metric draws from torch are the same each time, and take nothing from the run's.
    UserError for a value that is no number, or that has the name of a number of this package.
    """
    found: dict[str, float] = {}
    for name, metric in metrics.items():
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            value = metric(samples, real)
        for each, number in (value if isinstance(value, Mapping) else {name: value}).items():
            if not own_terms([each]):
                raise UserError(f"own_metrics.{name}: gan-cli has a number {each!r} of its own; choose another name")
            try:
                found[each] = float(number)
            except (TypeError, ValueError):
                kind = type(number).__name__
                raise UserError(f"own_metrics.{name} gives a {kind} as {each}; it should be a number") from None
    return found


def measured_own(
    metrics: Mapping[str, OwnMetric], fake: Tensor, real: Tensor, fresh: Tensor | None = None, **about: Any
) -> dict[str, Measurement]:
    """The numbers of ``metrics`` for the samples ``fake``, and for ``fresh``, held-out examples in their place."""
    of_fresh = {} if fresh is None else own_numbers(metrics, fresh, real)
    return {
        name: Measurement(value, len(fake), len(real), real_data=of_fresh.get(name), **about)
        for name, value in own_numbers(metrics, fake, real).items()
    }
