"""Translating images with a trained generator: passes, modes and tiles. The same image gives the same bytes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

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
