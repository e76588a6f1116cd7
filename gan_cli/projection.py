"""The latents of given images: those from which a generator draws images that are nearest to them.

As the projector of StyleGAN2 (Karras et al. 2020, arXiv 1912.04958, appendix D) does, Adam moves latents so that a
distance of pixels and of features falls. Each image begins from several latents, those of a pool that are nearest.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_cli.latents import Latents

Features = Callable[[Tensor], Tensor]  # float images [N, C, H, W] in [0, 255] -> [N, F], differentiable
ROWS = 256  # latents that move at a time
RATE = 0.1  # Adam's first rate, in standard deviations of the latents


class Settings(NamedTuple):
    """How many ``starts`` an image has and how many ``steps`` each takes, and the farthest that a latent may go.

    ``radius`` bounds a latent's norm, ``cube`` each of its numbers.
    """

    starts: int = 8
    steps: int = 200
    radius: float = math.inf
    cube: float = math.inf

    def within(self, values: Tensor) -> Tensor:
        """``values`` ``[N, D]``; those beyond the bounds at the nearest place within."""
        norms = values.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return values.clamp(-self.cube, self.cube) * (self.radius / norms).clamp(max=1)


def bounds(prior: str, z_dim: int) -> dict[str, float]:
    """The bounds of :class:`Settings` for latents z: where the ``prior`` has next to no latents beyond.

    The norm of a normal latent has a mean of about sqrt(D) and a standard deviation of about 1 / sqrt(2).
    """
    return {"radius": math.sqrt(z_dim) + 2} if prior == "normal" else {"cube": math.sqrt(3)}


class Pool:
    """Images of many latents: where projections begin, and the yardstick of distances.

    ``network`` draws the ``latents``. The distance of two images is the mean of two numbers: the mean square of the
    differences of their pixels, and that of their ``features``, each over its mean for two images of the pool. Two
    samples are thus 1 apart on average.
    """

    def __init__(self, network: nn.Module, latents: Latents, features: Features) -> None:
        self.network, self.latents, self.features = network, latents, features
        self.device = next(network.parameters()).device
        with torch.no_grad():
            parts = [self._seen(self._draw(values, labels)) for values, labels in self._batches()]
        self.pixels, self.of_features = (torch.cat(part) for part in zip(*parts, strict=True))
        self.scales = [
            (part - part.roll(1, dims=0)).square().mean().clamp(min=1e-12) for part in (self.pixels, self.of_features)
        ]

    def nearest(self, targets: Tensor, k: int) -> Tensor:
        """The indices of the ``k`` latents of the pool nearest to each of ``targets``, uint8, ``[N, k]``."""
        total = torch.zeros(())
        pairs = zip(
            self._seen(targets.to(self.device).float()), (self.pixels, self.of_features), self.scales, strict=True
        )
        for ours, theirs, scale in pairs:
            total = total + torch.cdist(ours, theirs).square() / (theirs.shape[1] * scale)
        return total.topk(k, largest=False).indices.cpu()

    def distances(self, values: Tensor, labels: Tensor | None, targets: Tensor) -> Tensor:
        """The distances of the images of ``values`` ``[N, D]`` and of ``targets``, uint8 ``[N, C, H, W]``: ``[N]``."""
        drawn, wanted = self._seen(self._draw(values, labels)), self._seen(targets.to(self.device).float())
        parts = zip(drawn, wanted, self.scales, strict=True)
        return torch.stack([(a - b).square().mean(dim=1) / scale for a, b, scale in parts]).mean(dim=0)

    def _draw(self, values: Tensor, labels: Tensor | None) -> Tensor:
        """The network's images in [0, 255], neither rounded nor cut off."""
        given = [] if labels is None else [labels]
        return (self.network(values, *given) + 1) * 127.5

    def _seen(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels and the features of float images in [0, 255]; transparent ones over white."""
        if images.shape[1] == 4:
            alpha = images[:, 3:] / 255
            images = images[:, :3] * alpha + 255 * (1 - alpha)
        return images.flatten(1), self.features(images)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        labels = self.latents.given_labels
        for i in range(0, len(self.latents.values), ROWS):
            part = slice(i, i + ROWS)
            yield self.latents.values[part].to(self.device), None if labels is None else labels[part].to(self.device)


def project(
    pool: Pool, targets: Tensor, settings: Settings, tick: Callable[[int], object] = lambda n: None
) -> tuple[Latents, Tensor]:
    """The latents of ``targets``, uint8 ``[N, C, H, W]``, and the distances of their images, ``[N]``.

    Each target begins from the latents of the ``pool`` that are nearest to it, and keeps their classes. After a quarter
    of the steps the better quarter of its starts goes on, with a rate that falls to 0 along a quarter of a cosine. Of
    all points on the ways the nearest is taken. ``tick`` is given the number of latents that have moved, after each
    step: :func:`moves` in all. The weights of the pool's network must not require gradients.
    """
    batches = targets.split(max(1, ROWS // settings.starts))
    found = [_project(pool, batch, settings, tick) for batch in batches]
    labels = [each for _, each, _ in found if each is not None]
    latents = Latents(
        torch.cat([one for one, _, _ in found]), torch.cat(labels) if labels else None, pool.latents.space
    )
    return latents, torch.cat([one for _, _, one in found])


def moves(n: int, settings: Settings) -> int:
    """How many latents :func:`project` moves in all its steps for ``n`` images."""
    early = settings.steps // 4
    return n * (settings.starts * early + _survivors(settings.starts) * (settings.steps - early))


def _survivors(starts: int) -> int:
    return math.ceil(starts / 4)


def _project(
    pool: Pool, targets: Tensor, settings: Settings, tick: Callable[[int], object]
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Latents, labels and distances of one batch of targets."""
    steps, early, rate = settings.steps, settings.steps // 4, RATE * float(pool.latents.values.std())
    which = pool.nearest(targets, settings.starts).flatten()
    values, labels, distances = pool.latents.values[which], pool.latents.labels, torch.empty(0)
    labels = None if labels is None else labels[which]
    falling = [rate * math.cos(math.pi / 2 * step / (steps - early)) for step in range(steps - early)]
    for rates, kept in (([rate] * early, _survivors(settings.starts)), (falling, 1)):
        wanted = targets.repeat_interleave(len(values) // len(targets), dim=0)
        values, distances = _descended(pool, values, labels, wanted, rates, settings, tick)
        of_each = distances.view(len(targets), -1)
        best = of_each.topk(kept, largest=False).indices + torch.arange(len(targets))[:, None] * of_each.shape[1]
        values, distances = values[best.flatten()], distances[best.flatten()]
        labels = None if labels is None else labels[best.flatten()]
    return values, labels, distances


def _descended(
    pool: Pool, values: Tensor, labels: Tensor | None, targets: Tensor, rates: Sequence[float], settings: Settings,
    tick: Callable[[int], object],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The nearest latent on the way of each of ``values`` towards its target, and its distance: ``[R, D]``, ``[R]``."""
    moving = settings.within(values.to(pool.device)).requires_grad_()
    given = None if labels is None or pool.latents.space == "w" else labels.to(pool.device)
    nearest = torch.full((len(values),), torch.inf, device=pool.device)
    best, adam = moving.detach().clone(), torch.optim.Adam([moving])
    for rate in [*rates, None]:
        distances = pool.distances(moving, given, targets)
        closer = distances.detach() < nearest
        best[closer], nearest[closer] = moving.detach()[closer], distances.detach()[closer]
        if rate is None:  # the last latents are only judged
            break
        (moving.grad,) = torch.autograd.grad(distances.sum(), moving)
        adam.param_groups[0]["lr"] = rate
        adam.step()
        with torch.no_grad():
            moving.copy_(settings.within(moving))
        tick(len(moving))
    return best.cpu(), nearest.cpu()
