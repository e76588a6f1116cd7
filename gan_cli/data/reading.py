"""From image files to decoded images, through the cache. The range of deep pixels is found first where needed."""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
from PIL import Image

from gan_cli.data import cache, decode, sources
from gan_cli.data.cache import Decoded, Images, Read
from gan_cli.data.decode import HEIC, Target, Unreadable
from gan_cli.data.sources import File, Found
from gan_cli.errors import UserError, printable

WIDE = 160  # letters of a list of classes or files in the line that says what was found

Pixels = Callable[[Image.Image, Target], np.ndarray]
read_image: Pixels = decode.pixels  # replaced by tests


@dataclass(frozen=True)
class Column:
    """Files that become images of one ``target``. ``pixels`` decodes an opened image, by default :func:`read_image`."""

    files: Sequence[File]
    target: Target
    pixels: Pixels | None = None


def find(roots: Sequence[Path], metadata: Collection[str] = ()) -> Found:
    """All files below ``roots`` that may be images of a kind that can be read here: see :func:`sources.find`."""
    return sources.find(roots, decode.formats(), metadata)


def read_images(
    files: Sequence[File],
    columns: Sequence[Column],
    joined: Callable[[Sequence[Read]], Read],
    shape: tuple[int, int, int],
    kind: Sequence[str],
    roots: Sequence[Path],
) -> Images:
    """The decoded images of ``files``, each of ``shape`` (C, H, W), from the cache or into it.

    ``joined`` makes the reader of a file from the readers of the ``columns``. A folder has one column; pairs have a
    column for the sources and one for the targets. ``kind`` are the settings that distinguish entries of the cache with
    the same ``roots`` and shape.
    """
    formats = decode.formats()
    settings = [str(column.target) for column in columns]
    digest = hashlib.sha256(f"{decode.DECODER} {formats} {settings} {list(kind)}".encode())
    for file in files:
        digest.update(os.fsencode(file.name) + f"\0{file.stamp}\0".encode())
    # One cache entry for each folder and kind of images: a changed folder replaces its old entry.
    place = hashlib.sha256("\0".join([*map(str, roots), *kind]).encode("utf-8", "surrogateescape")).hexdigest()
    channels, height, width = shape
    arguments = shape, f"{place[:16]}-{height}x{width}x{channels}", digest.hexdigest(), roots
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images and damaged EXIF: what is not read is counted by the caller
        try:
            asked = "; ".join(dict.fromkeys(_note(column.target) for column in columns if column.target.explicit))
            return cache.images_of(files, joined([_reader(column, formats) for column in columns]), *arguments, asked)
        except _Deep:
            found = [_surveyed(column, formats) for column in columns]
            note = "; ".join(dict.fromkeys(note for _, note in found if note))
            return cache.images_of(files, joined([read for read, _ in found]), *arguments, note)


def _note(target: Target) -> str:
    """The range that the user named."""
    low, high = target.whole
    return f"{'pixels' if target.shallow == target.whole else 'deep pixels'} from {low:g} to {high:g}, as asked"


class _Deep(BaseException):
    """The range of deep pixels must be known first. A BaseException: no reader of damaged files may catch it."""


def _reader(column: Column, formats: Sequence[str], surveyed: bool = False) -> Read:
    target, pixels = column.target, column.pixels or read_image

    def read(file: File) -> Decoded:
        content = file.content()
        with decode.opened(content, formats) as image:
            if not (surveyed or target.explicit) and decode.is_deep(image):
                decode.extremes(image)  # a damaged image is no reason for a survey
                raise _Deep
            return Decoded(pixels(image, target), hashlib.sha256(content).digest()[:8])

    return read


def _surveyed(column: Column, formats: Sequence[str]) -> tuple[Read, str]:
    """A reader that knows the range of the deep pixels of all files of ``column``, and a note of the range."""
    target = column.target
    values: dict[str, list[tuple[float, float]]] = {}
    for file in column.files:
        try:
            with decode.opened(file.content(), formats) as image:
                if decode.is_deep(image):
                    kind, low, high = decode.extremes(image)
                    values.setdefault(kind, []).append((low, high))
        except Unreadable:
            continue  # counted when it is decoded
    ranges = {kind: decode.found_range(kind, found) for kind, found in values.items()}
    shown = ", ".join(f"{low:g} to {high:g}" for low, high in ranges.values())
    known = replace(target, whole=ranges.get("whole", target.whole), floating=ranges.get("floating", target.floating))
    return _reader(replace(column, target=known), formats, surveyed=True), f"deep pixels from {shown}" if shown else ""


def target_of(size: object, channels: object, fit: object, range: object) -> Target:
    """The target that these options of a dataset name. UserError for an impossible value."""
    height, width = decode.asked_size(size)
    if channels not in decode.MODES or isinstance(channels, bool):
        raise UserError(f"dataset.channels={channels}: choose 1 (grey), 3 (colour) or 4 (colour and transparency)")
    if fit not in decode.FITS:
        raise UserError(f"dataset.fit={fit}: choose from {', '.join(decode.FITS)}")
    target, bounds = Target(int(channels), height, width, str(fit)), decode.asked_range(range)
    if bounds is None:
        return target
    shallow = target.shallow if isinstance(range, int) else bounds  # bits are those of deep pixels
    return replace(target, shallow=shallow, whole=bounds, floating=bounds, explicit=True)


def roots_of(given: object, key: str, dataset: str, npz: bool = False) -> list[Path]:
    """The absolute paths that ``dataset.key`` names: folders and zip files, or one ``.npz`` file. UserError for others.

    ``dataset`` is the choice that needs the key.
    """
    words = [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else []
    if not words or not all(isinstance(word, str) for word in words):
        files = ", a .zip file or an .npz file" if npz else " or a .zip file"
        raise UserError(f"dataset={dataset} needs dataset.{key}=PATH, a folder of images{files}")
    paths = [Path(os.path.abspath(os.path.expanduser(word))) for word in words]  # it accepts unknown user names
    for word, path in zip(words, paths, strict=True):
        kinds = (".zip", ".npz") if npz and len(paths) == 1 else (".zip",)
        if not path.is_dir() and not (path.is_file() and path.suffix.lower() in kinds):
            raise UserError(
                f"dataset.{key}={word} is not a folder, nor a {' or '.join(kinds)} file; give what holds your images"
            )
    return paths


def image_files(word: str) -> list[File]:
    """The image files of ``input=word``: a file, a folder or a zip file. UserError if there are none."""
    given = Path(os.path.abspath(os.path.expanduser(word)))
    if not given.exists():
        raise UserError(f"input={word}: no such file or folder")
    if given.is_file() and given.suffix.lower() != ".zip":
        return [File(given.name, "", given.read_bytes)]
    found = find([given])
    if not found.files:
        raise UserError(f"no image files in input={word}" + told(counted(found.others)))
    return list(found.files)


def told(passed_over: Sequence[str]) -> str:
    """What was passed over, as the end of a line."""
    return f"; passed over: {', '.join(passed_over)}" if passed_over else ""


def several(n: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def few(words: Sequence[str], most: int) -> str:
    """At most ``most`` of the ``words``, and at most :data:`WIDE` letters, but one word at least."""
    ends = list(accumulate(len(word) + 2 for word in words))
    most = max(1, min(most, sum(end <= WIDE for end in ends)))
    return ", ".join(words if len(words) <= most else [*words[:most], "…"])


def counted(others: Counter[str]) -> list[str]:
    """``6 .heic, 2 .txt``: the files that are no images, by suffix, the most frequent first."""
    frequent = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    rows = [several(n, kind) if kind.endswith(" folder") else f"{n:,} {printable(kind)}" for kind, n in frequent]
    rows = [f"{row} (pip install 'gan-cli[heic]')" if row.endswith(tuple(HEIC)) else row for row in rows]
    return rows if len(rows) <= 6 else [*rows[:5], f"{sum(n for _, n in frequent[5:]):,} of other kinds"]


def reasons(unreadable: Mapping[File, str]) -> list[str]:
    """``2 cut off (a.jpg, b.png)``: the unreadable files by their reason."""
    by_reason: dict[str, list[str]] = {}
    for file, reason in unreadable.items():
        by_reason.setdefault(reason, []).append(printable(file.name))
    rows = [f"{len(names):,} {reason} ({few(names, 5)})" for reason, names in by_reason.items()]
    others = sum(map(len, list(by_reason.values())[5:]))
    return rows if len(rows) <= 6 else [*rows[:5], f"{others:,} for other reasons"]
