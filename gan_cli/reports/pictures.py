"""Pictures of a run folder as WebP data URIs, small enough to travel in one page."""

import base64
import functools
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

LARGEST = 20_000_000  # pixels of a picture that is opened
FORMATS = ("PNG", "WEBP", "GIF")


class Picture(NamedTuple):
    """A picture in a page: its ``data:`` URI, and its width and height there."""

    uri: str
    width: int
    height: int


def inlined(path: Path, side: int, quality: int = 80) -> Picture | None:
    """The picture at ``path``, its longer side at most ``side``. None if it is missing, damaged or too large."""
    try:
        return _encoded(path, path.stat().st_mtime_ns, side, quality)
    except OSError:
        return None


@functools.lru_cache(maxsize=256)  # a page that is written again has most of its pictures already
def _encoded(path: Path, changed: int, side: int, quality: int) -> Picture | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow warns of pictures that decompress to very many pixels
            with Image.open(path, formats=FORMATS) as file:
                if file.width * file.height > LARGEST:
                    return None
                picture = file.convert("RGBA" if "A" in file.getbands() else "RGB")
            picture.thumbnail((side, side))
            buffer = io.BytesIO()
            picture.save(buffer, "webp", quality=quality)
    except (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError, KeyError):
        return None
    uri = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(uri, picture.width, picture.height)


def thinned(paths: Sequence[Path], most: int) -> list[Path]:
    """At most ``most`` of ``paths``, evenly spread, with the first and the last."""
    if len(paths) <= most:
        return list(paths)
    return [paths[round(i * (len(paths) - 1) / (most - 1))] for i in range(most)]


def inlined_within(paths: Sequence[Path], most: int, side: int, budget: int) -> list[tuple[Path, Picture]]:
    """At most ``most`` of the pictures at ``paths``, in their order, of ``budget`` characters in all.

    Every second one is left out until the others fit, but not the last.
    """
    found = [(path, picture) for path in thinned(paths, most) if (picture := inlined(path, side))]
    while len(found) > 1 and sum(len(picture.uri) for _, picture in found) > budget:
        found = found[(len(found) + 1) % 2 :: 2]
    return found
