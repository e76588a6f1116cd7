"""Minibatch standard deviation: what tells a discriminator how much the images of a batch differ."""

import torch
from torch import Tensor

from gan_cli import processes
from gan_cli.errors import UserError

EPSILON = 1e-8
GROUP = 4  # images in a group, at least


def minibatch_std(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` -> ``[N, C + 1, H, W]``: a map of how much the batch varies (Karras et al. 2018, section 3).

    The map is the standard deviation over a group of images, averaged over all channels and pixels. The group size is
    the smallest divisor of N that is at least :data:`GROUP`. A smaller batch is one group. Image i is in group
    i modulo the number of groups, so that every part of a minibatch holds whole groups. UserError if it does not.
    """
    n, channels, height, width = x.shape
    size, of = _group_size(n), processes.parts()
    if size != _group_size(n * of):
        raise UserError(
            f"a part of {n} images holds no whole groups of minibatch_std: give each of {of} a multiple of {GROUP}"
        )
    groups = x.to(torch.promote_types(x.dtype, torch.float32)).view(size, n // size, channels, height, width)
    std = (groups.var(dim=0, correction=0) + EPSILON).sqrt().mean(dim=(1, 2, 3))
    return torch.cat([x, std.to(x.dtype).repeat(size)[:, None, None, None].expand(n, 1, height, width)], dim=1)


def _group_size(n: int) -> int:
    """The smallest divisor of ``n`` that is at least :data:`GROUP`, or ``n`` itself."""
    return next(size for size in range(min(n, GROUP), n + 1) if n % size == 0)
