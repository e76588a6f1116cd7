"""Optimizers that torch lacks."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class AnnealedSGD(torch.optim.SGD):
    """Stochastic gradient descent with momentum. The learning rate falls and the momentum rises at each update.

    The schedule is that of the configuration published with Goodfellow et al. 2014 (goodfeli/adversarial,
    ``mnist.yaml``). Each update divides the learning rate by ``decay``, down to ``min_lr``. The momentum rises linearly
    from ``momentum`` to ``final_momentum`` over ``saturate`` updates. Raises ValueError where torch's SGD does.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.1,
        momentum: float = 0.5,
        final_momentum: float = 0.7,
        saturate: int = 125_000,
        decay: float = 1.000004,
        min_lr: float = 1e-6,
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, fused=True)
        self._momenta, self._saturate, self._decay, self._min_lr = (momentum, final_momentum), saturate, decay, min_lr
        for group in self.param_groups:
            group["updates"] = 0  # in the group, so that a checkpoint contains it

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        first, last = self._momenta
        rates = [group["lr"] for group in self.param_groups]
        for group in self.param_groups:
            updates = group["updates"]
            group["lr"] = max(group["lr"] / self._decay**updates, min(group["lr"], self._min_lr))
            group["momentum"] = first + (last - first) * min(1.0, updates / self._saturate)
            group["updates"] = updates + 1
        result = super().step(closure)
        for group, lr in zip(self.param_groups, rates, strict=True):
            group["lr"] = lr
        return result
