"""Named terms: the parts of a side's objective, and their means over the steps of a tick."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gan_cli import processes

RESERVED = frozenset({"step", "images", "seconds", "images_per_second", "time"})  # the other keys of a record


class Term(NamedTuple):
    """One named quantity of a step: a value for each sample, ``[N]``.

    ``weight`` multiplies the mean of the values in the objective. A term of weight None is only recorded.
    """

    values: Tensor
    weight: float | None = 1.0


Terms = Mapping[str, Term]


def objective(terms: Terms) -> Tensor:
    """The objective of a side, a scalar: the sum of the terms' means times their weights, in the order of ``terms``."""
    total = None
    for values, weight in terms.values():
        if weight is not None:
            part = values.mean() if weight == 1 else weight * values.mean()
            total = part if total is None else total + part
    if total is None:
        raise ValueError("a side of a game needs at least one term with a weight")
    return total


class Totals:
    """Sum and count of each term since the last tick, over all processes, on the device. No step waits for them.

    Sums are float64. On a device without float64 (MPS), sums are float32 with Kahan's compensation. ``saved`` is the
    result of :meth:`state`: a run that is resumed between two ticks averages over the same steps.
    """

    def __init__(self, device: torch.device, saved: Mapping[str, Tensor] | None = None) -> None:
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._sums: dict[str, Tensor] = {}
        self._lost: dict[str, Tensor] = {}  # the rounding error of each float32 sum
        self._counts: dict[str, int] = {}
        for name, pair in (saved or {}).items():
            if _is_total(name, pair):  # the file may come from a stranger
                self._sums[name] = pair[0].to(device, self._dtype)
                self._counts[name] = int(pair[1])

    def add(self, terms: Terms) -> dict[str, Tensor]:
        """Add one step's terms. Return the sum of each term since the last tick, a scalar on the device.

        ValueError for a name that is not an identifier, or that is RESERVED.
        """
        sums = [term.values.detach().sum(dtype=self._dtype) for term in terms.values()]
        if processes.count() > 1:
            sums = [*processes.total(torch.stack(sums))]
        for name, term in terms.items():
            if name not in self._sums and (not name.isidentifier() or name in RESERVED):
                raise ValueError(f"a term can't be named {name!r}: use letters, digits and _, and another name")
            self._counts[name] = self._counts.get(name, 0) + term.values.numel() * processes.count()
        values = dict(zip(terms, sums, strict=True))
        later = [name for name in values if name in self._sums]
        if self._dtype == torch.float32:
            values |= {name: self._compensated(name, values[name]) for name in later}
        elif later:
            torch._foreach_add_([self._sums[name] for name in later], [values.pop(name) for name in later])
        self._sums |= values
        return {name: self._sums[name] for name in terms}

    def _compensated(self, name: str, value: Tensor) -> Tensor:
        """The sum of the term ``name`` and ``value``, by Kahan's algorithm."""
        corrected = value - self._lost.get(name, 0.0)
        total = self._sums[name] + corrected
        self._lost[name] = (total - self._sums[name]) - corrected
        return total

    def state(self) -> dict[str, Tensor]:
        """Sum and count of each term so far, float64 ``[2]`` on the CPU, by name."""
        return {
            name: torch.tensor([float(total), self._counts[name]], dtype=torch.float64)
            for name, total in self._sums.items()
        }

    def means(self) -> dict[str, float]:
        """The mean of each term over all samples since the last tick. Non-finite means are left out."""
        names = list(self._sums)
        totals = torch.stack([*self._sums.values()]).tolist() if names else []  # the only wait for the device in a tick
        found = {name: total / self._counts[name] for name, total in zip(names, totals, strict=True)}
        return {name: mean for name, mean in found.items() if math.isfinite(mean)}


def _is_total(name: str, pair: Tensor) -> bool:
    """Whether ``pair`` is a valid sum and count, small enough to compute a mean."""
    return (
        name.isidentifier()
        and name not in RESERVED
        and pair.shape == (2,)
        and pair.dtype == torch.float64
        and bool((pair.abs() < 1e30).all())
        and 1 <= float(pair[1]) < 2**53
    )
