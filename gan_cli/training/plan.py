"""How long a run lasts, what happens when, and how it ended."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Outcome(NamedTuple):
    """How a run ended: its last step, the seconds it trained, its last tick's record, the signal that stopped it."""

    step: int
    seconds: float
    metrics: Mapping[str, float]
    signum: int | None


@dataclass(frozen=True)
class Plan:
    """How long a run lasts, and what happens when. None of it changes a result but ``lr_decay_after``."""

    steps: int  # generator updates, all in all
    max_seconds: float | None = None  # of training, after which the run ends
    lr_decay_after: float | None = None  # images after which the learning rates fall: see lr_factor
    log_every: int = 100  # steps between ticks
    sample_every: int = 500  # steps between sample grids
    checkpoint_every: int = 1000  # steps between checkpoints
    eval_every: int | None = None  # steps between evaluations
    keep: int | None = None  # how many of the newest checkpoints stay; None: all
    on_nonfinite: str = "rollback"  # or "stop": what to do about a step that is not finite
    on_write_error: str = "retry"  # or "stop": what to do about a disk that won't take a file


class Show(Protocol):
    """What shows a run to a person while it goes on."""

    def step(self) -> None: ...
    def tick(self, row: Mapping[str, float]) -> None: ...
    def say(self, line: str) -> None: ...
    def rewind(self, step: int) -> None: ...
    def close(self) -> None: ...


def lr_factor(images: float, decay_after: float | None) -> float:
    """What the learning rates are multiplied by: 1, and from ``decay_after`` images on sqrt(decay_after / images).

    The inverse square root (as in Karras et al. 2024, arXiv 2312.02696) knows no end of the run, so that ``steps`` can
    be raised later on.
    """
    return 1.0 if decay_after is None else min(1.0, math.sqrt(decay_after / max(images, 1.0)))
