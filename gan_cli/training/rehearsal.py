"""A rehearsal: a few steps in memory, to say what a run would take. Nothing is written."""

import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gan_cli.training import algorithm
from gan_cli.training.plan import lr_factor
from gan_cli.training.state import State
from gan_cli.training.terms import Terms

TIMED = 8  # steps: so many that a penalty of every 8th update is among them


class Rehearsal(NamedTuple):
    """What a step takes: seconds, floating-point operations, operators; and bytes of memory, before and at most.

    The seconds are a mean over :data:`TIMED` steps. One step, without a penalty of every N-th update, is counted.
    """

    seconds: float
    flop: int
    operators: int
    before: int
    most: int


class _Steps:
    """What Algorithm 1 asks of a run, without a folder."""

    def __init__(self, state: State, decay: Any) -> None:
        self._state, self._decay = state, decay
        self.seconds, self.flop, self.operators = 0.0, 0, 0

    def noted(self, side: str, terms: Terms) -> Terms:
        """The terms, of which no record is made."""
        return terms

    def steps(self) -> Iterator[int]:
        """Yield a step to warm up, a step that is counted, and :data:`TIMED` steps that are timed."""
        for optimizer in self._state.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * lr_factor(0, self._decay)
        yield 1
        with _Count() as count:
            yield 2
        self.flop, self.operators = count.flop, count.operators
        begun = _now(self._state.device)
        yield from range(3, 3 + TIMED)
        self.seconds = (_now(self._state.device) - begun) / TIMED


class _Count(TorchDispatchMode):
    """Counts the operators that are called, and the floating-point operations of products and convolutions."""

    flop, operators = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = function(*arguments, **(options or {}))
        self.operators += 1
        if (count := flop_registry.get(function.overloadpacket)) is not None:
            self.flop += count(*arguments, **(options or {}), out_val=result)
        return result


def rehearse(state: State, decay: Any, k: int, update: str) -> Rehearsal:
    """Train ``state`` for some steps. The state is changed, and of no further use."""
    before, run = memory(state.device), _Steps(state, decay)
    algorithm.train(state.game, state.batches, state.optimizers, run, k=k, update=update)  # type: ignore[arg-type]
    return Rehearsal(run.seconds, run.flop, run.operators, before, memory(state.device, most=True))


def memory(device: torch.device, most: bool = False) -> int:
    """Bytes that this process holds, or held at ``most``: of the GPU's memory on CUDA, else of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) if most else torch.cuda.memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def parameters(network: nn.Module) -> int:
    """The number of weights of ``network``."""
    return sum(weight.numel() for weight in network.parameters())


def largest_layers(network: nn.Module, n: int = 3) -> list[tuple[str, int]]:
    """The ``n`` layers of ``network`` with the most weights of their own, by name."""
    own = Counter({name or "(itself)": sum(weight.numel() for weight in module.parameters(recurse=False))
                   for name, module in network.named_modules()})  # fmt: skip
    return [(name, count) for name, count in own.most_common(n) if count]
