"""The latents of a generator: z, which it draws from, and w, where it has a mapping from z to w."""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Mapped(Protocol):
    """A generator ``z -> w -> images``, as StyleGAN is (Karras et al. 2019, arXiv 1812.04948, section 2)."""

    def mapped(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """w of the latents ``z``, ``[N, z_dim]`` each."""

    def synthesise(self, w: Tensor) -> Tensor:
        """The images of ``w``, ``[N, C, H, W]``."""


class Synthesis(nn.Module):
    """A :class:`Mapped` generator as a network whose latents are w. Labels have had their part in w already."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, w: Tensor) -> Tensor:
        assert isinstance(self.generator, Mapped)
        return self.generator.synthesise(w)
