"""Weights in ``.pt`` files from elsewhere: torch's format, a zip archive around a pickle, of which nothing is run.

torch reads them with ``weights_only=True``, which calls nothing but what tensors are put together from. Before that,
the pickle is looked through for every name it refers to, since torch's own list is longer (``bytearray`` of any length
is on it); after that, the tensors must not be larger than the file.
"""

import io
import pickle
import pickletools
import zipfile
from collections.abc import Iterable, Iterator, Mapping
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
PICKLE_LIMIT = 1 << 20  # bytes; 5,000 tensors take about as many
VALUE_LIMIT = 50_000
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
    except zipfile.BadZipFile as error:
        raise ValueError("it is not what torch.save writes, or damaged") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"torch can't read it ({type(error).__name__})") from error
    # Several names for the same numbers are in order: an average that is the generator itself, tied weights.
    if sum(tensor.nbytes for tensor in _tensors(content)) > NAMES_PER_NUMBER * path.stat().st_size:
        raise ValueError("its tensors are larger than the file")
    return content


def _look_through(text: bytes) -> None:
    """ValueError if the pickle refers to anything but the parts of tensors."""
    if len(text) > PICKLE_LIMIT:
        raise ValueError(f"its pickle has {len(text):,} bytes, more than {PICKLE_LIMIT:,}")
    for code, argument, _ in pickletools.genops(text):
        if code.name in REFUSED or (code.name == "GLOBAL" and argument not in PARTS_OF_TENSORS):
            raise ValueError(f"it is not only tensors: its pickle asks for {argument or code.name}, which is not run")


def _tensors(content: Any) -> Iterator[Tensor]:
    """Every tensor in ``content``. ValueError on more values than weights have: lists may refer to each other."""
    level, total = [content], 0
    while level:
        total += len(level)
        if total > VALUE_LIMIT:
            raise ValueError(f"it holds more than {VALUE_LIMIT:,} values")
        yield from (node for node in level if isinstance(node, Tensor))
        level = [child for node in level for child in _children(node)]


def _children(node: Any) -> Iterable[Any]:
    return node.values() if isinstance(node, Mapping) else node if isinstance(node, list | tuple) else ()
