"""Safetensors files from strangers: every claim of the header is checked before memory is allocated.

The format (https://github.com/huggingface/safetensors): the header's length as 8 little-endian bytes; the header, a
JSON object of each tensor's dtype, shape and place, with strings under ``__metadata__``; then the tensors' bytes, one
after another. The safetensors library reads the tensors. This module checks what that library does not: repeated keys,
empty tensors of any shape, names. Errors are short ValueErrors without the file's name.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADER_LIMIT = 4 << 20  # bytes; 10,000 tensors take about one million
VALUE_LIMIT = 500_000  # values in the header; a tensor has eight
DEPTH_LIMIT = 32  # of nested lists and objects
NAME_LIMIT = 512  # characters
LARGEST = 2**48  # numbers in a tensor, bytes in a file
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
BLANK_DIGEST = "0" * 64  # placeholder for the digest while the digest is computed


@dataclass(frozen=True)
class Header:
    """The checked header of a file: its metadata, each tensor's shape, and its size in bytes."""

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    size: int


def read_header(path: Path) -> Header:
    """The header of the file at ``path``. ValueError unless it describes exactly the bytes that follow it."""
    with path.open("rb") as file:
        size = path.stat().st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ValueError("not a safetensors file, or cut off")
        if length > HEADER_LIMIT:
            raise ValueError(f"its header has {length:,} bytes, more than {HEADER_LIMIT:,}")
        try:
            text = file.read(length).decode()
        except UnicodeDecodeError as error:
            raise ValueError("its header is not text") from error
    table = strict_json(text, most=VALUE_LIMIT)
    if not isinstance(table, dict):
        raise ValueError("its header is not an object")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are not strings")
    return Header(metadata, _shapes(table, size - 8 - length), size)


def _shapes(table: Mapping[str, Any], size: int) -> dict[str, tuple[int, ...]]:
    """Each tensor's shape. ValueError unless the tensors fill ``size`` bytes without gap or overlap."""
    places = []
    for name, entry in table.items():
        if not _is_name(name):
            raise ValueError(f"a tensor is named {name[:80]!r}")
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name} is not described by dtype, shape and data_offsets")
        dtype, shape, offsets = str(entry["dtype"]), entry["shape"], entry["data_offsets"]
        if not (dtype in BITS and _counts(shape) and _counts(offsets) and len(offsets) == 2):
            raise ValueError(f"{name} has no sound dtype, shape and data_offsets")
        if 8 * (offsets[1] - offsets[0]) != BITS[dtype] * math.prod(shape):
            raise ValueError(f"{name} has a shape that is not its size")
        if math.prod(max(n, 1) for n in shape) >= LARGEST:
            raise ValueError(f"{name} is empty, and yet of a shape that nothing could hold")
        places.append((*offsets, name))
    end = 0
    for start, stop, name in sorted(places):
        if start != end:
            raise ValueError(f"{name} overlaps another tensor, or leaves a gap")
        end = stop
    if end != size:
        raise ValueError(f"it should go on for {end:,} bytes after its header, and does for {size:,}")
    return {name: tuple(entry["shape"]) for name, entry in table.items()}


def _is_name(name: str) -> bool:
    """Whether ``name`` is a valid tensor name of a module: words between dots. A path is not valid."""
    return len(name) <= NAME_LIMIT and name.isprintable() and not set(name) & set("/\\") and all(name.split("."))


def _counts(values: Any) -> bool:
    """Whether ``values`` is a short list of whole numbers from 0 up, each small enough for a file."""
    return isinstance(values, list) and len(values) <= 16 and all(type(n) is int and 0 <= n < LARGEST for n in values)


def strict_json(text: str, most: int) -> Any:
    """``text`` as JSON.

    ValueError for a repeated key, nesting deeper than DEPTH_LIMIT, more than ``most`` values, NaN, or a number that an
    int64 or a double cannot hold.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=_int64, parse_float=_double, parse_constant=_no_constant
        )
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    level, total = [value], 1
    for _ in range(DEPTH_LIMIT):
        level = [child for node in level for child in _children(node)]
        total += len(level)
        if total > most:
            raise ValueError(f"its JSON holds more than {most:,} values")
        if not level:
            return value
    raise ValueError("its JSON is nested too deeply")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key of its JSON comes twice")
    return result


def _int64(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError("a number in its JSON is too large")
    return int(digits)


def _double(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError("a number in its JSON is too large")
    return value


def _no_constant(word: str) -> None:
    raise ValueError(f"its JSON holds {word}")


def _children(node: Any) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def sealed(content: bytes) -> bytearray:
    """``content`` with the first :data:`BLANK_DIGEST` in it replaced by the SHA-256 of ``content``."""
    at = content.index(BLANK_DIGEST.encode())
    result = bytearray(content)
    result[at : at + len(BLANK_DIGEST)] = hashlib.sha256(content).hexdigest().encode()
    return result


def is_sealed(path: Path, digest: str) -> bool:
    """Whether the file at ``path`` is unchanged since :func:`sealed` put this ``digest`` into its header."""
    with path.open("rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little"))
        total = hashlib.sha256(length + header.replace(digest.encode(), BLANK_DIGEST.encode(), 1))
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest() == digest
