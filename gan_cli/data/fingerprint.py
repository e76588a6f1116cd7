"""A digest of a dataset's files. A resumed run thus knows its data again in another place."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

READ = 64  # contents that are read; of the other files the name and the size count


class File(NamedTuple):
    """A file of a dataset: its name relative to the dataset's root, its size in bytes, a function that reads it."""

    name: str
    size: int
    read: Callable[[], bytes]


def fingerprint(files: Sequence[File]) -> str:
    """SHA-256, in hex, of all names and sizes in their order, and of the contents of 64 evenly spread ``files``.

    The order counts, because the order of the data decides the bits of a run.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(os.fsencode(file.name) + f"\0{file.size}\0".encode())
    last, most = len(files) - 1, min(len(files), READ)
    for i in range(most):
        digest.update(hashlib.sha256(files[i * last // max(most - 1, 1)].read()).digest())
    return digest.hexdigest()


def of_paths(root: Path, paths: Iterable[Path]) -> str:
    """The fingerprint of the files at ``paths``, all below ``root``. It is the same after ``root`` has moved."""
    start = len(os.path.join(root, ""))  # Path.relative_to would be slow for a million files
    names = ((path, os.fspath(path)[start:].replace(os.sep, "/")) for path in paths)
    return fingerprint([File(name, os.stat(path).st_size, path.read_bytes) for path, name in names])


def of_tensors(**tensors: Tensor) -> str:
    """The fingerprint of ``tensors``, such as images and labels: each counts as a file."""
    return fingerprint([File(name, value.nbytes, value.numpy().tobytes) for name, value in tensors.items()])
