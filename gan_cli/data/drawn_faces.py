"""Drawn heads with hair, eyes, mouths, skin and glasses: colour images for everyone, without a download."""

import errno
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from gan_cli.data import LARGEST_SIZE, Attributes, Dataset, NoSplit, cache, drawing
from gan_cli.data.download import cache_folder
from gan_cli.data.drawing import Style, style_of
from gan_cli.data.fingerprint import of_tensors
from gan_cli.errors import UserError, did_you_mean, one_line, printable
from gan_cli.files import remove_leftovers, replacing

log = logging.getLogger(__name__)

MOST_FACES = 10_000_000
HELD_OUT = 5  # training images to a held-out one


class Drawn(NamedTuple):
    """Images, uint8 ``[N, 3, size, size]``, and the indices of their attributes' values, uint8 ``[N, attributes]``."""

    images: Tensor
    attributes: Tensor


def drawn_faces(
    style: str = "adventurer", n: int = 20_000, size: int = 64, seed: int = 0, label: str | None = None,
    split: str = "train",
) -> Dataset:  # fmt: skip
    """``n`` heads in a ``style`` of DiceBear, uint8 ``[n, 3, size, size]``: the same at every call.

    The split ``test`` has a fifth as many heads, of other seeds. ``label`` names the attribute that gives the classes,
    such as ``hairColor``; all attributes are in the dataset's ``attributes``. The heads are drawn once, by all cores,
    into a file of the cache folder, which is mapped into memory. UserError for an unknown style or attribute, and
    without the packages that draw.
    """
    if not 1 <= n <= MOST_FACES or not 8 <= size <= LARGEST_SIZE // drawing.FINER:
        raise UserError(
            f"dataset.n={n} should be from 1 to {MOST_FACES}, dataset.size={size} from 8 to "
            f"{LARGEST_SIZE // drawing.FINER}"
        )
    if split not in ("train", "test"):
        raise NoSplit(f"drawn faces have no split {split}")
    found = style_of(style)
    known = list(found.attributes)
    if label is not None and label not in known:
        raise UserError(f"no dataset.label {label!r}: choose from {', '.join(known)}" + did_you_mean(label, known))
    train = _cached(found, f"{seed}-", n, size)
    drawn = train if split == "train" else _cached(found, f"{seed}-test-", max(1, n // HELD_OUT), size)
    keep = torch.ones(len(drawn.images), dtype=torch.bool)
    labels: Tensor | None = None
    names: tuple[str, ...] = ()
    if label is not None:
        keep, labels, names = _classes(drawn, train, found.attributes[label], known.index(label))
    images = drawn.images if keep.all() else drawn.images[keep]
    return Dataset(
        images,
        labels,
        names,
        description=f"{len(images):,} drawn faces of {size}x{size}: {found.licence}",
        fingerprint=of_tensors(images),
        attributes=Attributes(found.attributes, drawn.attributes[keep]),
        licence=found.licence,
    )


def _classes(drawn: Drawn, train: Drawn, values: Sequence[str], column: int) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Classes by an attribute's values in the training images: which heads have one, their labels, the names."""
    used = train.attributes[:, column].unique()
    own = drawn.attributes[:, column].contiguous()
    keep = torch.isin(own, used)
    return keep, torch.searchsorted(used, own[keep]), tuple(values[i] for i in used.tolist())


def _cached(style: Style, seeds: str, n: int, size: int) -> Drawn:
    """The heads of ``seeds`` 0 to ``n`` - 1, from the cache or drawn into it; without a cache, in memory."""
    shapes = {"images": (n, 3, size, size), "attributes": (n, len(style.attributes))}
    key = f"{drawing.versions()}, {style.name}, {seeds}, {size}"
    try:
        entry = cache_folder() / "drawn" / f"{style.name}-{seeds}{n}-{size}x{size}" / "images.safetensors"
        if drawn := _load(entry, key, shapes):
            return drawn
        with cache.locked(entry.parent):  # another process may have made the entry meanwhile
            if drawn := _load(entry, key, shapes):
                return drawn
            remove_leftovers(entry.parent)
            with replacing(entry) as file:
                file.write(cache.header(shapes, {"key": key, "licence": style.licence}))
                file.write(_draw(style, seeds, n, size, file.write))
        if drawn := _load(entry, key, shapes):
            return drawn
        raise OSError(errno.EIO, "what was written can't be read back")
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder; a file system without locks or mapping
        log.warning(
            "the drawn faces can't be kept on disk (%s): they stay in memory, and the next start draws them again; "
            "GAN_CLI_CACHE=FOLDER names a place for them",
            printable(one_line(error)),
        )
    pixels = bytearray()
    attributes = _draw(style, seeds, n, size, pixels.extend)
    found = (torch.frombuffer(content, dtype=torch.uint8) for content in (pixels, attributes))
    return Drawn(*(one.view(shape) for one, shape in zip(found, shapes.values(), strict=True)))


def _draw(style: Style, seeds: str, n: int, size: int, put: Callable[[bytes], object]) -> bytearray:
    """Call ``put`` on the pixels of each head, in order; return the attributes of all."""
    attributes = bytearray()
    heads = drawing.records(style, seeds, n, size, os.cpu_count() or 1)
    for record in tqdm(heads, "drawing faces", n, leave=False, unit="face", disable=None):
        put(record[: 3 * size * size])
        attributes += record[3 * size * size :]
    return attributes


def _load(entry: Path, key: str, shapes: Mapping[str, Sequence[int]]) -> Drawn | None:
    """The heads in the file ``entry``; None if it is missing, incomplete or of another ``key``."""
    try:
        with safe_open(entry, "pt") as file:  # safe_open checks the header against the file's size
            if (file.metadata() or {}).get("key") != key:
                return None
            found = Drawn(*(file.get_tensor(name) for name in shapes))
    except (OSError, RuntimeError, SafetensorError):
        return None
    fits = all((t.dtype, t.shape) == (torch.uint8, shape) for t, shape in zip(found, shapes.values(), strict=True))
    return found if fits else None
