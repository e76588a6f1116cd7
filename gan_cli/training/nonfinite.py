"""Non-finite values: the step, the term and the parameter in which they first appeared."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gan_cli.errors import TrainingDiverged

_NEVER = torch.iinfo(torch.int64).max


class Watch:
    """Notes on the device the first step at which each term and each weight is non-finite. No step waits for this.

    ``sides`` maps each side to its networks by name, in the order of the sides' updates. Only :meth:`check` waits for
    the device. On a CPU there is no wait: :meth:`check` may be called every step.
    """

    def __init__(self, sides: Mapping[str, Mapping[str, nn.Module]], device: torch.device) -> None:
        self._device = device
        weights = [
            (side, f"{name}.{key}", weight)
            for side, networks in sides.items()
            for name, network in networks.items()
            for key, weight in network.named_parameters()
        ]
        self._weights: dict[str, list[str]] = {side: [name for of, name, _ in weights if of == side] for side in sides}
        self._terms: dict[str, list[str]] = {side: [] for side in sides}
        self._names = [name for _, name, _ in weights]
        self._parameters: list[Tensor] = [weight for _, _, weight in weights]
        self._totals: dict[str, Tensor] = {}
        self._first = torch.full((len(self._names),), _NEVER, device=device)

    def reset(self) -> None:
        """Clear all notes. Called after the weights and the terms' totals were restored."""
        self._first.fill_(_NEVER)
        self._totals = {term: torch.zeros_like(total) for term, total in self._totals.items()}

    def add(self, side: str, term: str, total: Tensor) -> None:
        """Note the total so far, a scalar, of a ``term`` that ``side`` minimises. A total stays non-finite."""
        if term not in self._totals:
            self._terms[side].append(term)
            self._names.append(term)
            self._first = torch.cat([self._first, self._first.new_full((1,), _NEVER)])
        self._totals[term] = total

    @torch.no_grad()
    def end_step(self, step: int) -> None:
        """Note the non-finite terms and weights of ``step``. Called at its end, after the updates of all sides."""
        # A norm overflows at weights of 1e19. No network recovers from such weights. Norms take a tenth of the time of
        # a check of each weight.
        norms = torch._foreach_norm(self._parameters) if self._parameters else ()
        values = [value.view(1) for value in (*norms, *self._totals.values())]
        if values:
            finite = torch.cat(values).mul_(0) == 0  # two kernels, where isfinite has four
            torch.where(finite, self._first, self._first.clamp(max=step), out=self._first)

    def check(self) -> None:
        """Raise TrainingDiverged if any value was non-finite. The error names the step and the first such value."""
        step = int(self._first.min()) if len(self._first) else _NEVER
        if step == _NEVER:
            return
        wrong = {name for name, first in zip(self._names, self._first.tolist(), strict=True) if first == step}
        for side, names in self._weights.items():  # one side's non-finite value spreads to the next side
            terms = [term for term in self._terms[side] if term in wrong]
            weights = [name for name in names if name in wrong]
            if terms or weights:
                more = f" and {len(weights) - 1} more weights" if len(weights) > 1 else ""
                named = ", ".join([*terms, *weights[:1]])
                raise TrainingDiverged(f"step {step:,}: no longer finite: {named}{more}")
