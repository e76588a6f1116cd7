"""Datasets: one function each, which returns a :class:`Dataset` of uint8 images; and the order to draw them.

A dataset of one's own is a function that returns a :class:`Dataset`, and a YAML file that names it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

LARGEST_SIZE = 4096  # pixels, of a side


@dataclass(frozen=True)
class Dataset:
    """Images ``[N, C, H, W]`` uint8, their labels ``[N]`` int64 in ``[0, classes)`` or None, and the class names."""

    images: Tensor
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise ValueError(f"images must be uint8 [N, C, H, W], not {self.images.dtype} {list(self.images.shape)}")
        if len(self.images) == 0:
            raise ValueError("a dataset needs at least one image")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def pixel_mean(self) -> Tensor:
        """The mean image, ``[C, H, W]``, in [0, 1]."""
        # In blocks, of which the sums are whole numbers that float32 holds exactly: a dataset need not fit in memory.
        total = torch.zeros(self.image_shape, dtype=torch.float64)
        for block in self.images.split(256):
            total += block.float().sum(dim=0)
        return (total / (255 * len(self))).float()


def to_unit(images: Tensor) -> Tensor:
    """uint8 images -> float32 in [-1, 1], the range every network of this package works in."""
    return images.float().div_(127.5).sub_(1)


def resized(images: Tensor, size: int | None) -> Tensor:
    """Square uint8 images ``[N, C, S, S]`` at ``size``, bilinear and antialiased; unchanged where ``size`` is None."""
    if size is None or images.shape[-2:] == (size, size):
        return images
    if not 1 <= size <= LARGEST_SIZE:
        raise ValueError(f"size={size} should be at least 1 and at most {LARGEST_SIZE}")
    # In blocks: the float intermediates of a whole dataset would take several times its memory.
    blocks = (interpolate(b.float(), (size, size), mode="bilinear", antialias=True) for b in images.split(1024))
    return torch.cat([b.round_().clamp_(0, 255).byte() for b in blocks])


class Sampler:
    """Indices for minibatches: every example once an epoch, in an order that ``seed`` and the epoch alone decide.

    ``position`` counts the indices given out so far, across epochs, and is all there is to save: a sampler built with
    it goes on where the other stopped. A batch that reaches the end of an epoch goes on into the next, so that datasets
    smaller than a batch work as well.
    """

    def __init__(self, n: int, seed: int, position: int = 0, device: torch.device | str = "cpu") -> None:
        self.n, self.seed, self.position, self.device = n, seed, position, device
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def _epoch_order(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            # A large odd multiplier keeps (seed, epoch) pairs apart: seed 0's epoch 1 isn't seed 1's epoch 0.
            rng = torch.Generator().manual_seed((self.seed * 0x9E3779B97F4A7C15 + epoch) % 2**63)
            self._epoch, self._order = epoch, torch.randperm(self.n, generator=rng).to(self.device)
        return self._order

    def draw(self, batch_size: int) -> Tensor:
        """The next ``batch_size`` indices, int64, on ``device``."""
        parts = []
        while batch_size > 0:
            epoch, offset = divmod(self.position, self.n)
            part = self._epoch_order(epoch)[offset : offset + batch_size]
            parts.append(part)
            self.position += len(part)
            batch_size -= len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)
