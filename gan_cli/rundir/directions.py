"""``directions.safetensors`` of a run folder: the directions in the latents of one of its checkpoints."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from gan_cli.directions import METHODS, MOST, Directions
from gan_cli.files import write_atomic
from gan_cli.untrusted.safetensors_header import read_header, strict_json

FILE = "directions.safetensors"


def kept(path: Path, z_dim: int, source: Mapping[str, str], find: Callable[[], Directions]) -> Directions:
    """The directions in the file at ``path``, if they are of this ``source``; else those of ``find``, written there.

    ``source`` names the checkpoint's digest, the weights and the space, as the metadata of the file do. A file that
    can't be read, or that holds no directions of ``z_dim`` dimensions, is written anew.
    """
    known = _read(path, z_dim, source) if path.is_file() else None
    if known is not None:
        return known
    found = find()
    tensors = {name: getattr(found, name).contiguous() for name in ("vectors", "deviations")}
    with suppress(OSError):  # a folder that takes no file: they are found anew next time
        # One entry: the library writes several in no fixed order.
        metadata = {"gan_cli": json.dumps({**source, "method": found.method})}
        write_atomic(path, safetensors.torch.save(tensors, metadata))
    return found


def _read(path: Path, z_dim: int, source: Mapping[str, str]) -> Directions | None:
    """The directions at ``path``; None if they are of another source, or if the file is not one of :func:`kept`."""
    try:
        header = read_header(path)
        facts, (k, d) = strict_json(header.metadata["gan_cli"], most=10), header.shapes["vectors"]
        sound = d == z_dim and 0 < k <= MOST and header.shapes == {"vectors": (k, d), "deviations": (k,)}
        if not sound or facts["method"] not in METHODS or {name: facts[name] for name in source} != source:
            return None
        tensors = safetensors.torch.load_file(path)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    if not all(tensor.is_floating_point() and tensor.isfinite().all() for tensor in tensors.values()):
        return None
    return Directions(tensors["vectors"].float(), tensors["deviations"].float(), source["space"], facts["method"])
