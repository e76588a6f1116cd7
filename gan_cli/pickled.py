"""Weights in ``.pt`` files from elsewhere: torch's format, a zip archive around a pickle, of which nothing is run.

torch reads them with ``weights_only=True``, which calls nothing but what tensors are put together from. Before that,
the pickle is looked through for every name it refers to, since torch's own list is longer (``bytearray`` of any length
is on it); after that, what it came to must not be larger than the file: a pickle can name one thing many times.
"""

import io
import pickletools
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PARTS_OF_TENSORS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Byte", "Bool")),
}
PICKLE_LIMIT = 1 << 20  # bytes, and characters of the words it means; 5,000 tensors take about as many
VALUE_LIMIT = 50_000
LARGEST = 2**63  # of whole numbers
NAMES_PER_NUMBER = 4
# Other ways in which a pickle can name or make objects; torch.save uses none of them.
REFUSED = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}


def read(path: Path) -> Any:
    """What ``torch.save`` wrote to ``path``: dicts and lists of tensors, numbers and words. ValueError on all else."""
    try:
        # torch is given a copy of what was looked through: another reader could find another archive in the same bytes.
        copy = io.BytesIO()
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as copied:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("it is compressed, which torch.save doesn't do")
            if len({member.filename.lower() for member in members}) < len(members):
                raise ValueError("a file is in it twice")
            if sum(member.file_size for member in members) > path.stat().st_size:
                raise ValueError("its parts are larger than the file")
            for member in members:
                part = archive.read(member)
                if member.filename.lower().endswith(".pkl"):  # torch finds DATA.PKL as well
                    _look_through(part)
                copied.writestr(member.filename, part)
        copy.seek(0)
        content = torch.load(copy, map_location="cpu", weights_only=True)
    except (ValueError, OSError):
        raise
    except Exception as error:  # zipfile and torch let whatever a damaged file trips them up with through
        raise ValueError(f"it is not what torch.save writes, or damaged ({type(error).__name__})") from error
    values = _values(content)
    # Several names for the same numbers are in order: an average that is the generator itself, tied weights.
    if sum(value.nbytes for value in values if isinstance(value, Tensor)) > NAMES_PER_NUMBER * path.stat().st_size:
        raise ValueError("its tensors are larger than the file")
    if sum(len(value) for value in values if isinstance(value, str)) > PICKLE_LIMIT:
        raise ValueError(f"its words have more than {PICKLE_LIMIT:,} characters")
    return content


def _look_through(text: bytes) -> None:
    """ValueError if the pickle refers to anything but the parts of tensors."""
    if len(text) > PICKLE_LIMIT:
        raise ValueError(f"its pickle has {len(text):,} bytes, more than {PICKLE_LIMIT:,}")
    for code, argument, _ in pickletools.genops(text):
        if code.name in REFUSED or (code.name == "GLOBAL" and argument not in PARTS_OF_TENSORS):
            raise ValueError(f"it is not only tensors: its pickle asks for {argument or code.name}, which is not run")
        if isinstance(argument, int) and abs(argument) > LARGEST:
            raise ValueError("a number in its pickle is too large")


def _values(content: Any) -> list[Any]:
    """Everything in ``content``, as often as it is there. ValueError where that is more than weights have."""
    values, level = [content], [content]
    while level:
        level = [child for node in level for child in _children(node)]
        values += level
        if len(values) > VALUE_LIMIT:
            raise ValueError(f"it holds more than {VALUE_LIMIT:,} values")
    return values


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, Mapping):
        return [*node, *node.values()]
    return node if isinstance(node, list | tuple) else ()
