"""A folder of the user's images: any tree, any sizes, any modes."""

import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gan_cli.data import LARGEST_SIZE, Dataset
from gan_cli.data.cache import images_of
from gan_cli.data.fingerprint import of_paths
from gan_cli.errors import UserError, printable

log = logging.getLogger(__name__)

DECODER = 1  # raise it when the functions below decode a file to different pixels: then caches are made anew

# Pillow chooses a reader by a file's first bytes, not by its suffix. Some of its readers are dangerous (EPS runs
# Ghostscript), so only these formats are allowed. TGA has no signature and comes last.
WANTED = ("BMP", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP", "AVIF", "TGA")
SUFFIXES = {suffix for suffix, name in Image.registered_extensions().items() if name in WANTED}
FORMATS = [name for name in WANTED if name in Image.OPEN]  # not every Pillow has AVIF; the JPEG reader also reads MPO


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """``image`` in mode L (1 channel) or RGB (3): 16-bit values are scaled to 8 bits, transparency becomes white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # Pillow's own conversion clips values at 255: a 16-bit image turns white, a float image in [0, 1] black.
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
        )  # a JPEG decodes at 1/2, 1/4 or 1/8 if that is large enough
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
        # Sorted, so that a folder with two paths is always found by the same path.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in names if os.path.splitext(name)[1].lower() in SUFFIXES)


def _try_read(path: Path, size: int, channels: int) -> np.ndarray | None:
    """:func:`read_image`, or None for a file that isn't a whole image."""
    try:
        return read_image(path, size, channels) if path.is_file() else None  # opening a FIFO would wait for ever
    except Exception:  # a damaged file can make Pillow raise anything: struct.error, TypeError, …
        return None


def _key(paths: list[Path]) -> str:
    """A digest of everything that decides the decoded images: the files' paths, sizes and times, and the decoder."""
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

    Files are sorted by path. If every file lies in a subfolder and there are two subfolders or more, the subfolders are
    the classes. Files are decoded once, into a file of the cache folder, which is mapped into memory. They are decoded
    again when a file is changed, added or removed. One warning counts and names unreadable files. UserError if ``root``
    is not a folder or contains no readable image.
    """
    if size < 1:
        raise UserError(f"dataset.size={size} is too small: at least 1")
    if size > LARGEST_SIZE:
        raise UserError(f"dataset.size={size} is too large: at most {LARGEST_SIZE}")
    if channels not in (1, 3):
        raise UserError(f"dataset.channels={channels}: choose 1 (grey) or 3 (colour)")
    if root is None:
        raise UserError("dataset=folder needs dataset.root=PATH, a folder of images")
    top = Path(os.path.abspath(os.path.expanduser(root)))  # unlike Path.expanduser, it accepts unknown user names
    if not top.is_dir():
        raise UserError(f"dataset.root={root} is not a folder; give the folder that holds your images")
    paths = sorted(image_files(top))
    if not paths:
        raise UserError(f"no image files below {top}; it may be the wrong folder")
    # One cache entry for each folder and shape: a changed folder replaces its old entry.
    name = f"{hashlib.sha256(os.fsencode(top)).hexdigest()[:16]}-{size}x{size}x{channels}"
    with warnings.catch_warnings():
        # Up to twice its limit of pixels, Pillow only warns; here the warning becomes an error. Filters apply to the
        # whole process, so they are set here and not in the threads.
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
    kept = [path for path in paths if path not in skipped]
    return replace(_labelled(images, [path.relative_to(top) for path in kept]), fingerprint=of_paths(top, kept))


def _labelled(images: Tensor, paths: list[Path]) -> Dataset:
    """``images`` with the top folders of their ``paths`` as classes, if every path has one and there are at least 2."""
    folders = [path.parts[0] if len(path.parts) > 1 else "" for path in paths]
    names = sorted(set(folders))
    if "" in names or len(names) < 2:
        return Dataset(images)
    number = {name: i for i, name in enumerate(names)}
    return Dataset(images, torch.tensor([number[folder] for folder in folders]), tuple(map(printable, names)))
