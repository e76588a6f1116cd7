"""Arrays of numbers in ``.npz`` files from strangers: every claim is checked before memory is allocated.

The format is a zip file of ``NAME.npy`` entries (NEP 1): a header, which is a literal of Python that says dtype and
shape, then the numbers. NumPy parses the header, of bounded length, and runs none of it. Entries that hold objects,
which would be unpickled, are refused. Errors are short ValueErrors without the file's name.
"""

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

LARGEST = 2**30  # bytes of an array
HEADER_LIMIT = 10_000  # bytes of a header
KINDS = "fiu"  # of numbers: floating, whole, whole and not negative


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Those of the arrays ``names`` that the file at ``path`` holds. Other entries are not read.

    ValueError if the file is no zip file, or if one of these entries is not an array of numbers of at most 1 GiB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = {f"{name}.npy": name for name in names}
            entries = [entry for entry in archive.infolist() if entry.filename in wanted]
            if len({entry.filename for entry in entries}) < len(entries):
                raise ValueError("holds an array twice")
            return {wanted[entry.filename]: _array(archive, entry) for entry in entries}
    except ValueError:
        raise
    except Exception as error:  # a damaged or foreign file makes zipfile raise anything: BadZipFile, zlib.error, …
        raise ValueError("is no .npz file that can be read") from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """The array in ``entry``. No more is unpacked than the header and the numbers that it promises."""
    name = entry.filename.removesuffix(".npy")
    if entry.file_size > LARGEST + HEADER_LIMIT:
        raise ValueError(f"holds {name} of {entry.file_size:,} bytes, more than {LARGEST:,}")
    with archive.open(entry) as file:
        try:
            shape, in_columns, dtype = _header(file)
        except ValueError as error:
            raise ValueError(f"holds no array {name} that can be read") from error
        if dtype.hasobject:
            raise ValueError(f"holds objects under the name {name}, which are never unpickled")
        if dtype.kind not in KINDS:
            raise ValueError(f"holds {name} of type {str(dtype)[:40]}, not of numbers")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or size != entry.file_size - file.tell():
            raise ValueError(f"holds {name} of a shape that is not its size")
        content = file.read(size)
    if len(content) != size:
        raise ValueError(f"is cut off within {name}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if in_columns else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the numbers go by columns, and dtype. Only the versions for plain arrays are read."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in readers:
        raise ValueError("of an unknown version")
    return readers[version](file, max_header_size=HEADER_LIMIT)
