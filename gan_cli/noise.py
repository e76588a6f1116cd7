"""The noise prior p_z(z) of Goodfellow et al. 2014, section 3."""

import torch
from torch import Tensor

PRIORS = ("normal", "uniform")


def sample_noise(
    prior: str, n: int, z_dim: int, device: torch.device | str = "cpu", rng: torch.Generator | None = None
) -> Tensor:
    """``n`` latents z of ``z_dim`` dimensions, float32 ``[n, z_dim]``, of mean 0 and variance 1 in each dimension.

    ``prior`` is ``normal``, N(0, 1), or ``uniform`` on [-sqrt 3, sqrt 3], as in the code of the 2014 paper. ``rng``
    must live on ``device``; without it the device's global generator is used. Raises ValueError on another prior.
    """
    if prior == "normal":
        return torch.randn(n, z_dim, device=device, generator=rng)
    if prior == "uniform":
        return (torch.rand(n, z_dim, device=device, generator=rng) * 2 - 1) * 3**0.5
    raise ValueError(f"noise prior {prior!r}: choose from {', '.join(PRIORS)}")
