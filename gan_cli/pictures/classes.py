"""The picture of a classifier: the same images each time, in the rows of the classes that it finds."""

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor, nn

from gan_cli.metrics.adaptation import predicted
from gan_cli.pictures.grids import grid


def rows_of_classes(images: Tensor, classes: int, columns: int) -> Callable[[int, nn.Module], Image.Image]:
    """A function: step, classifier -> a grid with a row for each class: the first ``columns`` images taken for it.

    ``images`` are uint8 ``[N, C, H, W]``. A place without an image is white.
    """

    def draw(step: int, classifier: nn.Module) -> Image.Image:
        found = predicted(classifier, images)
        rows = torch.full((classes, columns, *images.shape[1:]), 255, dtype=torch.uint8)
        for row, class_ in zip(rows, range(classes), strict=True):
            taken = images[found == class_][:columns]
            row[: len(taken)] = taken
        return grid(rows.flatten(0, 1), columns)

    return draw
