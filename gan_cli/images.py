"""From generated tensors to pixels: uint8 images, grids, files and the animation of a run."""

import io
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor, nn

from gan_cli.errors import UserError, one_line
from gan_cli.files import write_atomic
from gan_cli.noise import sample_noise

# Every forward pass of sampling has exactly this many latents, the last one padded: a batch of another size may be
# rounded differently, and the same seed would not give the same bytes.
TILE = 32
LARGE = 2**21  # pixels in a pass, and no more unless a single image has more: what a network's layers take goes by them

log = logging.getLogger(__name__)


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] -> uint8, rounded to the nearest of the 256 levels."""
    return images.float().add(1).mul(127.5).round_().clamp_(0, 255).byte()


def latents(prior: str, n: int, z_dim: int, seed: int) -> Tensor:
    """The first ``n`` latents of ``seed``, ``[n, z_dim]`` on the CPU: the same ones however many are asked for."""
    rng = torch.Generator().manual_seed(seed)
    tiles = [sample_noise(prior, TILE, z_dim, rng=rng) for _ in range(math.ceil(n / TILE))]
    return torch.cat(tiles)[:n]


def class_rows(classes: Sequence[int], n: int) -> Tensor:
    """Labels for ``n`` images or a few more: the ``classes`` one after the other, each for as many images."""
    return torch.tensor(classes).repeat_interleave(math.ceil(n / len(classes)))


def columns_of(labels: Tensor | None) -> int | None:
    """How many images a row has in a grid of :func:`class_rows`; None where that is for the grid to say."""
    several = labels is not None and bool((labels != labels[0]).any())
    return int((labels == labels[0]).sum()) if labels is not None and several else None


def labels_like(known: Tensor, n: int, seed: int) -> Tensor:
    """``n`` labels drawn from those of the data, ``known``: what a conditional generator is asked for in tests."""
    return known[torch.randint(len(known), (n,), generator=torch.Generator().manual_seed(seed))]


def block_size(batch_size: int) -> int:
    """``batch_size`` rounded up to whole passes of :data:`TILE`."""
    return math.ceil(batch_size / TILE) * TILE


def _tile(pixels: int) -> int:
    """How many images a forward pass has: :data:`TILE`, and a smaller power of two where they are large."""
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

    ``labels`` ``[N]`` are for a conditional generator.

    The generator runs in eval mode and float32, in passes of :data:`TILE`, so that an image depends on its latent and
    its place alone, not on ``batch_size``, which is how many are given out at a time (rounded up to whole passes). The
    generator's mode is put back at the end. ``finish`` makes of the generator's output what is given out.
    """
    device = next(generator.parameters()).device
    was_training = generator.training
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


def generate_points(generator: nn.Module, latents: Tensor, batch_size: int = TILE) -> Tensor:
    """Points of ``latents`` ``[N, z_dim]``, float32 ``[N, d]``: as :func:`generate` makes images, and all at once."""
    return torch.cat(list(generate(generator, latents, batch_size, finish=Tensor.float)))


def to_pil(image: Tensor) -> Image.Image:
    """A uint8 image ``[C, H, W]`` as a Pillow image: grey for one channel, RGB for three."""
    array = image.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


GAP = 2  # pixels between the images of a grid


def _grid_layout(n: int, sides: Sequence[int], columns: int | None) -> tuple[int, int, tuple[int, int]]:
    """How much larger the images of a grid are drawn, how many in a row, and the grid's (width, height)."""
    height, width = sides
    factor, columns = max(1, 64 // height), columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    return factor, columns, (columns * (width * factor + GAP) + GAP, rows * (height * factor + GAP) + GAP)


def check_grid(n: int, image_shape: Sequence[int], columns: int | None = None) -> None:
    """UserError if ``n`` images of ``image_shape`` (C, H, W) make a picture larger than programs will open."""
    pixels = math.prod(_grid_layout(n, image_shape[1:], columns)[2])
    if Image.MAX_IMAGE_PIXELS and pixels > Image.MAX_IMAGE_PIXELS:
        raise UserError(
            f"{n:,} images of {image_shape[1]}x{image_shape[2]} make a grid of {pixels:,} pixels, more than "
            f"{Image.MAX_IMAGE_PIXELS:,}: take fewer, or with gan-sample out=FILE.npz or a folder"
        )


def grid(batch: Tensor, columns: int | None = None) -> Image.Image:
    """uint8 images ``[N, C, H, W]`` in a grid, row by row; small ones enlarged by a whole factor.

    Near-square where ``columns``, the images in a row, is not given.
    """
    factor, columns, size = _grid_layout(len(batch), batch.shape[2:], columns)
    enlarged = batch.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    pictures = [to_pil(image) for image in enlarged]
    canvas = Image.new(pictures[0].mode, size)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        canvas.paste(picture, (GAP + column * (picture.width + GAP), GAP + row * (picture.height + GAP)))
    return canvas


def grid_of(latents: Tensor, labels: Tensor | None = None) -> Callable[[int, nn.Module], Image.Image]:
    """A function: step, generator -> the grid of its images of these ``latents`` ``[N, z_dim]`` and ``labels`` ``[N]``.

    With labels of several classes, one after the other, it has a row for each.
    """
    columns = columns_of(labels)
    return lambda step, generator: grid(torch.cat(list(generate(generator, latents, labels=labels))), columns)


def write_png(image: Image.Image, path: Path) -> None:
    """Write ``image`` to ``path`` as PNG, atomically."""
    buffer = io.BytesIO()
    image.save(buffer, "png")
    write_atomic(path, buffer.getvalue())


def remove_after(folder: Path, step: int) -> None:
    """Remove the grids in ``folder`` that a run wrote after ``step``: it has gone back to there."""
    for path in folder.glob("*.png"):
        if path.stem.isdecimal() and int(path.stem) > step:
            path.unlink()


def write_npz(samples: Tensor, path: Path, labels: Tensor | None = None) -> None:
    """Write samples to ``path`` as a compressed ``.npz``, atomically.

    uint8 images ``[N, C, H, W]`` under the key ``images``, NHWC, their classes, if any, under ``labels``; points ``[N,
    d]`` under the key ``samples``.
    """
    buffer = io.BytesIO()
    if samples.dim() == 2:
        np.savez_compressed(buffer, samples=samples.numpy())
    else:
        classes = {} if labels is None else {"labels": labels.numpy()}
        pixels = samples.permute(0, 2, 3, 1).contiguous().numpy()
        np.savez_compressed(buffer, allow_pickle=False, images=pixels, **classes)
    write_atomic(path, buffer.getvalue())


def write_animation(frames: list[Path], stem: Path) -> Path | None:
    """An animation of picture files in their order: ``stem``.webp, or .gif where Pillow can't write WebP.

    Long runs are thinned to about 100 frames; the last one stays for two seconds. None where there are no frames.
    """
    if not frames:
        return None
    step = math.ceil(len(frames) / 100)
    chosen = frames[::step] if frames[::step][-1] == frames[-1] else [*frames[::step], frames[-1]]
    first, *rest = chosen
    suffix = "webp" if features.check("webp") else "gif"
    buffer = io.BytesIO()
    durations = [150] * len(rest) + [2000]
    others = map(_frame, rest)  # opened one after another
    _frame(first).save(
        buffer, suffix, save_all=True, append_images=others, duration=durations, loop=0, **_QUALITY[suffix]
    )
    path = stem.with_suffix(f".{suffix}")
    write_atomic(path, buffer.getvalue())
    return path


def write_run_animation(run_dir: Path) -> None:
    """``training.webp`` (or ``.gif``) of a run folder, from its sample grids; a warning instead if one is damaged."""
    grids = sorted(path for path in (run_dir / "samples").glob("*.png") if path.stem.isdecimal())
    try:
        write_animation(grids, run_dir / "training")
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's
        log.warning("no animation: a picture in %s is damaged (%s)", run_dir / "samples", one_line(error))


def _frame(path: Path) -> Image.Image:
    """A picture file in RGB, its longer side 1024 at most."""
    with Image.open(path) as picture:
        frame = picture.convert("RGB")
    frame.thumbnail((1024, 1024))
    return frame


_QUALITY: dict[str, dict[str, int]] = {"webp": {"quality": 80, "method": 2}, "gif": {}}
