"""A digest of a dataset's files. A resumed run thus knows its data again in another place."""

import hashlib
import os
from collections.abc import Sequence

from torch import Tensor

from gan_cli.data.sources import File

READ = 64  # contents that are read; of the other files the name and the size count


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


def of_tensors(**tensors: Tensor) -> str:
    """The fingerprint of ``tensors``, such as images and labels: each counts as a file."""
    return fingerprint([File(name, value.nbytes, "", value.numpy().tobytes) for name, value in tensors.items()])
