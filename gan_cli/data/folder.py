"""The user's images: a folder of any tree, any sizes, any modes, a zip file, several of them, or an .npz file."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_cli.data import Dataset, NoSplit, arrays, decode, labelling, reading
from gan_cli.data.decode import Target, Unreadable
from gan_cli.data.fingerprint import fingerprint
from gan_cli.data.reading import Column, counted, few, read_images, reasons, roots_of, several, target_of, told
from gan_cli.data.sources import File
from gan_cli.errors import UserError, one_line, printable

log = logging.getLogger(__name__)

DARK = 64  # of 255; a folder whose brightest value is below it is nearly black


class Loaded(NamedTuple):
    """Images uint8 ``[N, C, H, W]`` and, of each, its name, its label or None, and a digest of its content."""

    images: Tensor
    names: Sequence[str]
    labels: Mapping[str, str] | None
    digests: Tensor
    passed_over: Sequence[str]
    note: str


def folder(
    root: str | Sequence[str] | None,
    size: int | Sequence[int] = 64,
    channels: int = 3,
    fit: str = "crop",
    range: int | str | Sequence[float] = "auto",
    labels: str | None = None,
    holdout: float | None = None,
    split: str = "train",
) -> Dataset:
    """Every image below ``root``, uint8, with 1 (grey), 3 (RGB) or 4 (RGB and transparency) ``channels``.

    ``root`` is a folder, a zip file, a list of these, which are read as one, or an ``.npz`` file as gan-sample writes
    it. ``size`` is the side of the images, or (height, width). ``fit`` says how images of another shape get it: crop
    the longer side, stretch, or pad with black. ``range`` is that of pixels with more than 8 bits: auto finds it over
    the whole folder; 8, 12, 16 (bits); or (lowest, highest), which holds for pixels of 8 bits as well.

    Files are sorted by name. Folders named train, val, valid, validation or test are splits; ``split`` chooses one.
    ``holdout`` sets this share of the training images aside as the split test, by their content. Classes are the labels
    of the file ``labels`` or of a ``dataset.json`` beside the images, else the folders in a split. The dataset's
    ``description`` counts what was found and whatever was passed over.

    Files are decoded once, into a file of the cache folder, which is mapped into memory. UserError if ``root`` holds no
    readable image. NoSplit if it holds no image of ``split``.
    """
    target = target_of(size, channels, fit, range)
    if holdout is not None and not (isinstance(holdout, int | float) and 0 < holdout < 1):
        raise UserError(f"dataset.holdout={holdout} should be a share between 0 and 1, as in 0.1")
    roots = roots_of(root, "root", "folder", npz=True)
    if len(roots) == 1 and roots[0].suffix.lower() == ".npz":
        if labels is not None:
            raise UserError(f"dataset.labels={labels}: an .npz file holds its labels itself; leave dataset.labels out")
        loaded = _of_array(roots[0], target)
    else:
        loaded = _of_files(roots, target, range, labels)
    return _split(loaded, holdout, split)


def _of_files(roots: Sequence[Path], target: Target, range: object, labels_file: str | None) -> Loaded:
    """The images of folders and zip files."""
    found = reading.find(roots, {labelling.DATASET_JSON, os.path.basename(labels_file or "")})
    where = ", ".join(map(str, roots))
    if not found.files:
        raise UserError(f"no image files below {where}; it may be the wrong folder" + told(counted(found.others)))
    shape = target.channels, target.height, target.width
    images = read_images(
        found.files, [Column(found.files, target)], lambda readers: readers[0], shape, [target.fit, str(range)], roots
    )
    passed_over = [*counted(found.others), *reasons(images.unreadable)]
    if len(images.images) == 0:
        raise UserError(f"none of the {len(found.files)} image files below {where} can be read" + told(passed_over))
    if (peak := int(images.peaks.max())) < DARK and not target.explicit:
        advice = "[LOWEST,HIGHEST] stretches another range" if images.note else f"[0,{max(1, peak)}] makes it white"
        log.warning("no image has a value above %d of 255: they are nearly black; dataset.range=%s", peak, advice)
    names = [file.name for file in images.files]
    return Loaded(
        images.images, names, _labels(labels_file, roots, found.metadata, names), images.digests, passed_over,
        images.note,
    )  # fmt: skip


def _labels(
    file: str | None, roots: Sequence[Path], metadata: Sequence[File], names: Sequence[str]
) -> Mapping[str, str] | None:
    """The labels by name: from ``file``, on disk or below a root, else from each ``dataset.json``. None without any.

    UserError if ``file`` names none of the images ``names``.
    """
    if file is None:
        found: dict[str, str] = {}
        tables = [table for table in metadata if PurePosixPath(table.name).name == labelling.DATASET_JSON]
        for table in tables:  # it labels the files below its own folder
            labels = labelling.read_labels(table.content(), table.name)
            found |= {str(PurePosixPath(table.name).parent / name): label for name, label in labels.items()}
        return found if tables else None
    path = Path(os.path.abspath(os.path.expanduser(file)))
    inside = next((table for table in metadata if table.name == PurePosixPath(file).as_posix()), None)
    try:
        content = path.read_bytes() if path.is_file() or inside is None else inside.content()
    except (OSError, Unreadable) as error:
        raise UserError(
            f"dataset.labels={file} is not there; give a CSV or JSON file, or its name below dataset.root"
        ) from error
    labels = labelling.read_labels(content, file)
    if not labels.keys() & set(names):
        example = list(labels)[-1] if labels else "no file"
        raise UserError(
            f"dataset.labels={file} names none of the images: it has {printable(example)!r} where the first image is "
            f"{printable(names[0])!r}; it should give names below dataset.root"
        )
    return labels


def _of_array(path: Path, target: Target) -> Loaded:
    """The images of an ``.npz`` file: key ``images``, uint8, NHWC or NCHW, and perhaps ``labels``."""
    try:
        array, given = arrays.read_images(path)
    except LookupError as error:
        raise UserError(
            f"{path} {one_line(error)}; gan-sample out=FILE.npz writes such files, with the key images"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: images should be uint8 [N, H, W, C] or [N, C, H, W], not {error}") from error
    if given is not None and given.shape != (len(array),):
        raise UserError(f"{path}: labels should be [{len(array)}], one for each image, not {list(given.shape)}")
    pictures = (Image.fromarray(one[:, :, 0] if one.shape[2] == 1 else one) for one in array)
    images = torch.from_numpy(np.stack([decode.pixels(picture, target) for picture in pictures]))
    digests = [np.frombuffer(hashlib.sha256(one.tobytes()).digest()[:8], np.uint8) for one in array]
    names = [f"{i:08d}" for i in np.arange(len(array))]
    of = None if given is None else {name: str(label) for name, label in zip(names, given.tolist(), strict=True)}
    return Loaded(images, names, of, torch.from_numpy(np.stack(digests)), [], "")


def _split(loaded: Loaded, holdout: float | None, wanted: str) -> Dataset:
    """The split ``wanted`` of the images, with their classes and the description of them all."""
    paths = labelling.unwrapped([tuple(name.split("/")) for name in loaded.names])
    split = labelling.split_of(paths)
    if holdout is not None and "test" not in split:
        # The first 4 bytes of a digest are a uniform number: the same image is on the same side at every start.
        share = loaded.digests[:, :4].long() @ torch.tensor([2**24, 2**16, 2**8, 1]) / 2**32
        aside = (share < holdout).tolist()
        split = ["test" if s == "train" and out else s for s, out in zip(split, aside, strict=True)]
    classes = _classes(loaded, paths, split)
    pairs = list(zip(split, classes, strict=True))
    names = labelling.in_order([c for s, c in pairs if s == "train" and c is not None])
    number = {name: i for i, name in enumerate(names)} if len(names) > 1 else {}
    count = Counter(s for s, c in pairs if not number or c in number)
    passed_over = [*loaded.passed_over]
    if outside := split.count(None):
        passed_over.append(f"{outside:,} outside train, val and test")
    if unlabelled := len(pairs) - outside - sum(n for s, n in count.items() if s is not None):
        passed_over.append(f"{unlabelled:,} of no class")
    if not count[wanted]:
        raise NoSplit(f"no {wanted} images below dataset.root" + told(passed_over))
    keep = torch.tensor([s == wanted and (not number or c in number) for s, c in pairs])
    ids = torch.tensor([number[c] for s, c in pairs if s == wanted and c in number]) if number else None
    dataset = Dataset(loaded.images if keep.all() else loaded.images[keep], ids, tuple(map(printable, number)))
    digests = loaded.digests[keep]
    asked = {"test"} if holdout is not None else set()
    held = {name: count[name] for name in ("validation", "test") if name != wanted and (count[name] or name in asked)}
    twice = len(digests) - len(digests.unique(dim=0))
    known = fingerprint(compress(loaded.names, keep.tolist()), digests)
    line = _description(dataset, held, twice, passed_over, loaded.note)
    return replace(dataset, description=line, fingerprint=known)


def _classes(loaded: Loaded, paths: Sequence[tuple[str, ...]], split: Sequence[str | None]) -> list[str | None]:
    """The class of each image, or None: by its label, else by the folder in its split."""
    if loaded.labels is not None:
        return [loaded.labels.get(name) for name in loaded.names]
    train = labelling.class_of(
        labelling.unwrapped([path for path, s in zip(paths, split, strict=True) if s == "train"])
    )
    if train is None:
        return [None] * len(paths)
    known, rest = set(train), iter(train)
    # Other splits may lack some classes, so that a class looks like a folder that wraps the others.
    return [
        next(rest) if s == "train" else next((part for part in path[:-1] if part in known), None)
        for path, s in zip(paths, split, strict=True)
    ]


def _description(dataset: Dataset, held: Mapping[str, int], twice: int, passed_over: Sequence[str], note: str) -> str:
    """What was found, in one line."""
    _, height, width = dataset.image_shape
    line = f"{several(len(dataset), 'image')} of {width}x{height}"
    if dataset.labels is not None:
        counts = torch.bincount(dataset.labels, minlength=len(dataset.class_names)).tolist()
        words = [f"{name} {n:,}" for name, n in zip(dataset.class_names, counts, strict=True)]
        shown = few(words, 12)
        balance = f" of {min(counts):,} to {max(counts):,}" if shown.endswith("…") else ""
        line += f" in {len(words):,} classes{balance} ({shown})"
    line += f"; held out: {', '.join(f'{n:,} for {name}' for name, n in held.items())}" if held else ""
    line += f"; {several(twice, 'exact duplicate')}" if twice else ""
    return line + (f"; {note}" if note else "") + told(passed_over)
