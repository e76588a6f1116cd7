"""Penalties on the discriminator: one family, one signature.

A penalty is a function of the discriminator, real images and generated images (``[N, C, H, W]``, in [-1, 1]), and
returns per-sample terms ``[N]`` that the loop averages and adds to the discriminator's loss. ``interval`` in a
penalty's configuration belongs to the loop: at ``interval=8`` the penalty is taken on every 8th discriminator step and
counts 8-fold (lazy regularisation, Karras et al. 2020, arXiv 1912.04958, section 3.1).
"""

from collections.abc import Callable

import torch
from torch import Tensor


def r1(discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, gamma: float = 1.0) -> Tensor:
    """R1, the zero-centred gradient penalty on real data: ``gamma / 2 * |grad_x D(x)|^2``, summed over C, H, W.

    Mescheder et al. 2018 (arXiv 1801.04406), equation 9, with D the logit. Computed in float32 whatever autocast says:
    the gradient of a gradient loses too much in bfloat16. ``fake`` is unused: R1 looks at the data alone.
    """
    with torch.autocast(real.device.type, enabled=False):
        real = real.detach().float().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gamma / 2 * gradient.square().flatten(1).sum(dim=1)
