"""A cache of decoded images: each file is made once, then every later run and other process maps it into memory.

An entry is a safetensors file with ``images``, uint8 ``[N, C, H, W]``, and ``readable``, one bool for each image file.
Its metadata have the ``key`` of the image files. An entry is only data: nothing in it is executed.
"""

import errno
import json
import logging
import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import compress, islice
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from gan_cli.data.download import cache_folder
from gan_cli.errors import one_line, printable
from gan_cli.files import remove_leftovers, replacing

log = logging.getLogger(__name__)

Read = Callable[[Path], np.ndarray | None]
HEADER = 4096  # bytes before the images, so that the images begin on a memory page


def images_of(
    paths: Sequence[Path], read: Read, shape: tuple[int, int, int], name: str, key: str
) -> tuple[Tensor, list[Path]]:
    """The images that ``read`` decodes from ``paths``, uint8 ``[N, *shape]``, and the paths for which it returns None.

    The images are mapped from the cache entry ``name`` if the entry has the same ``key`` and its unreadable files are
    still unreadable. Otherwise the entry is made anew. If the cache can't be written, the images stay in memory, with a
    warning.
    """
    try:
        entry = cache_folder() / "folders" / name / "images.safetensors"
        if found := _load(entry, paths, read, shape, key):
            return found
        with _locked(entry.parent):  # another process may have made the entry meanwhile
            if found := _load(entry, paths, read, shape, key) or _make(entry, paths, read, shape, key):
                return found
        raise OSError(errno.EIO, "what was written can't be read back")
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder; a file system without locks or mapping
        log.warning(
            "the decoded images can't be kept on disk (%s): they stay in memory, and the next start decodes them "
            "again; GAN_CLI_CACHE=FOLDER names a place for them",
            printable(one_line(error)),
        )
    images = np.empty((len(paths), *shape), np.uint8)  # memory is taken only as rows are written
    rows = iter(images)
    readable = _read_all(paths, read, lambda image: np.copyto(next(rows), image))
    return torch.from_numpy(images[: sum(readable)]), _unreadable(paths, readable)


def _load(
    entry: Path, paths: Sequence[Path], read: Read, shape: tuple[int, int, int], key: str
) -> tuple[Tensor, list[Path]] | None:
    """The result of :func:`images_of`, from ``entry``; None if ``entry`` is missing, incomplete or out of date."""
    try:
        with safe_open(entry, "pt") as file:  # safe_open checks the header against the file's size
            if (file.metadata() or {}).get("key") != key:
                return None
            images, readable = file.get_tensor("images"), file.get_tensor("readable")
    except (OSError, RuntimeError, SafetensorError):
        return None
    if (readable.dtype, readable.shape) != (torch.bool, (len(paths),)):
        return None
    if (images.dtype, images.shape) != (torch.uint8, (int(readable.sum()), *shape)):
        return None
    unreadable = _unreadable(paths, readable.tolist())
    if any(_read_all(unreadable, read, lambda image: None)):  # e.g. a network disk is back
        return None
    return images, unreadable


def _make(
    entry: Path, paths: Sequence[Path], read: Read, shape: tuple[int, int, int], key: str
) -> tuple[Tensor, list[Path]] | None:
    """Write ``entry`` atomically, and load it. Only a few images are in memory at a time."""
    remove_leftovers(entry.parent)
    needed = len(paths) * math.prod(shape)
    if shutil.disk_usage(entry.parent).free < needed:  # fail now, not after minutes
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} for {needed / 1e9:.3g} GB", str(entry.parent))
    with replacing(entry) as file:
        file.seek(HEADER)
        readable = _read_all(paths, read, lambda image: file.write(image.data))
        file.write(bytes(readable))
        file.seek(0)
        file.write(_header((sum(readable), *shape), len(readable), key))
    return _load(entry, paths, read, shape, key)


def _header(shape: tuple[int, ...], files: int, key: str) -> bytes:
    """The first :data:`HEADER` bytes of an entry: a header in the safetensors format, padded with spaces."""
    size = math.prod(shape)
    table = {
        "__metadata__": {"key": key},
        "images": {"dtype": "U8", "shape": shape, "data_offsets": (0, size)},
        "readable": {"dtype": "BOOL", "shape": (files,), "data_offsets": (size, size + files)},
    }
    return (HEADER - 8).to_bytes(8, "little") + json.dumps(table).encode().ljust(HEADER - 8)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock ``folder`` for this process; create it if it is missing. Waits while another process has the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("another run decodes the same images: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _read_all(paths: Sequence[Path], read: Read, put: Callable[[np.ndarray], object]) -> list[bool]:
    """Call ``put`` on the images of ``paths``, in order. Returns for each path whether it gave an image."""
    readable = []
    bar = tqdm(total=len(paths), desc="reading images", unit="file", leave=False, disable=None)
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow releases Python's global lock while it decodes
        results = (pool.submit(read, path) for path in paths)
        ahead = deque(islice(results, 4 * (os.cpu_count() or 1)))  # the most images in memory at a time
        while ahead:
            image = ahead.popleft().result()
            ahead.extend(islice(results, 1))
            readable.append(image is not None)
            if image is not None:
                put(image)
            bar.update()
    return readable


def _unreadable(paths: Sequence[Path], readable: Sequence[bool]) -> list[Path]:
    return list(compress(paths, (not one for one in readable)))
