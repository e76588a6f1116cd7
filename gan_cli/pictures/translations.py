"""The picture of a generator that translates: source, output and target of the same images, side by side."""

import math
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor, nn

from gan_cli.pictures.grids import check_grid, grid
from gan_cli.sampling import over_white
from gan_cli.translating import translate


def triples(sources: Tensor, outputs: Tensor, targets: Tensor | None) -> Image.Image:
    """Source, output and target (if there are targets) of each image beside each other: uint8 ``[N, C, H, W]`` each.

    Grey images and transparent ones are shown in colour, over white.
    """
    columns = [in_colour(images) for images in (sources, outputs, *([] if targets is None else [targets]))]
    rows = torch.stack(columns, dim=1).flatten(0, 1)
    return grid(rows, len(columns) * triples_a_row(len(sources), len(columns)))


def triples_a_row(n: int, width: int) -> int:
    """How many of ``n`` triples of ``width`` images stand in a row, so that the picture is nearly square."""
    return max(1, round(math.sqrt(n / width)))


def in_colour(images: Tensor) -> Tensor:
    """uint8 images ``[N, 1, 3 or 4, H, W]`` as RGB."""
    return over_white(images).expand(-1, 3, -1, -1)


def translations(sources: Tensor, targets: Tensor | None, mode: str) -> Callable[[int, nn.Module], Image.Image]:
    """A function: step, generator -> the picture of these images. UserError if the picture would be too large."""
    width = 2 + (targets is not None)
    check_grid(width * len(sources), sources.shape[1:], width * triples_a_row(len(sources), width))
    return lambda step, generator: triples(sources, translate(generator, sources, mode), targets)
