"""Sampling a generator: latents, labels and forward passes of a fixed size. A seed gives the same bytes every time."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from gan_cli.noise import Noise, sample_noise

# Every forward pass of sampling has exactly this many latents; the last pass is padded. Batches of different sizes may
# round differently, and then the same seed would not give the same bytes.
TILE = 32
CENTRE = 10_000  # latents whose mean w is the centre of truncation
LARGE = 2**21  # most pixels in a forward pass of several images: the memory of a network's layers grows with them


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] -> uint8, rounded to the nearest of the 256 levels."""
    return images.float().add(1).mul(127.5).round_().clamp_(0, 255).byte()


def over_white(images: Tensor) -> Tensor:
    """uint8 images ``[N, C, H, W]`` without transparency: four channels, RGBA, become RGB over white."""
    if images.shape[1] != 4:
        return images
    colour, alpha = images[:, :3].float(), images[:, 3:].float() / 255
    return (colour * alpha + 255 * (1 - alpha)).round_().byte()


def latents(noise: Noise, n: int, seed: int) -> Tensor:
    """The first ``n`` latents of ``seed``, ``[n, z_dim]`` on the CPU. The i-th latent is the same for every ``n``."""
    rng = torch.Generator().manual_seed(seed)
    tiles = [sample_noise(noise.prior, TILE, noise.z_dim, rng=rng) for _ in range(math.ceil(n / TILE))]
    return torch.cat(tiles)[:n]


def latents_of(noise: Noise, seeds: Sequence[int]) -> Tensor:
    """The first latent of each of the ``seeds``, ``[len(seeds), z_dim]`` on the CPU."""
    return torch.cat([latents(noise, 1, seed) for seed in seeds])


def of_centre(noise: Noise, classes: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor | None]:
    """The :data:`CENTRE` latents, with all of the ``classes`` in turn as labels, whose mean w truncation goes by."""
    z = latents(noise, CENTRE, seed=0).to(device)
    return z, torch.arange(len(z), device=device) % classes if classes else None


def class_rows(classes: Sequence[int], n: int) -> Tensor:
    """Labels for at least ``n`` images: the ``classes`` in order, each repeated the same number of times."""
    return torch.tensor(classes).repeat_interleave(math.ceil(n / len(classes)))


def columns_of(labels: Tensor | None) -> int | None:
    """The images per row in a grid of :func:`class_rows`; None for fewer than two classes: then the grid decides."""
    several = labels is not None and bool((labels != labels[0]).any())
    return int((labels == labels[0]).sum()) if labels is not None and several else None


def labels_like(known: Tensor, n: int, seed: int) -> Tensor:
    """``n`` labels drawn from ``known``, the labels of the data. Metrics give them to a conditional generator."""
    return known[torch.randint(len(known), (n,), generator=torch.Generator().manual_seed(seed))]


def block_size(batch_size: int) -> int:
    """``batch_size`` rounded up to whole passes of :data:`TILE`."""
    return math.ceil(batch_size / TILE) * TILE


def _tile(pixels: int) -> int:
    """The number of images in a forward pass: :data:`TILE`, or a smaller power of two if the images are large."""
    return min(TILE, 1 << (max(1, LARGE // pixels).bit_length() - 1))


@torch.inference_mode()
def generate(
    generator: nn.Module,
    latents: Tensor,
    batch_size: int = TILE,
    finish: Callable[[Tensor], Tensor] = to_uint8,
    labels: Tensor | None = None,
) -> Iterator[Tensor]:
    """Images of ``latents`` ``[N, z_dim]`` as uint8 ``[<= batch_size, C, H, W]`` blocks on the CPU, in order.

    ``labels`` ``[N]`` are for a conditional generator. ``batch_size``, rounded up to whole passes, is the number of
    images per block. ``finish`` converts the generator's output to the returned images.

    The generator runs in eval mode and in the type of its weights, in passes of :data:`TILE`. An image therefore
    depends only on its latent and its place in the order, and not on ``batch_size``. The generator's mode is restored
    at the end.
    """
    weight, was_training = next(generator.parameters()), generator.training
    device, latents = weight.device, latents.to(weight.dtype)
    generator.eval()
    try:
        inputs = [latents] if labels is None else [latents, labels]
        tile = _tile(generator(*(values[:1].to(device) for values in inputs))[0, 0].numel())
        for block in zip(*(values.split(block_size(batch_size)) for values in inputs), strict=True):
            images = []
            for parts in zip(*(values.split(tile) for values in block), strict=True):
                n = len(parts[0])
                padded = (torch.cat([part, part.new_zeros(tile - n, *part.shape[1:])]) for part in parts)
                images.append(finish(generator(*(part.to(device) for part in padded)))[:n].cpu())
            yield torch.cat(images)
    finally:
        generator.train(was_training)


@torch.inference_mode()
def judge(discriminator: nn.Module, examples: Tensor, labels: Tensor | None = None) -> Tensor:
    """The logits that ``discriminator`` gives ``examples``, as networks take them: float32 ``[N]`` on the CPU.

    It runs in eval mode and in the type of its weights, in passes of :data:`TILE`. Its mode is restored at the end.
    """
    weight, was_training = next(discriminator.parameters()), discriminator.training
    inputs = [examples.to(weight.dtype)] if labels is None else [examples.to(weight.dtype), labels]
    discriminator.eval()
    try:
        passes = zip(*(values.split(TILE) for values in inputs), strict=True)
        return torch.cat([discriminator(*(part.to(weight.device) for part in parts)).float().cpu() for parts in passes])
    finally:
        discriminator.train(was_training)


def generate_points(generator: nn.Module, latents: Tensor, batch_size: int = TILE) -> Tensor:
    """Points of ``latents`` ``[N, z_dim]``, all in one tensor, float32 ``[N, d]``: made as :func:`generate` does."""
    return torch.cat(list(generate(generator, latents, batch_size, finish=Tensor.float)))
