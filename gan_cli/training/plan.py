"""The plan of a run: its length and its intervals. The outcome of a run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gan_cli.training.schedule import Schedule

Decay = float | Sequence[float] | None  # images: one number, or (start, end)


class Outcome(NamedTuple):
    """How a run ended: the last step, the seconds of training, the last tick's record, the signal that stopped it."""

    step: int
    seconds: float
    metrics: Mapping[str, float]
    signum: int | None


@dataclass(frozen=True)
class Plan:
    """The length and the intervals of a run. Only ``lr_decay_after`` and ``schedule`` change a result."""

    steps: int  # generator updates in total
    max_seconds: float | None = None  # seconds of training after which the run ends
    lr_decay_after: Decay = None  # images after which the learning rates fall; see lr_factor
    schedule: Schedule = field(default_factory=Schedule)  # values that move along a cosine
    log_every: int = 100  # steps between ticks
    sample_every: int = 500  # steps between sample grids
    checkpoint_every: int = 1000  # steps between checkpoints
    eval_every: int | None = None  # steps between evaluations
    keep: int | None = None  # how many of the newest checkpoints are kept; None: all
    on_nonfinite: str = "rollback"  # or "stop": the response to a non-finite step
    on_write_error: str = "retry"  # or "stop": the response to a failed write
    on_collapse: str = "go_on"  # or "stop": the response to a mode collapse that the doctor finds


class Show(Protocol):
    """The display of a run's progress."""

    def step(self) -> None: ...
    def tick(self, row: Mapping[str, float]) -> None: ...
    def say(self, line: str) -> None: ...
    def rewind(self, step: int) -> None: ...
    def close(self) -> None: ...


def lr_factor(images: float, decay_after: Decay) -> float:
    """The factor of the learning rates after so many ``images``.

    It is 1 up to ``decay_after`` images, then sqrt(decay_after / images), the inverse square root of Karras et al. 2024
    (arXiv 2312.02696). With a pair (start, end) it is 1 up to start, and falls linearly to 0 at end, as in pix2pix and
    CycleGAN. Neither depends on the run's length: ``steps`` can be raised later, and a run may stop early.
    """
    if decay_after is None:
        return 1.0
    if isinstance(decay_after, Sequence):
        start, end = decay_after
        return min(1.0, max(0.0, (end - images) / (end - start)))
    return min(1.0, math.sqrt(decay_after / max(images, 1.0)))
