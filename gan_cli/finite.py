"""Numbers that are no longer numbers: which step, term and parameter they first appeared in."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_cli.errors import TrainingDiverged

_NEVER = torch.iinfo(torch.int64).max


class Part(NamedTuple):
    """One network's part of a step: its name, the network, the terms of its loss."""

    name: str
    network: nn.Module
    terms: tuple[str, ...]


class Watch:
    """Notes the first step at which each term and each weight is not finite, on the device: no step waits for it.

    :meth:`check` is what waits. On a CPU, where nothing is queued, it costs nothing and may be called every step.
    """

    def __init__(self, parts: list[Part], device: torch.device) -> None:
        self._parts = parts  # in the order of their updates
        self._parameters: list[Tensor] = [p for part in parts for p in part.network.parameters()]
        self._terms = {term: torch.zeros((), device=device) for part in parts for term in part.terms}
        weights = [f"{part.name}.{key}" for part in parts for key, _ in part.network.named_parameters()]
        self._names = [*self._terms, *weights]
        self._first = torch.full((len(self._names),), _NEVER, device=device)

    def reset(self) -> None:
        """Forget what was noted: the weights are good ones again."""
        self._first.fill_(_NEVER)

    def add(self, term: str, value: Tensor) -> None:
        """One value (a scalar) of a ``term`` within this step."""
        self._terms[term] = self._terms[term] + value.detach()  # a sum is finite only where all of its parts are

    @torch.no_grad()
    def end_step(self, step: int) -> None:
        """All of ``step``'s terms were added, and the weights are as it left them."""
        # The norms overflow at weights of 1e19 already, which no network comes back from; they are a tenth of the time
        # that looking at each weight takes.
        values = torch.stack([*self._terms.values(), *torch._foreach_norm(self._parameters)])
        self._first.clamp_(max=torch.where(values.isfinite(), _NEVER, step))
        self._terms = {term: torch.zeros_like(value) for term, value in self._terms.items()}

    def check(self) -> None:
        """TrainingDiverged if anything was not finite: it names the step, and what was wrong first in it."""
        step = int(self._first.min())
        if step == _NEVER:
            return
        wrong = {name for name, first in zip(self._names, self._first.tolist(), strict=True) if first == step}
        for part in self._parts:  # what one network breaks, the next one inherits in the same step
            terms = [term for term in part.terms if term in wrong]
            weights = [name for key, _ in part.network.named_parameters() if (name := f"{part.name}.{key}") in wrong]
            if terms or weights:
                more = f" and {len(weights) - 1} more weights" if len(weights) > 1 else ""
                named = ", ".join([*terms, *weights[:1]])
                raise TrainingDiverged(f"step {step:,}: no longer finite: {named}{more}")
