"""The noise prior p_z(z) of Goodfellow et al. 2014, section 3, and paths between its latents."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

PRIORS = ("normal", "uniform")


class Noise(NamedTuple):
    """The noise of a generator: its prior, one of :data:`PRIORS`, and the dimensions of its latents."""

    prior: str = "normal"
    z_dim: int = 100


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


def truncated(z: Tensor, prior: str, psi: float) -> Tensor:
    """The latents ``z`` of a ``prior``, moved into the prior truncated to a standard deviation of ``psi``, 0 to 1.

    The truncation trick of Brock et al. 2019 (arXiv 1809.11096), section 3.1, draws from a normal distribution that is
    cut off at a threshold. Here each number moves to the same quantile of that distribution, so that a latent changes
    gradually with ``psi``. A uniform prior becomes narrower. 1 changes nothing.
    """
    if psi == 1:
        return z
    if prior == "uniform" or psi == 0:
        return z * psi
    outside = torch.special.ndtr(torch.tensor(-threshold(psi), dtype=torch.float64))
    return torch.special.ndtri(outside + torch.special.ndtr(z.double()) * (1 - 2 * outside)).to(z.dtype)


def threshold(psi: float) -> float:
    """Where a standard normal distribution is cut off to have the standard deviation ``psi``, above 0 and below 1.

    With the threshold t, the density phi and the distribution Phi, the variance is
    ``1 - 2 t phi(t) / (2 Phi(t) - 1)``, which grows with t.
    """
    low, high = 0.0, 10.0
    for _ in range(60):
        t = (low + high) / 2
        density = math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        variance = 1 - 2 * t * density / math.erf(t / math.sqrt(2))
        low, high = (t, high) if variance < psi * psi else (low, t)
    return high


def linear_path(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """``(1 - t) start + t end`` at ``steps`` t from 0 to 1: latents ``[N, z_dim]`` each -> ``[N, steps, z_dim]``.

    Goodfellow et al. 2014 interpolate like this in Figure 3. For a uniform prior the path stays in the prior's cube.
    For a normal prior the middle of the path is nearer to the origin than almost all latents.
    """
    t = torch.linspace(0, 1, steps, device=start.device)[:, None]
    return (1 - t) * start[:, None] + t * end[:, None]


def spherical_path(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """The path along the great circle, for a normal prior; shapes as in :func:`linear_path`.

    White 2016 (arXiv 1609.04468), section 2.1: ``(sin((1 - t) w) start + sin(t w) end) / sin(w)`` with w the angle
    between ``start`` and ``end``. If both are parallel, the path is linear. The path may leave a uniform prior's cube.
    """
    t = torch.linspace(0, 1, steps, device=start.device)[:, None]
    angle = torch.cosine_similarity(start, end).clamp(-1, 1).acos()[:, None, None]
    bent = ((1 - t) * angle).sin() * start[:, None] + (t * angle).sin() * end[:, None]
    return torch.where(angle.sin() > 1e-4, bent / angle.sin(), linear_path(start, end, steps))


def closed_path(latents: Tensor, steps: int, prior: str) -> Tensor:
    """A closed path through ``latents`` ``[K, z_dim]``: ``steps`` to the next, and from the last to the first.

    The path has K * ``steps`` latents, ``[K * steps, z_dim]``. It follows great circles for a normal prior and straight
    lines for a uniform one.
    """
    between = spherical_path if prior == "normal" else linear_path
    return between(latents, latents.roll(-1, dims=0), steps + 1)[:, :-1].flatten(0, 1)


def closed_cubic(points: Tensor, steps: int) -> Tensor:
    """A smooth closed path through ``points`` ``[K, ...]``, ``steps`` to the next: ``[K * steps, ...]``.

    It is the periodic cubic spline with knots at equal distances: velocity and acceleration don't jump.
    """
    k = len(points)
    eye = torch.eye(k, dtype=torch.float64, device=points.device)
    after, before = points.double().roll(-1, dims=0), points.double().roll(1, dims=0)
    curvature = (6 * (after - 2 * points.double() + before)).flatten(1)
    bends = torch.linalg.solve(4 * eye + eye.roll(1, dims=0) + eye.roll(-1, dims=0), curvature).view_as(points)
    t = (torch.arange(steps, dtype=torch.float64, device=points.device) / steps).view(-1, *[1] * (points.dim() - 1))
    here, there = (values[:, None] for values in (points.double(), after))
    bend, next_bend = bends[:, None] / 6, bends.roll(-1, dims=0)[:, None] / 6
    path = bend * (1 - t) ** 3 + next_bend * t**3 + (here - bend) * (1 - t) + (there - next_bend) * t
    return path.flatten(0, 1).to(points.dtype)


def quantiles(prior: str, n: int) -> Tensor:
    """``n`` + 1 latents of one dimension, rising, with probability 1/n between neighbours; float32 ``[n + 1, 1]``.

    For the ``normal`` prior, whose range is infinite, the first and the last are the 1/(4n) and 1 - 1/(4n) quantiles.
    """
    if prior == "normal":
        p = torch.linspace(0, 1, n + 1, dtype=torch.float64).clamp(0.25 / n, 1 - 0.25 / n)
        return torch.special.ndtri(p).float()[:, None]
    return torch.linspace(-(3**0.5), 3**0.5, n + 1)[:, None]
