"""Where a user's images lie: folders and zip files, walked once. Whatever is left out is counted by its reason."""

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from gan_cli.data.decode import HEIC, SUFFIXES, Unreadable, described, opened
from gan_cli.errors import UserError, one_line

# What systems leave in folders, and no person calls a file.
CLUTTER = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})


@dataclass(frozen=True)
class File:
    """A file that may be an image: its ``name`` below the root, with ``/``, and a stamp of its state."""

    name: str
    stamp: str
    read: Callable[[], bytes]

    def content(self) -> bytes:
        """The file's bytes. Raises Unreadable."""
        try:
            return self.read()
        except Exception as error:  # a zip may be damaged, encrypted, of an unknown kind
            raise Unreadable(described(error)) from error


@dataclass(frozen=True)
class Found:
    """The files that may be images, in the order of their names, those named as ``metadata``, and a count of others."""

    files: Sequence[File]
    metadata: Sequence[File]
    others: Counter[str]


def find(roots: Sequence[Path], formats: Sequence[str], metadata: Collection[str]) -> Found:
    """All files below ``roots``, which are folders or zip files, read as if their contents lay side by side.

    A file may be an image if its suffix is that of one of Pillow's ``formats``, or if it has none and its content is an
    image. Dot files, dot folders and the clutter of systems are passed over in silence. ``metadata`` are names of files
    that are no images. A run folder of gan-train counts as one.
    """
    suffixes = SUFFIXES | HEIC if "HEIF" in formats else SUFFIXES
    files: list[File] = []
    named: list[File] = []
    others: Counter[str] = Counter()
    for root in roots:
        found = _zipped(root) if root.is_file() else _walked(root, others)
        for file in sorted(found, key=lambda file: file.name.split("/")):
            path = PurePosixPath(file.name)
            suffix = path.suffix.lower()
            if any(part.startswith(".") or part.lower() in CLUTTER for part in path.parts):
                continue
            if path.name in metadata:
                named.append(file)
            elif suffix in suffixes or (not suffix and _is_image(file, formats)):
                files.append(file)
            else:
                others[suffix or "without a suffix"] += 1
    return Found(files, named, others)


def _is_image(file: File, formats: Sequence[str]) -> bool:
    try:
        # TGA has no signature: any file could be one.
        opened(file.content(), [name for name in formats if name != "TGA"])
    except Unreadable:
        return False
    return True


def _walked(top: Path, others: Counter[str]) -> Iterator[File]:
    """The files below the folder ``top``. Links to folders are followed, but no folder is visited twice."""

    def closed(error: OSError) -> None:
        others["unreadable folder"] += 1

    visited = set()
    for here, folders, names in os.walk(top, followlinks=True, onerror=closed):
        status = os.stat(here)
        identity = status.st_dev, status.st_ino
        if identity in visited:
            folders.clear()
            continue
        visited.add(identity)
        if "checkpoints" in folders and "config.yaml" in names:
            folders.clear()
            others["run folder"] += 1
            continue
        # Sorted, so that a folder with two paths is always found by the same path.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(here, name)
            yield _on_disk(path, path.relative_to(top).as_posix())


def _on_disk(path: Path, name: str) -> File:
    try:
        status = os.stat(path)
    except PermissionError:
        return File(name, "", partial(_nothing, "without rights"))
    except OSError:  # a link to nowhere
        return File(name, "", partial(_nothing, "no file"))
    if not stat.S_ISREG(status.st_mode):  # to open a FIFO would wait for ever
        return File(name, "", partial(_nothing, "no file"))
    return File(name, f"{status.st_size} {status.st_mtime_ns}", path.read_bytes)


def _nothing(reason: str) -> bytes:
    raise Unreadable(reason)


def _zipped(path: Path) -> Iterator[File]:
    """The files in the zip file ``path``. UserError if it is none."""
    try:
        archive = zipfile.ZipFile(path)  # closed with the last file that refers to it
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"dataset.root={path} is no zip file that can be read: {one_line(error)}") from error
    for entry in archive.infolist():
        if not entry.is_dir():
            yield File(entry.filename, f"{entry.file_size} {entry.CRC}", partial(_entry, archive, entry))


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > 2**31:  # a zip bomb: its own directory says how large it gets
        raise Unreadable(f"too large, {entry.file_size / 1e9:.0f} GB")
    with archive.open(entry) as file:
        return file.read(entry.file_size + 1)
