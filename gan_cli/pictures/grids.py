"""From uint8 images to pictures: single images, grids, PNG files."""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from gan_cli.errors import UserError
from gan_cli.files import write_atomic
from gan_cli.sampling import columns_of, generate


def to_pil(image: Tensor) -> Image.Image:
    """A uint8 image ``[C, H, W]`` as a Pillow image: grey for one channel, RGB for three, RGBA for four."""
    array = image.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def over_checkerboard(image: Image.Image) -> Image.Image:
    """``image``; an RGBA image as RGB over a checkerboard, so that its transparency is seen."""
    if image.mode != "RGBA":
        return image
    rows, columns = torch.arange(image.height)[:, None] // CHECK, torch.arange(image.width) // CHECK
    squares = torch.where((rows + columns) % 2 == 0, 255, 204).to(torch.uint8)
    board = Image.fromarray(squares.numpy()).convert("RGBA")
    return Image.alpha_composite(board, image).convert("RGB")


GAP = 2  # pixels between the images of a grid
CHECK = 8  # pixels, the side of a square of the checkerboard


def _grid_layout(n: int, sides: Sequence[int], columns: int | None, scale: int) -> tuple[int, int, tuple[int, int]]:
    """The enlargement factor of a grid's images, the number of images per row, and the grid's (width, height)."""
    height, width = sides
    factor, columns = scale * max(1, 64 // height), columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    return factor, columns, (columns * (width * factor + GAP) + GAP, rows * (height * factor + GAP) + GAP)


def check_grid(n: int, image_shape: Sequence[int], columns: int | None = None, scale: int = 1) -> None:
    """UserError if ``n`` images of ``image_shape`` (C, H, W) make a picture larger than programs will open."""
    pixels = math.prod(_grid_layout(n, image_shape[1:], columns, scale)[2])
    if Image.MAX_IMAGE_PIXELS and pixels > Image.MAX_IMAGE_PIXELS:
        raise UserError(
            f"{n:,} images of {image_shape[1]}x{image_shape[2]} make a grid of {pixels:,} pixels, more than "
            f"{Image.MAX_IMAGE_PIXELS:,}: take fewer, or with gan-sample out=FILE.npz or a folder"
        )


def check_scale(image_shape: Sequence[int], scale: int) -> None:
    """UserError if ``scale`` makes one image of ``image_shape`` (C, H, W) larger than programs will open."""
    height, width = (side * scale for side in image_shape[1:])
    if Image.MAX_IMAGE_PIXELS and height * width > Image.MAX_IMAGE_PIXELS:
        raise UserError(
            f"scale={scale} makes images of {height}x{width}, more than {Image.MAX_IMAGE_PIXELS:,} pixels: "
            "choose a smaller scale"
        )


def enlarged(images: Tensor, factor: int) -> Tensor:
    """Images ``[..., H, W]`` enlarged by an integer ``factor``, without interpolation."""
    return images.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def grid(batch: Tensor, columns: int | None = None, scale: int = 1) -> Image.Image:
    """uint8 images ``[N, C, H, W]`` in a grid, row by row; small images are enlarged by an integer factor.

    ``columns`` is the number of images per row. Without it the grid is nearly square. All images are enlarged ``scale``
    times more.
    """
    factor, columns, size = _grid_layout(len(batch), batch.shape[2:], columns, scale)
    pictures = [over_checkerboard(to_pil(image)) for image in enlarged(batch, factor)]
    canvas = Image.new(pictures[0].mode, size)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        canvas.paste(picture, (GAP + column * (picture.width + GAP), GAP + row * (picture.height + GAP)))
    return canvas


def grid_of(latents: Tensor, labels: Tensor | None = None) -> Callable[[int, nn.Module], Image.Image]:
    """A function: step, generator -> the grid of its images of these ``latents`` ``[N, z_dim]`` and ``labels`` ``[N]``.

    If the labels have several classes, in order, the grid has one row for each class.
    """
    columns = columns_of(labels)
    return lambda step, generator: grid(torch.cat(list(generate(generator, latents, labels=labels))), columns)


def write_png(image: Image.Image, path: Path) -> None:
    """Write ``image`` to ``path`` as PNG, atomically."""
    buffer = io.BytesIO()
    image.save(buffer, "png")
    write_atomic(path, buffer.getvalue())
