"""Signals of a run: numbers that say how the game goes, made at ticks. No step of the training depends on them."""

import math
from collections.abc import Callable, Mapping

import torch
from torch.optim import Optimizer

from gan_cli import processes
from gan_cli.training.state import State

OBSERVE_EVERY = 100  # least number of steps between two looks at the samples

Observe = Callable[[], Mapping[str, float]]


def signals(state: State, observe: Observe | None, log_every: int, last: bool) -> dict[str, float]:
    """The signals of the step that is over, by name; non-finite ones are left out. All processes call this.

    They are the gradient norm of each side, those of the game, and those that ``observe`` makes of the samples: at
    ticks that are :data:`OBSERVE_EVERY` steps or more apart, and at the ``last``.
    """
    found = {f"grad_norm_{side[0]}": gradient_norm(optimizer) for side, optimizer in state.optimizers.items()}
    found |= {name: float(processes.total(value) / processes.count()) for name, value in state.game.signals().items()}
    crossed = state.step // OBSERVE_EVERY > (state.step - log_every) // OBSERVE_EVERY
    if observe and processes.leads() and (last or crossed):
        found |= observe()
    return {name: found[name] for name in sorted(found) if math.isfinite(found[name])}


@torch.no_grad()
def gradient_norm(optimizer: Optimizer) -> float:
    """The Euclidean norm of the gradient that the last step of ``optimizer`` descended; NaN if it has none."""
    gradients = [
        weight.grad for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None
    ]
    if not gradients:
        return math.nan
    return float(torch.stack([norm.float() for norm in torch._foreach_norm(gradients)]).norm())
