"""A digest of a dataset's files. A resumed run thus knows its data again in another place."""

import hashlib
import os
from collections.abc import Iterable

from torch import Tensor


def fingerprint(names: Iterable[str], digests: Tensor) -> str:
    """SHA-256, in hex, of the ``names`` of files, relative to their root, and the ``digests`` of their contents.

    ``digests`` is uint8 ``[N, bytes]``. The order counts, because the order of the data decides the bits of a run.
    """
    found = hashlib.sha256(digests.numpy().tobytes())
    for name in names:
        found.update(os.fsencode(name) + b"\0")
    return found.hexdigest()


def of_tensors(*tensors: Tensor) -> str:
    """The fingerprint of ``tensors``, such as images and labels."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.contiguous().numpy().data)
    return found.hexdigest()
