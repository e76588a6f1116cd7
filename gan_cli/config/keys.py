"""Keys of a command: their types, defaults, ranges and meanings. Here are those that hold keys of their own."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


def key(default: Any, help: str, **limits: Any) -> Any:
    """A top-level key: its default, ``--help`` line, limits ``at_least``, ``at_most``, ``above``, ``choices``."""
    factory = {"default_factory": default} if callable(default) else {"default": default}
    return field(**factory, metadata={"help": help, **limits})


def group(help: str, default: Any = MISSING) -> Any:
    """A key that a config group fills. Without a ``default``, the group needs a choice."""
    value = {"default": MISSING} if default is MISSING else {"default_factory": lambda: default}
    return field(**value, metadata={"help": help, "group": True})


@dataclass
class Ema:
    """The averaged generator (EMA). Samples are drawn from it."""

    half_life: float = key(20_000.0, "half-life in images; 0 for no averaging", at_least=0)
    ramp: float | None = key(0.04, "no half-life longer than this part of the images so far; null for none", above=0)


@dataclass
class Schedule:
    """Values that move from the first of two to the second, by half a cosine. null: it stays."""

    images: float | None = key(None, "how many images the way takes; null: no schedule", above=0)
    lr: Any = key(None, "factors of the learning rates, [1,0.25]")
    penalty: Any = key(None, "factors of the penalty, [1,0.1]")
    half_life: Any = key(None, "factors of ema.half_life, [0,1]")
    beta2: Any = key(None, "Adam's second beta, [0.9,0.99]")
    augment_p: Any = key(None, "p of augment=ada, [0,0.5]; then it does not adapt")


@dataclass
class Cluster:
    """Where the runs of a sweep go. The choices of the group set ``jobs``."""

    jobs: int | None = key(None, "runs at a time", at_least=1, at_most=100_000)


@dataclass
class Extractor:
    """The network whose features ``gan-eval`` compares."""

    weights: str | None = key(None, "a file of Inception's weights; null: downloaded")
