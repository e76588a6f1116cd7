"""Values that change over a run, along a cosine of a length in images: the schedules of R3GAN (arXiv 2501.05441)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Schedule:
    """For each value the first and the last one, or None: then the value stays as it is.

    ``images`` is the length of the way from the first to the last, and does not depend on the run's length. ``lr``,
    ``penalty`` and ``half_life`` are factors of the learning rates, of the penalty and of the averaged generator's
    half-life. ``beta2`` is the second of the optimizers' ``betas``. ``augment_p`` is the probability of ADA's
    augmentations.
    """

    images: float | None = None
    lr: Sequence[float] | None = None
    penalty: Sequence[float] | None = None
    half_life: Sequence[float] | None = None
    beta2: Sequence[float] | None = None
    augment_p: Sequence[float] | None = None

    def moving(self) -> set[str]:
        """The names of the values that move."""
        names = {field.name for field in fields(self)} - {"images"}
        return {name for name in names if self.images is not None and getattr(self, name) is not None}

    def at(self, name: str, images: float) -> float:
        """The value ``name`` after so many ``images``: ``last + (first - last) (1 + cos(pi t)) / 2``, t from 0 to 1."""
        first, last = getattr(self, name)
        share = min(1.0, images / (self.images or math.inf))
        return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
