"""Where ``gan-sample`` writes: which files each figure may become, and what is never overwritten or mixed."""

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from gan_cli.errors import UserError
from gan_cli.files import write_atomic
from gan_cli.latents import Latents

# The suffixes that a figure is written as; "" is a folder of PNGs.
WRITTEN = {
    "grid": (".png", ".npz", ""),
    "ranked": (".png",),
    "neighbours": (".png",),
    "interpolation": (".png", ".gif", ".webp", ".mp4", ""),
    "walk": (".webp", ".gif", ".mp4", ""),
    "directions": (".png",),
    "mixing": (".png",),
    "truncation": (".png",),
}
PICTURE = "figure={} is a picture: out=FILE.png, or leave out away"
ADVICE = {
    "grid": "use .png (a grid), .npz (an array), or a folder's name",
    "walk": "use .webp, .gif or .mp4 (a loop), or a folder's name (the loop's frames)",
    "interpolation": "use .png (a figure), .gif, .webp or .mp4 (a loop), or a folder's name (the loop's frames)",
}
# How such files begin.
SIGNATURES = {
    ".png": rb"\x89PNG\r\n\x1a\n",
    ".npz": rb"PK",
    ".gif": rb"GIF8",
    ".webp": rb"RIFF....WEBP",
    ".mp4": rb"....ftyp",
}
# The suffixes that promise a format. They are no names of folders.
PROMISING = {
    *Image.registered_extensions(),
    *SIGNATURES,
    *(".csv", ".json", ".npy", ".pt", ".safetensors", ".txt", ".yaml", ".zip"),
}
NUMBERED = re.compile(r"(seed)?[0-9]+(-class[0-9]+)?\.png")  # the names in a folder of PNGs


def checked_suffix(out: Path, figure: str) -> str:
    """The suffix of ``out``, one of those that ``figure`` is :data:`WRITTEN` as; "" for a folder.

    UserError if ``out`` can't be written, is a file of another kind, or is a folder with the PNGs of another call: a
    mistyped name mustn't cost a checkpoint.
    """
    suffix = "" if out.is_dir() or out.suffix.lower() not in PROMISING else out.suffix.lower()
    if suffix not in WRITTEN[figure]:
        raise UserError(
            f"out={out}: can't write {suffix or 'a folder'}; {ADVICE.get(figure) or PICTURE.format(figure)}"
        )
    if out.is_dir():
        if any(NUMBERED.fullmatch(path.name) for path in out.iterdir()):
            raise UserError(f"out={out} holds numbered PNGs already; choose another name, or empty it")
    elif out.exists() and not suffix:
        raise UserError(f"out={out} is a file, not a folder; choose another name")
    elif out.exists() and not _begins(out, SIGNATURES[suffix]):
        raise UserError(f"out={out} exists and is not a {suffix} file; choose another name")
    return suffix


def _begins(path: Path, signature: bytes) -> bool:
    """Whether ``path`` is a regular file that begins with ``signature``: to open a FIFO would block forever."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return re.match(signature, file.read(12), re.DOTALL) is not None


def write_npz(samples: Tensor, path: Path, latents: Latents) -> None:
    """Write samples and their latents to ``path`` as a compressed ``.npz``, atomically.

    uint8 images ``[N, C, H, W]`` are stored as NHWC under the key ``images``, points ``[N, d]`` under ``samples``. The
    latents have the name of their space, ``z`` or ``w``. Their classes, if any, are stored under ``labels``.
    """
    points = samples.dim() == 2
    arrays = {"samples": samples} if points else {"images": samples.permute(0, 2, 3, 1).contiguous()}
    arrays |= {latents.space: latents.values}
    arrays |= {} if latents.labels is None else {"labels": latents.labels}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{name: array.numpy() for name, array in arrays.items()})
    write_atomic(path, buffer.getvalue())
