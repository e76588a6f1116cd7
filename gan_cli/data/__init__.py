"""Datasets, one function each, and the order in which their examples are drawn.

A dataset function returns a :class:`Dataset` of uint8 images or, for pictures of the theory, :class:`Points`. Both have
``examples`` to draw from, ``network_input``, which converts a drawn batch to the networks' input, and ``facts`` for
building the networks. A user-defined dataset is a function that returns either, and a YAML file that names it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gan_cli.errors import UserError

LARGEST_SIZE = 4096  # pixels per side


class NoSplit(UserError):
    """A dataset has no images of the requested split."""


class Attributes(NamedTuple):
    """What is known of each image: the possible ``values`` by attribute, and their ``indices``, ``[N, attributes]``."""

    values: Mapping[str, tuple[str, ...]]
    indices: Tensor


@dataclass(frozen=True)
class Dataset:
    """Images ``[N, C, H, W]`` uint8, their labels ``[N]`` int64 in ``[0, classes)`` or None, and the class names.

    ``description`` says in one line what was found, for data that gan-cli does not know. ``fingerprint`` is a digest of
    the files, as of :mod:`gan_cli.data.fingerprint`: a resumed run compares it. ``licence`` is that of the images, for
    the run folder, where whoever passes samples on must name it.
    """

    images: Tensor
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()
    description: str = ""
    fingerprint: str | None = None
    attributes: Attributes | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise ValueError(f"images must be uint8 [N, C, H, W], not {self.images.dtype} {list(self.images.shape)}")
        if len(self.images) == 0:
            raise ValueError("a dataset needs at least one image")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def examples(self) -> Tensor:
        """The images."""
        return self.images

    @staticmethod
    def network_input(images: Tensor) -> Tensor:
        """A batch of the images as float32 in [-1, 1]."""
        return to_unit(images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def pixel_mean(self) -> Tensor:
        """The mean image, ``[C, H, W]``, in [0, 1]."""
        # In blocks, since a dataset may not fit in memory. A block's sums are integers that float32 represents exactly.
        total = torch.zeros(self.image_shape, dtype=torch.float64)
        for block in self.images.split(256):
            total += block.float().sum(dim=0)
        return (total / (255 * len(self))).float()

    @property
    def facts(self) -> Mapping[str, Any]:
        """The networks' arguments: ``image_shape``, and ``pixel_mean``, a function because it must read all images."""
        return {"image_shape": self.image_shape, "pixel_mean": lambda: self.pixel_mean}


@dataclass(frozen=True)
class Mixture:
    """A mixture of isotropic Gaussians: ``weights`` ``[K]``, of sum 1, ``means`` ``[K, d]``, ``stds`` ``[K]``."""

    weights: Tensor
    means: Tensor
    stds: Tensor

    def density(self, x: Tensor) -> Tensor:
        """p(x) at ``x`` ``[N, d]``, float64 ``[N]``."""
        means, stds = self.means.double(), self.stds.double()
        squares = ((x.double()[:, None] - means) / stds[:, None]).square().sum(dim=2)
        peaks = self.weights.double() / (stds * math.sqrt(2 * math.pi)) ** means.shape[1]
        return (peaks * (-squares / 2).exp()).sum(dim=1)

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """``n`` points, float32 ``[n, d]``."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=rng)
        noise = torch.randn(n, self.means.shape[1], generator=rng)
        return self.means[which] + self.stds[which, None] * noise


@dataclass(frozen=True)
class Points:
    """Points ``[N, d]`` float32, at any scale, and the mixture from which they were drawn, if any."""

    points: Tensor
    mixture: Mixture | None = None
    labels: ClassVar[Tensor | None] = None
    fingerprint: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        if self.points.dtype != torch.float32 or self.points.dim() != 2 or self.points.numel() == 0:
            raise ValueError(f"points must be float32 [N, d], not {self.points.dtype} {list(self.points.shape)}")

    def __len__(self) -> int:
        return len(self.points)

    @property
    def examples(self) -> Tensor:
        """The points."""
        return self.points

    @staticmethod
    def network_input(points: Tensor) -> Tensor:
        """The points, unchanged: the networks scale them."""
        return points

    @property
    def image_shape(self) -> tuple[int]:
        """(d,)."""
        return (self.points.shape[1],)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The networks' arguments: ``image_shape``, ``data_mean`` ``[d]`` and ``data_std`` (one number)."""
        mean = self.points.mean(dim=0)
        return {
            "image_shape": self.image_shape,
            "data_mean": mean,
            "data_std": (self.points - mean).square().mean().sqrt(),
        }


def to_unit(images: Tensor) -> Tensor:
    """uint8 images -> float32 in [-1, 1], the range of images in every network of this package."""
    return images.div(127.5).sub_(1)


def resized(images: Tensor, size: int | None) -> Tensor:
    """Resize square uint8 images ``[N, C, S, S]`` to ``size``, bilinear and antialiased; None leaves them unchanged."""
    if size is None or images.shape[-2:] == (size, size):
        return images
    if not 1 <= size <= LARGEST_SIZE:
        raise ValueError(f"size={size} should be at least 1 and at most {LARGEST_SIZE}")
    # In blocks: the float intermediates of a whole dataset would take several times its memory.
    blocks = (interpolate(b.float(), (size, size), mode="bilinear", antialias=True) for b in images.split(1024))
    return torch.cat([b.round_().clamp_(0, 255).byte() for b in blocks])


class Sampler:
    """Indices for minibatches: every example once per epoch, in an order that depends only on ``seed`` and the epoch.

    ``position`` counts the indices drawn so far, over all epochs. It is the sampler's only state: a new sampler with
    this ``position`` continues where the old one stopped. A batch that reaches the end of an epoch continues in the
    next, so a dataset may be smaller than a batch.
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
