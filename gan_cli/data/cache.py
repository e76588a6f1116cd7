"""A cache of decoded images: each file is made once, then every later run and other process maps it into memory.

An entry is a safetensors file with ``images``, uint8 ``[N, C, H, W]``, and ``facts``, a row of bytes for each image
file: whether the file is readable, its brightest value, and its digest. The entry's metadata have the ``key`` of the
image files. An entry is only data: nothing in it is executed.
"""

import errno
import json
import logging
import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import compress, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from gan_cli.data.decode import Unreadable
from gan_cli.data.download import cache_folder
from gan_cli.data.sources import File
from gan_cli.errors import one_line, printable
from gan_cli.files import remove_leftovers, replacing

log = logging.getLogger(__name__)

FACTS = 2 + 8  # bytes for each file
HEADER = 4096  # bytes before the images, so that the images begin on a memory page


class Decoded(NamedTuple):
    """A decoded file: its pixels, uint8 ``[C, H, W]``, and the first 8 bytes of its content's SHA-256."""

    pixels: np.ndarray
    digest: bytes


Read = Callable[[File], Decoded]  # raises Unreadable


class Images(NamedTuple):
    """The decoded images, uint8 ``[N, C, H, W]``; of each its brightest value, ``[N]``, and digest, uint8 ``[N, 8]``.

    ``files`` are the files of the images. ``unreadable`` maps the other files to the reason. ``note`` was given when
    the images were decoded.
    """

    images: Tensor
    peaks: Tensor
    digests: Tensor
    files: list[File]
    unreadable: dict[File, str]
    note: str


def images_of(
    files: Sequence[File], read: Read, shape: tuple[int, int, int], name: str, key: str, roots: Sequence[Path],
    note: str = "",
) -> Images:  # fmt: skip
    """The images that ``read`` decodes from ``files``, each of ``shape``.

    The images are mapped from the cache entry ``name`` if the entry has the same ``key`` and its unreadable files are
    still unreadable. Otherwise the entry is made anew, with ``roots`` and ``note`` in its metadata. If the cache can't
    be written, the images stay in memory, with a warning.
    """
    try:
        entry = cache_folder() / "folders" / name / "images.safetensors"
        if found := _load(entry, files, read, shape, key):
            return found
        with locked(entry.parent):  # another process may have made the entry meanwhile
            if found := _load(entry, files, read, shape, key):
                return found
            _drop_orphans(entry.parent.parent)
            places = json.dumps([str(root) for root in roots])
            facts = {"key": key, "note": note, "roots": places if len(places) < HEADER // 2 else "[]"}
            if found := _make(entry, files, read, shape, facts):
                return found
        raise OSError(errno.EIO, "what was written can't be read back")
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder; a file system without locks or mapping
        log.warning(
            "the decoded images can't be kept on disk (%s): they stay in memory, and the next start decodes them "
            "again; GAN_CLI_CACHE=FOLDER names a place for them",
            printable(one_line(error)),
        )
    images = np.empty((len(files), *shape), np.uint8)  # memory is taken only as rows are written
    rows = iter(images)
    read_files = _read_all(files, read, lambda image: np.copyto(next(rows), image))
    good = read_files.facts[:, 0] > 0
    return _images(torch.from_numpy(images[: int(good.sum())]), read_files.facts, files, read_files.unreadable, note)


def size_on_disk() -> int:
    """The bytes of all entries."""
    return sum(entry.stat().st_size for entry in (cache_folder() / "folders").glob("*/images.safetensors"))


def _images(images: Tensor, facts: Tensor, files: Sequence[File], unreadable: dict[File, str], note: str) -> Images:
    good = facts[:, 0] > 0
    return Images(images, facts[good, 1], facts[good, 2:], list(compress(files, good.tolist())), unreadable, note)


def _load(entry: Path, files: Sequence[File], read: Read, shape: tuple[int, int, int], key: str) -> Images | None:
    """The result of :func:`images_of`, from ``entry``; None if ``entry`` is missing, incomplete or out of date."""
    try:
        with safe_open(entry, "pt") as file:  # safe_open checks the header against the file's size
            metadata = file.metadata() or {}
            if metadata.get("key") != key:
                return None
            images, facts = file.get_tensor("images"), file.get_tensor("facts")
    except (OSError, RuntimeError, SafetensorError):
        return None
    if (facts.dtype, facts.shape) != (torch.uint8, (len(files), FACTS)) or int(facts[:, 0].max()) > 1:
        return None
    good = facts[:, 0] > 0
    if (images.dtype, images.shape) != (torch.uint8, (int(good.sum()), *shape)):
        return None
    tried = _read_all(list(compress(files, (~good).tolist())), read, lambda image: None)
    if tried.facts[:, 0].any():  # e.g. a network disk is back
        return None
    return _images(images, facts, files, tried.unreadable, metadata.get("note", ""))


def _make(
    entry: Path, files: Sequence[File], read: Read, shape: tuple[int, int, int], metadata: dict[str, str]
) -> Images | None:
    """Write ``entry`` atomically, and load it. Only a few images are in memory at a time."""
    remove_leftovers(entry.parent)
    needed = len(files) * math.prod(shape)
    if shutil.disk_usage(entry.parent).free < needed:  # fail now, not after minutes
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} for {needed / 1e9:.3g} GB", str(entry.parent))
    with replacing(entry) as file:
        file.seek(HEADER)
        found = _read_all(files, read, lambda image: file.write(image.data))
        file.write(found.facts.numpy().tobytes())
        file.seek(0)
        file.write(header({"images": (int(found.facts[:, 0].sum()), *shape), "facts": (len(files), FACTS)}, metadata))
    return _load(entry, files, read, shape, metadata["key"])


def header(shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str]) -> bytes:
    """The first :data:`HEADER` bytes of a file in the safetensors format: uint8 tensors of ``shapes``, in this order.

    The header is padded with spaces.
    """
    table: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape)
        table[name] = {"dtype": "U8", "shape": shape, "data_offsets": (start, end)}
    return (HEADER - 8).to_bytes(8, "little") + json.dumps(table).encode().ljust(HEADER - 8)


def _drop_orphans(folders: Path) -> None:
    """Remove the entries whose folders of images are gone, and say what is left."""
    removed = 0
    for entry in folders.glob("*/images.safetensors"):
        with suppress(OSError, ValueError, SafetensorError, KeyError):
            with safe_open(entry, "pt") as file:
                roots = json.loads((file.metadata() or {})["roots"])
            if roots and not any(os.path.exists(root) for root in roots):
                entry.unlink()
                removed += 1
    if removed:
        log.warning(
            "removed decoded images whose folders are gone: %d of the sets in %s; the others take %.3g GB",
            removed, folders, size_on_disk() / 1e9,
        )  # fmt: skip


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock ``folder`` for this process; create it if it is missing. Waits while another process has the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("another run makes the same images: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class _Read(NamedTuple):
    """What came of a list of files: uint8 ``[files, FACTS]``, and the reason for each unreadable file."""

    facts: Tensor
    unreadable: dict[File, str]


def _read_all(files: Sequence[File], read: Read, put: Callable[[np.ndarray], object]) -> _Read:
    """Call ``put`` on the images of ``files``, in order."""
    facts = np.zeros((len(files), FACTS), np.uint8)
    unreadable: dict[File, str] = {}

    def attempt(file: File) -> Decoded | str:
        try:
            return read(file)
        except Unreadable as error:
            return str(error)

    bar = tqdm(total=len(files), desc="reading images", unit="file", leave=False, disable=None)
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow releases Python's global lock while it decodes
        results = (pool.submit(attempt, file) for file in files)
        ahead = deque(islice(results, 4 * (os.cpu_count() or 1)))  # the most images in memory at a time
        for file, row in zip(files, facts, strict=True):
            found = ahead.popleft().result()
            ahead.extend(islice(results, 1))
            if isinstance(found, str):
                unreadable[file] = found
            else:
                row[:2] = 1, found.pixels[:3].max()  # of the colours: transparency is bright
                row[2:] = np.frombuffer(found.digest, np.uint8)
                put(found.pixels)
            bar.update()
    return _Read(torch.from_numpy(facts), unreadable)
