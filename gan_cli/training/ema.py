"""The exponential moving average (EMA) of the generator's weights. Samples are drawn from the averaged generator."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def decay(images: int, batch_size: int, half_life: float, ramp: float | None) -> float:
    """The decay of one EMA update: ``0.5 ** (batch_size / half_life)``, with the half-life in images.

    With ``ramp``, the half-life is at most ``ramp`` times ``images``, the images that the generator was trained on so
    far. An early average then forgets the untrained generator quickly (as in the code of Karras et al. 2020, arXiv
    2006.06676). A half-life of 0 means no averaging.
    """
    if ramp is not None:
        half_life = min(half_life, ramp * images)
    return 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0


def tensors(module: nn.Module) -> list[Tensor]:
    """All tensors that are averaged: parameters and buffers, including batch normalisation's running statistics.

    The tensors are the module's own. Look them up once and keep them for the whole run: for a small network the
    look-up takes longer than the averaging.
    """
    return list(module.state_dict().values())


@torch.no_grad()
def update(average: Sequence[Tensor], current: Sequence[Tensor], decay: float) -> None:
    """``average <- decay * average + (1 - decay) * current`` for :func:`tensors`; integer tensors are copied."""
    averaged, latest = [], []
    for old, new in zip(average, current, strict=True):
        if old.is_floating_point():
            averaged.append(old)
            latest.append(new)
        else:
            old.copy_(new)
    torch._foreach_lerp_(averaged, latest, 1 - decay)
