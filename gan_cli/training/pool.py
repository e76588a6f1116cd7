"""The pool of old fake images that a discriminator is shown: Shrivastava et al. 2017 (arXiv 1612.07828)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gan_cli import processes

MOST = 10_000  # images


class Pool(nn.Module):
    """A memory of up to ``size`` fake images of ``shape`` (C, H, W). A checkpoint contains it.

    CycleGAN's form (Zhu et al. 2017, arXiv 1703.10593, section 4): the pool is filled first. Then, with probability
    1/2, an image takes the place of one in the pool, and the old one is shown; else the image itself is shown. A
    ``size`` of 0 means no pool. ValueError for more than :data:`MOST`. All processes of a run hold the same pool.
    """

    images: Tensor
    held: Tensor

    def __init__(self, size: int, shape: Sequence[int], device: torch.device | str = "cpu") -> None:
        super().__init__()
        if not 0 <= size <= MOST:
            raise ValueError(f"pool={size} should be from 0 to {MOST} images")
        self.register_buffer("images", torch.zeros(size, *shape, device=device))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))  # on the CPU: no step waits for the device

    @torch.no_grad()
    def forward(self, fakes: Tensor) -> Tensor:
        """What the discriminator is shown in place of ``fakes`` ``[N, C, H, W]``, the same shape."""
        if not len(self.images):
            return fakes
        processes.need_whole()  # images go through the pool in the order of the minibatch
        chances, places = torch.rand(len(fakes)), torch.rand(len(fakes))
        drawn = (processes.whole(chances).tolist(), processes.whole(places).tolist())
        shown = [self._exchanged(*one) for one in zip(processes.whole(fakes), *drawn, strict=True)]
        return torch.stack(shown[processes.rank() :: processes.count()])

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
