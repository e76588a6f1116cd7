"""Static steps: steps on inputs at fixed places in memory, which a CUDA graph can record and replay.

A replay launches all kernels of a step at once. The host then has no part in the step, whose kernels a GPU computes
faster than Python can launch them. A graph reads and writes the same memory each time: the minibatches are copied into
fixed tensors, and the learning rates are tensors. The records, the average of the generator and the watch for
non-finite values come after the graph.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from gan_cli import processes
from gan_cli.errors import UserError
from gan_cli.training.algorithm import Iterate, Note
from gan_cli.training.batches import Batch
from gan_cli.training.device import Compute
from gan_cli.training.games import Game
from gan_cli.training.terms import Term, Terms

WARM_UP = 3  # steps of a kind before it is recorded: in these, libraries choose algorithms and take their memory


def used(compute: Compute, optimizers: Mapping[str, Optimizer], accumulate: int) -> bool:
    """Whether graphs are asked for and can be recorded.

    They can on CUDA, without torch.compile, by one process at once, with optimizers that torch calls capturable.
    """
    groups = [group for optimizer in optimizers.values() for group in optimizer.param_groups]
    at_once = processes.count() * accumulate == 1 and compute.compile == "off"
    asked = compute.graphs == "auto" and compute.device.type == "cuda"
    return asked and at_once and all("capturable" in group for group in groups)


def check(graphs: str, moving: Iterable[str]) -> None:
    """UserError if a graph would keep a value that a schedule moves: a graph reads the learning rates alone anew."""
    if graphs != "off" and {*moving} - {"lr"}:
        raise UserError("a CUDA graph keeps all values but the learning rates: use graphs=off, or schedule.lr alone")


class _Step(NamedTuple):
    """A static step: its fixed inputs, the terms of each side, and the function that computes these from those."""

    inputs: Sequence[Batch]
    terms: list[tuple[str, Terms]]
    run: Callable[[], None]


class Static:
    """Calls ``iterate`` in static steps, and trains to the same result.

    Steps of one kind have the same operations: see :meth:`gan_cli.training.games.Game.kind`. On CUDA the fourth step of
    a kind is recorded, and replayed from then on. Other devices compute each step anew, from the same fixed inputs. A
    step of no kind is computed as usual.
    """

    def __init__(self, iterate: Iterate) -> None:
        self._iterate = iterate
        self._seen: dict[Hashable, int] = {}  # the steps of each kind so far
        self._steps: dict[Hashable, _Step] = {}

    def __call__(
        self, game: Game, batches: Iterator[Batch], optimizers: Mapping[str, Optimizer], note: Note, k: int, update: str
    ) -> None:
        batch = [next(batches) for _ in range(k)]
        if _fix_rates(optimizers.values(), batch[0].real.device):
            self._seen, self._steps = {}, {}
        kind = tuple(game.kind(one) for one in batch)
        self._seen[kind] = self._seen.get(kind, 0) + 1
        if None in kind or self._seen[kind] <= WARM_UP:
            self._iterate(game, iter(batch), optimizers, note, k, update)
            return
        step = self._steps.get(kind) or self._record(kind, batch, game, optimizers, k, update)
        for fixed, one in zip(step.inputs, batch, strict=True):
            for place, value in zip((fixed.real, *fixed.given), (one.real, *one.given), strict=True):
                place.copy_(value)
        step.run()
        for side, terms in step.terms:
            note(side, terms)

    def _record(self, kind: Hashable, batch: Sequence[Batch], *arguments: Any) -> _Step:
        """The step of ``kind``, with inputs like ``batch``. Recording a graph computes nothing."""
        game, optimizers, k, update = arguments
        inputs = [
            one._replace(real=one.real.clone(), labels=None if one.labels is None else one.labels.clone())
            for one in batch
        ]
        terms: list[tuple[str, Terms]] = []

        def note(side: str, found: Terms) -> Terms:
            terms.append((side, {name: Term(term.values.detach(), term.weight) for name, term in found.items()}))
            return found

        def compute() -> None:
            terms.clear()
            self._iterate(game, iter(inputs), optimizers, note, k, update)

        run = _recorded(compute, game, optimizers.values()) if inputs[0].real.is_cuda else compute
        return self._steps.setdefault(kind, _Step(inputs, terms, run))


def _recorded(compute: Callable[[], None], game: Game, optimizers: Iterable[Optimizer]) -> Callable[[], None]:
    """What replays the kernels of ``compute``, a step of ``game``, and puts back what the step leaves for the signals.

    With two graphs, gradients and logits would otherwise be those of the one that was recorded last.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        compute()
    left = [dict(kept) for kept in game.latest()]
    weights = [weight for optimizer in optimizers for group in optimizer.param_groups for weight in group["params"]]
    gradients = [weight.grad for weight in weights]

    def replay() -> None:
        graph.replay()
        for kept, values in zip(game.latest(), left, strict=True):
            kept.update(values)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient

    return replay


def _fix_rates(optimizers: Iterable[Optimizer], device: torch.device) -> bool:
    """Make each learning rate a tensor, which :class:`gan_cli.training.run.Run` then fills.

    Return whether any was none: at first, and after the optimizers were restored, whose state then lies elsewhere.
    """
    groups = [(optimizer, group) for optimizer in optimizers for group in optimizer.param_groups]
    loose = [(optimizer, group) for optimizer, group in groups if not isinstance(group["lr"], Tensor)]
    for optimizer, group in loose:
        group["lr"] = torch.tensor(group["lr"], device=device)
        if device.type == "cuda":
            group["capturable"] = True
            for state in optimizer.state.values():
                if "step" in state:
                    state["step"] = state["step"].to(device)
    return bool(loose)
