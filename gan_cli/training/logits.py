"""Discriminators' logits, as losses take them and as records show them."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gan_cli.training.terms import Term


def full(values: Tensor) -> Tensor:
    """``values`` in float32, or in float64 where networks of float64 made them."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def outputs(real_logits: Tensor, fake_logits: Tensor) -> dict[str, Term]:
    """D(x), D(G(z)) and V(D, G) of equation 1, for the record. Their logits precede D's update and have no gradient.

    ``value`` is V(D, G) = E log D(x) + E log(1 - D(G(z))). It is at most 0. At equilibrium D = 1/2, and ``value`` is
    -log 4 = -1.386.
    """
    values = logsigmoid(real_logits) + logsigmoid(-fake_logits)
    d_real, d_fake = torch._foreach_sigmoid((real_logits, fake_logits))  # one kernel for both
    recorded = {"d_real": d_real, "d_fake": d_fake, "value": values}
    return {name: Term(values, weight=None) for name, values in recorded.items()}


def accuracies(real_logits: Iterable[Tensor], fake_logits: Iterable[Tensor]) -> dict[str, Tensor]:
    """The shares of real and of fake images on the right side of D's decision, where its logit is 0.

    ``2 * d_accuracy_real - 1`` is r_t = E[sign D(x)] of Karras et al. 2020 (arXiv 2006.06676).
    """
    real, fake = (torch.cat([part.flatten() for part in parts]) for parts in (real_logits, fake_logits))
    return {"d_accuracy_real": _share(real > 0), "d_accuracy_fake": _share(fake < 0)}


def _share(right: Tensor) -> Tensor:
    """The share of true values, float64 on the CPU: not every device has float64."""
    return right.sum().cpu().double() / right.numel()
