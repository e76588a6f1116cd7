"""Decode an image file into pixels of one size: upright, scaled to 8 bits, resized. A failure has a reason."""

import io
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from gan_cli.data import LARGEST_SIZE
from gan_cli.errors import UserError

DECODER = 3  # raise it when a file decodes to different pixels: then caches are made anew

# Pillow chooses a reader by a file's first bytes, not by its suffix. Some of its readers are dangerous (EPS runs
# Ghostscript), so only these formats are allowed. TGA has no signature and comes last.
WANTED = ("BMP", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP", "AVIF", "TGA")
SUFFIXES = frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in WANTED)
FORMATS = tuple(name for name in WANTED if name in Image.OPEN)  # not every Pillow has AVIF; the JPEG reader reads MPO
HEIC = frozenset({".heic", ".heif", ".hif"})
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by channels
FITS = ("crop", "stretch", "pad")
TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip  # by EXIF's orientation
LARGE = 40_000_000  # pixels; images above it are decoded one at a time, since each takes some hundred MB

_one_large = threading.Lock()
# Pillow refuses a PNG whose XMP or profile takes a megabyte unpacked, as Photoshop's may. It allows 64 MB in all.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


class Unreadable(Exception):
    """A file that gives no image. Its message is the reason, in a word or two."""


@dataclass(frozen=True)
class Target:
    """What each image becomes: its ``channels``, height and width, how it is fitted, and its range of values.

    ``fit`` is one of FITS. A range is the (lowest, highest) values, which become 0 and 255: ``shallow`` is that of
    images with 8 bits, ``whole`` and ``floating`` are those of deep images with whole and with floating numbers.
    ``explicit`` says that the user named the range.
    """

    channels: int
    height: int
    width: int
    fit: str = "crop"
    shallow: tuple[float, float] = (0, 255)
    whole: tuple[float, float] = (0, 65535)
    floating: tuple[float, float] = (0, 1)
    explicit: bool = False


def formats() -> tuple[str, ...]:
    """The formats that can be read here: FORMATS, and HEIF if pillow-heif is installed."""
    try:
        import pillow_heif
    except ImportError:
        return FORMATS
    pillow_heif.register_heif_opener()
    return (*FORMATS[:-1], "HEIF", FORMATS[-1])


def opened(content: bytes, formats: Sequence[str]) -> Image.Image:
    """The image in ``content``, not decoded yet. Raises Unreadable."""
    if not content:
        raise Unreadable("empty")
    try:
        return Image.open(io.BytesIO(content), formats=tuple(formats))
    except Exception as error:  # a damaged file can make Pillow raise anything: struct.error, TypeError, …
        raise Unreadable(_reason(error)) from error


def is_deep(image: Image.Image) -> bool:
    """Whether ``image`` has one channel of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def pixels(image: Image.Image, target: Target) -> np.ndarray:
    """uint8 ``[channels, height, width]`` of ``image``. Raises Unreadable."""
    try:
        if image.width * image.height > LARGE:
            with _one_large:
                return _pixels(image, target)
        return _pixels(image, target)
    except Exception as error:
        raise Unreadable(_reason(error)) from error


def _pixels(image: Image.Image, target: Target) -> np.ndarray:
    size = target.width, target.height
    longer = max(size)  # of either side, as EXIF may turn the image
    image.draft(MODES[min(target.channels, 3)], (longer, longer))  # a JPEG decodes at 1/2, 1/4 or 1/8 if that is enough
    fitted = _fitted(to_channels(upright(image), target), size, target.fit)
    return as_array(fitted)


def as_array(image: Image.Image) -> np.ndarray:
    """An image in mode L, RGB or RGBA as uint8 ``[C, H, W]``, which can be written to."""
    shaped = np.asarray(image).reshape(image.height, image.width, -1)
    return np.array(shaped.transpose(2, 0, 1), order="C")


def upright(image: Image.Image) -> Image.Image:
    """``image`` turned as its EXIF says. Damaged EXIF or XMP is ignored."""
    try:
        turn = TURNED.get(image.getexif().get(0x0112, 1))
    except Exception:  # Pillow raises many kinds; the pixels are sound all the same
        turn = None
    return image if turn is None else image.transpose(turn)


def to_channels(image: Image.Image, target: Target) -> Image.Image:
    """``image`` in mode L (1 channel), RGB (3) or RGBA (4). Without an alpha channel, transparency becomes white."""
    if is_deep(image):
        image = _scaled(image, target.floating if image.mode == "F" else target.whole)
    elif target.shallow != (0, 255):
        image = _stretched(image, target.shallow)
    if target.channels == 4:
        return image.convert("RGBA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(MODES[target.channels])


def _scaled(image: Image.Image, bounds: tuple[float, float]) -> Image.Image:
    """``image`` in 8 bits. Pillow's own conversion clips values at 255."""
    low, high = bounds
    values = (np.asarray(image).astype(np.float64) - low) * (255 / (high - low))
    return Image.fromarray(np.nan_to_num(values).round().clip(0, 255).astype(np.uint8))


def _stretched(image: Image.Image, bounds: tuple[float, float]) -> Image.Image:
    """An ``image`` of 8 bits with other values of its colours. Its transparency stays."""
    low, high = bounds
    ramp = ((np.arange(256) - low) * (255 / (high - low))).round().clip(0, 255).astype(int).tolist()
    if image.has_transparency_data:
        return image.convert("RGBA").point(3 * ramp + [*range(256)])
    return image.point(ramp) if image.mode == "L" else image.convert("RGB").point(3 * ramp)


def _fitted(image: Image.Image, size: tuple[int, int], fit: str) -> Image.Image:
    if fit == "stretch":
        return image.resize(size, Image.Resampling.BICUBIC)
    if fit == "pad":
        return ImageOps.pad(image, size, Image.Resampling.BICUBIC)  # black, or transparent, at two sides
    return ImageOps.fit(image, size, Image.Resampling.BICUBIC)


def _reason(error: Exception) -> str:
    """Why an image can't be read, in a word or two: a person can act on it."""
    text = str(error)
    if isinstance(error, Unreadable):
        return text
    if isinstance(error, PermissionError):
        return "without rights"
    if isinstance(error, Image.DecompressionBombError):
        counts = [int(number) for number in re.findall(r"\d{7,}", text)]
        return f"too large, {max(counts) / 1e6:,.0f} megapixels" if counts else "too large"
    if isinstance(error, MemoryError):
        return "too large"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if re.search("truncated|end of file", text, re.IGNORECASE) or isinstance(error, EOFError):
        return "cut off"
    return "damaged"


# The range of deep pixels.


def extremes(image: Image.Image) -> tuple[str, float, float]:
    """The kind of numbers in a deep ``image``, ``whole`` or ``floating``, and its lowest and highest finite value."""
    try:
        values = np.asarray(image)
    except Exception as error:
        raise Unreadable(_reason(error)) from error
    values = values[np.isfinite(values)]
    if values.size == 0:
        raise Unreadable("without a finite value")
    return "floating" if image.mode == "F" else "whole", float(values.min()), float(values.max())


def found_range(kind: str, values: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The range of a folder's deep images of one ``kind``, from the (lowest, highest) values of each of them.

    Whole numbers: 8, 12 or 16 bits, whichever is enough; a small range, as of label maps, or one with negative numbers
    is taken as it is. Floating numbers: 0 to 1, -1 to 1, or 0 to 255, whichever is enough; else as they are.
    """
    values = list(values)
    low, high = min(low for low, _ in values), max(high for _, high in values)
    candidates = [(0, 1), (-1, 1), (0, 255)] if kind == "floating" else [(0, 255), (0, 4095), (0, 65535)]
    if kind == "whole" and high < 64:
        candidates = []
    for lowest, highest in candidates:
        if lowest <= low and high <= highest:
            return float(lowest), float(highest)
    return (low, high) if high > low else (low, low + 1)


def asked_range(value: Any) -> tuple[float, float] | None:
    """The range that ``dataset.range`` names; None for ``auto``. UserError for anything else."""
    if value == "auto":
        return None
    if value in (8, 12, 16) and not isinstance(value, bool):
        return 0.0, float(2**value - 1)
    if (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
        and -1e30 < value[0] < value[1] < 1e30
    ):
        return float(value[0]), float(value[1])
    raise UserError(f"dataset.range={value} should be auto, 8, 12, 16 (bits) or [lowest,highest]")


def asked_size(value: Any) -> tuple[int, int]:
    """The (height, width) that ``dataset.size`` names: one number, or [height,width]. UserError for anything else."""
    sides = list(value) if isinstance(value, list | tuple) else [value, value]
    if len(sides) != 2 or not all(type(side) is int for side in sides):
        raise UserError(f"dataset.size={value} should be a whole number, or [height,width]")
    if min(sides) < 1:
        raise UserError(f"dataset.size={value} is too small: at least 1")
    if max(sides) > LARGEST_SIZE:
        raise UserError(f"dataset.size={value} is too large: at most {LARGEST_SIZE}")
    return sides[0], sides[1]


def described(error: Exception) -> str:
    """Why a file's bytes can't be had, from a disk or a zip file."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, PermissionError):
        return f"unreadable ({error.strerror})"
    if isinstance(error, NotImplementedError):
        return "packed by an unknown method"
    if isinstance(error, RuntimeError) and "encrypted" in str(error):
        return "encrypted"
    return _reason(error)
