"""Translating images with a trained generator: passes, modes and tiles. The same image gives the same bytes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gan_cli.sampling import TILE, to_uint8

MODES = ("train_stats", "eval")
LARGE = 2**20  # most pixels of an image in one pass: larger images are translated in tiles
OVERLAP = 64  # pixels that two tiles share


@torch.inference_mode()
def translate(generator: nn.Module, sources: Tensor, mode: str = "train_stats", seed: int = 0) -> Tensor:
    """The translations of ``sources``, uint8 ``[N, Cs, H, W]`` -> uint8 ``[N, C, H, W]``, on the CPU, in float32.

    Each image depends on itself and on ``seed`` alone. ``mode`` says how layers behave that differ between training
    and testing. ``train_stats`` is that of pix2pix (Isola et al. 2017, section 3.4): dropout stays on, as noise of
    ``seed``, and batch normalisation uses the statistics of the image itself. ``eval`` uses no dropout, and the
    averages over the training. A network without such layers gives the same in both. The generator's own mode is
    restored.
    """
    device = next(generator.parameters()).device
    with as_in_training(generator, mode == "train_stats") as alone, torch.random.fork_rng(devices=[]):
        outputs = []
        for images in sources.split(1 if alone else TILE):
            torch.manual_seed(seed)
            outputs.append(to_uint8(generator(images.to(device).float().div(127.5).sub(1))).cpu())
    return torch.cat(outputs)


@contextmanager
def as_in_training(generator: nn.Module, wanted: bool) -> Iterator[bool]:
    """``generator`` in eval mode; if ``wanted``, with dropout on and batch normalisation by the batch's own statistics.

    Yields whether such layers were found: then the images of a pass would influence each other. Running statistics
    never change.
    """
    modes = {module: module.training for module in generator.modules()}
    norms = [module for module in modes if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    drops = [module for module in modes if isinstance(module, nn.modules.dropout._DropoutNd)]
    tracked = {module: module.track_running_stats for module in norms}
    generator.eval()
    try:
        if wanted:
            for module in (*norms, *drops):
                module.training = True
            for module in norms:
                module.track_running_stats = False
        yield wanted and bool(norms or drops)
    finally:
        for module, training in modes.items():
            module.training = training
        for module, tracks in tracked.items():
            module.track_running_stats = tracks


def mode_for(batch_size: int) -> str:
    """The mode for a generator that was trained on batches of this size.

    Trained on one image at a time, as published, batch normalisation has seen the statistics of single images: then it
    is ``train_stats``. Statistics of larger batches are closer to their averages: then it is ``eval``.
    """
    return "train_stats" if batch_size == 1 else "eval"


def sides_for(sides: tuple[int, int], own: tuple[int, int], factor: int) -> tuple[int, int]:
    """The (height, width) at which an image of these ``sides`` is translated by a network trained at its ``own`` sides.

    The image has as many pixels as in training, in its own shape, each side rounded to a multiple of ``factor``.
    """
    scale = math.sqrt(math.prod(own) / math.prod(sides))
    height, width = (max(factor, round(side * scale / factor) * factor) for side in sides)
    return height, width


def translate_whole(
    generator: nn.Module, image: Tensor, mode: str, seed: int = 0, largest: int = LARGE, overlap: int = OVERLAP
) -> Tensor:
    """The translation of one image of any size, uint8 ``[Cs, H, W]`` -> uint8 ``[C, H, W]``, at its own resolution.

    The image is extended by its border pixels to sides that the network takes: multiples of its ``factor``. An image of
    more than ``largest`` pixels is translated in square tiles, which share ``overlap`` pixels and are blended there.
    """
    factor, (height, width) = getattr(generator, "factor", 1), image.shape[-2:]
    down, right = -height % factor, -width % factor
    padded = pad(image[None].float(), (0, right, 0, down), mode="replicate").byte()[0]
    if padded[0].numel() <= largest:
        return translate(generator, padded[None], mode, seed)[0, :, :height, :width]
    tile = max(factor, math.isqrt(largest) // factor * factor)
    shared = min(overlap, tile // 2)
    total, weights = torch.zeros(()), torch.zeros(padded.shape[-2:])
    for y in _starts(padded.shape[-2], tile, shared, factor):
        for x in _starts(padded.shape[-1], tile, shared, factor):
            made = translate(generator, padded[None, :, y : y + tile, x : x + tile], mode, seed)[0]
            if not total.dim():
                total = torch.zeros(len(made), *padded.shape[-2:])
            weight = torch.outer(*(_ramp(side, shared) for side in made.shape[-2:]))
            total[:, y : y + tile, x : x + tile] += made * weight
            weights[y : y + tile, x : x + tile] += weight
    return (total / weights).round().byte()[:, :height, :width]


def _starts(side: int, tile: int, overlap: int, factor: int) -> list[int]:
    """Where tiles begin along a ``side``, a multiple of ``factor``, so that all of it is covered."""
    if side <= tile:
        return [0]
    step = max(factor, (tile - overlap) // factor * factor)
    return [*range(0, side - tile, step), side - tile]


def _ramp(n: int, overlap: int) -> Tensor:
    """The weights of ``n`` pixels of a tile: rising over the first ``overlap``, falling over the last."""
    place = torch.arange(1, n + 1)
    return torch.minimum(place, n + 1 - place).clamp(max=max(1, overlap)).float()
