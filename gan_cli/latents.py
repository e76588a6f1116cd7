"""The latents of a generator: z, which it draws from, and w, where it has a mapping from z to w."""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Mapped(Protocol):
    """A generator ``z -> w -> images``, as StyleGAN is (Karras et al. 2019, arXiv 1812.04948, section 2)."""

    def mapped(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """w of the latents ``z``, ``[N, z_dim]`` each."""

    def synthesise(self, w: Tensor) -> Tensor:
        """The images of ``w``, ``[N, C, H, W]``."""


@runtime_checkable
class Styled(Mapped, Protocol):
    """A :class:`Mapped` generator whose layers may have the styles of different w."""

    @property
    def first_layers(self) -> dict[tuple[int, int], int]:
        """Each size (H, W) of the maps but the last, and the number of the first layer after it."""

    def synthesise(self, w: Tensor, second: Tensor | None = None, begins: Tensor | None = None) -> Tensor:
        """The images of ``w``. Image i has the styles of ``second[i]`` from layer ``begins[i]`` on."""


class Synthesis(nn.Module):
    """A :class:`Mapped` generator as a network whose latents are w. Labels have had their part in w already."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, w: Tensor) -> Tensor:
        assert isinstance(self.generator, Mapped)
        return self.generator.synthesise(w)


class Mixing(nn.Module):
    """A :class:`Styled` generator as a network of two w side by side, ``[N, 2 D]``: the second from ``layer`` on."""

    def __init__(self, generator: nn.Module, layer: int) -> None:
        super().__init__()
        self.generator, self.layer = generator, layer

    def forward(self, both: Tensor) -> Tensor:
        assert isinstance(self.generator, Styled)
        w, second = both.chunk(2, dim=1)
        return self.generator.synthesise(w, second, torch.full((len(w),), self.layer, device=w.device))


class Latents(NamedTuple):
    """Latents ``[N, D]``, float32 on the CPU, the class of each, ``[N]``, or None, and their ``space``, z or w."""

    values: Tensor
    labels: Tensor | None = None
    space: str = "z"

    def in_w(self, generator: nn.Module) -> "Latents":
        """The same latents in the space w of a :class:`Mapped` generator."""
        if self.space == "w":
            return self
        assert isinstance(generator, Mapped)
        device = next(generator.parameters()).device
        labels = None if self.labels is None else self.labels.to(device)
        with torch.inference_mode():
            return Latents(generator.mapped(self.values.to(device), labels).cpu(), self.labels, "w")

    def network(self, generator: nn.Module) -> nn.Module:
        """The network that draws these latents: ``generator``, or its part from w to images."""
        return Synthesis(generator) if self.space == "w" else generator

    @property
    def given_labels(self) -> Tensor | None:
        """The labels that the :meth:`network` is given: w holds them already."""
        return None if self.space == "w" else self.labels
