"""The exponential moving average of the generator's weights: what samples are drawn from."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def decay(images: int, batch_size: int, half_life: float, ramp: float | None) -> float:
    """The factor by which one update shrinks the past: ``0.5 ** (batch_size / half_life)``, half-life in images.

    With ``ramp``, no half-life is longer than ``ramp`` times the ``images`` the generator was trained on so far: a
    young average doesn't drag the untrained generator along (as in the code of Karras et al. 2020, arXiv 2006.06676).
    A half-life of 0 is no averaging.
    """
    if ramp is not None:
        half_life = min(half_life, ramp * images)
    return 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0


def tensors(module: nn.Module) -> list[Tensor]:
    """All that an average is taken of: parameters and buffers, batch normalisation's running statistics among them.

    They are the module's own, not copies, and may be kept for a whole run: to look them up takes longer than to average
    the weights of a small network.
    """
    return list(module.state_dict().values())


@torch.no_grad()
def update(average: Sequence[Tensor], current: Sequence[Tensor], decay: float) -> None:
    """``average <- decay * average + (1 - decay) * current`` for :func:`tensors`; those of integers are copied."""
    averaged, latest = [], []
    for old, new in zip(average, current, strict=True):
        if old.is_floating_point():
            averaged.append(old)
            latest.append(new)
        else:
            old.copy_(new)
    torch._foreach_lerp_(averaged, latest, 1 - decay)
