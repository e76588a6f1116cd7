"""The pool of old fake images that a discriminator is shown: Shrivastava et al. 2017 (arXiv 1612.07828)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gan_cli import processes
from gan_cli.errors import UserError

MOST = 10_000  # images


class Pool(nn.Module):
    """A memory of up to ``size`` fake images of ``shape`` (C, H, W). A checkpoint contains it.

    CycleGAN's form (Zhu et al. 2017, arXiv 1703.10593, section 4): the pool is filled first. Then, with probability
    1/2, an image takes the place of one in the pool, and the old one is shown; else the image itself is shown. A
    ``size`` of 0 means no pool. ValueError for more than :data:`MOST`.
    """

    images: Tensor
    held: Tensor

    def __init__(self, size: int, shape: Sequence[int], device: torch.device | str = "cpu") -> None:
        super().__init__()
        if not 0 <= size <= MOST:
            raise ValueError(f"pool={size} should be from 0 to {MOST} images")
        self.needs_whole_minibatch = "a pool of images (game.pool)" if size else ""
        self.register_buffer("images", torch.zeros(size, *shape, device=device))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))  # on the CPU: no step waits for the device

    @torch.no_grad()
    def forward(self, fakes: Tensor) -> Tensor:
        """What the discriminator is shown in place of ``fakes`` ``[N, C, H, W]``, the same shape.

        UserError if this process computes several parts of the minibatch in turn.
        """
        if not len(self.images):
            return fakes
        if processes.parts() > processes.count():
            raise UserError("the pool needs the whole minibatch at once: use accumulate=1, or game.pool=0")
        # All processes hold the same pool: they show it the whole minibatch, and keep their own part of what it shows.
        draws = processes.whole(torch.rand(len(fakes), 2)).tolist()
        shown = [self._exchanged(fake, *draw) for fake, draw in zip(processes.whole(fakes), draws, strict=True)]
        return processes.share(torch.stack(shown))

    def _exchanged(self, fake: Tensor, chance: float, share: float) -> Tensor:
        """What is shown for one image, given two numbers from U(0, 1)."""
        size, held = len(self.images), int(self.held)
        if held < size:
            self.images[held] = fake
            self.held += 1
        elif chance < 0.5:
            place = int(share * size)
            old = self.images[place].clone()
            self.images[place] = fake
            return old
        return fake
