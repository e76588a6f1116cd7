"""A folder of images of one's own: any tree, any sizes, any modes."""

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gan_cli.data import LARGEST_SIZE, Dataset
from gan_cli.data.cache import images_of
from gan_cli.errors import UserError, printable

log = logging.getLogger(__name__)

DECODER = (
    1  # to be raised when the functions below make other pixels of a file than they did: then caches are made anew
)

# Pillow goes by what a file begins with, not by its suffix, and some of its readers are dangerous (EPS: it runs
# Ghostscript): so the formats are named. TGA, which has no signature, comes last.
WANTED = ("BMP", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP", "AVIF", "TGA")
SUFFIXES = {suffix for suffix, name in Image.registered_extensions().items() if name in WANTED}
FORMATS = [name for name in WANTED if name in Image.OPEN]  # not every Pillow has AVIF; the JPEG reader reads MPO, too


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """``image`` in mode L (1 channel) or RGB (3): 16-bit values scaled to 8, transparency laid on white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # Pillow's own conversion cuts values off at 255: a 16-bit photograph turns white, a float one in [0, 1] black.
        values = np.asarray(image).astype(np.float64)
        full = 1 if image.mode == "F" and values.max() <= 1 else 65535 if image.mode != "F" else 255
        image = Image.fromarray((values * 255 / full).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def read_image(path: Path, size: int, channels: int) -> np.ndarray:
    """One image file -> uint8 ``[channels, size, size]``: upright, resized by its shorter side, centre-cropped."""
    with Image.open(path, formats=FORMATS) as image:
        image.draft(
            "RGB" if channels == 3 else "L", (size, size)
        )  # a JPEG decodes at 1/2, 1/4 or 1/8 where that will do
        upright = ImageOps.exif_transpose(image)
        square = ImageOps.fit(to_channels(upright, channels), (size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1))


def image_files(top: Path) -> Iterator[Path]:
    """Files below ``top`` with an image's suffix, but not in hidden folders, nor in run folders of gan-train.

    Symbolic links to folders are followed, but no folder is visited twice.
    """
    visited = set()
    for here, folders, names in os.walk(top, followlinks=True):
        status = os.stat(here)
        identity = status.st_dev, status.st_ino
        if identity in visited or ("checkpoints" in folders and "config.yaml" in names):
            folders.clear()
            continue
        visited.add(identity)
        # Sorted, so that a folder with two paths is always found by the same one.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in names if os.path.splitext(name)[1].lower() in SUFFIXES)


def _try_read(path: Path, size: int, channels: int) -> np.ndarray | None:
    """:func:`read_image`, or None for a file that isn't a whole image."""
    try:
        return read_image(path, size, channels) if path.is_file() else None  # opening a FIFO would wait for ever
    except Exception:  # Pillow lets whatever a damaged file trips it up with through: struct.error, TypeError, …
        return None


def _key(paths: list[Path]) -> str:
    """A digest of what the decoded images depend on: the files' paths, sizes and times, and how they are decoded."""
    digest = hashlib.sha256(f"{DECODER} {FORMATS}".encode())
    for path in paths:
        try:
            status = os.stat(path)
            stamp = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:  # a link to nowhere
            stamp = ""
        digest.update(os.fsencode(path) + f"\0{stamp}\0".encode())
    return digest.hexdigest()


def folder(root: str | None, size: int = 64, channels: int = 3) -> Dataset:
    """Every image file below ``root``, at ``size`` x ``size`` with 1 (grey) or 3 (RGB) ``channels``, uint8.

    Files are taken in the order of their paths; where all of them lie in subfolders, two or more, these are the
    classes. They are decoded once, into a file of the cache folder that is mapped
    into memory, and again when one of them has changed, come or gone. Unreadable ones are counted and named in one
    warning; UserError if ``root`` is no folder or holds no readable image.
    """
    if size < 1:
        raise UserError(f"dataset.size={size} is too small: at least 1")
    if size > LARGEST_SIZE:
        raise UserError(f"dataset.size={size} is too large: at most {LARGEST_SIZE}")
    if channels not in (1, 3):
        raise UserError(f"dataset.channels={channels}: choose 1 (grey) or 3 (colour)")
    if root is None:
        raise UserError("dataset=folder needs dataset.root=PATH, a folder of images")
    top = Path(os.path.abspath(os.path.expanduser(root)))  # unlike Path.expanduser, it bears names of no user
    if not top.is_dir():
        raise UserError(f"dataset.root={root} is not a folder; give the folder that holds your images")
    paths = sorted(image_files(top))
    if not paths:
        raise UserError(f"no image files below {top}; it may be the wrong folder")
    # One entry for each folder and shape: a folder that has changed replaces its own.
    name = f"{hashlib.sha256(os.fsencode(top)).hexdigest()[:16]}-{size}x{size}x{channels}"
    with warnings.catch_warnings():
        # Pillow only warns of up to twice the pixels that it takes for safe. The filters are the whole process's, so
        # they are set here and not in the threads.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        images, unreadable = images_of(
            paths, lambda path: _try_read(path, size, channels), (channels, size, size), name, _key(paths)
        )
    if len(images) == 0:
        raise UserError(f"none of the {len(paths)} image files below {top} can be read")
    if unreadable:
        names = ", ".join(printable(str(path.relative_to(top))) for path in unreadable[:5])
        more = ", …" if len(unreadable) > 5 else ""
        log.warning(
            "skipped %d of %d files that are no readable images: %s%s", len(unreadable), len(paths), names, more
        )
    skipped = set(unreadable)
    return _labelled(images, [path.relative_to(top) for path in paths if path not in skipped])


def _labelled(images: Tensor, paths: list[Path]) -> Dataset:
    """``images`` with the topmost of their ``paths``' folders as classes, where all of them lie in two or more."""
    folders = [path.parts[0] if len(path.parts) > 1 else "" for path in paths]
    names = sorted(set(folders))
    if "" in names or len(names) < 2:
        return Dataset(images)
    number = {name: i for i, name in enumerate(names)}
    return Dataset(images, torch.tensor([number[folder] for folder in folders]), tuple(map(printable, names)))
