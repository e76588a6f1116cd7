"""Images of two domains, sources and targets: in pairs, or without. A game translates sources into targets.

A drawn batch holds the source's channels first, then the target's: float32 ``[N, Cs + Ct, H, W]`` in [-1, 1].
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_cli import processes
from gan_cli.data import NoSplit, decode, labelling, reading, to_unit
from gan_cli.data.cache import Decoded, Images, Read
from gan_cli.data.decode import Target
from gan_cli.data.fingerprint import fingerprint
from gan_cli.data.made import MADE
from gan_cli.data.reading import Column, counted, few, read_images, reasons, roots_of, target_of, told
from gan_cli.data.sources import File
from gan_cli.errors import UserError, printable

DIRECTIONS = ("AtoB", "BtoA")
LAYOUTS = ("side_by_side", "folders")
DOMAIN = re.compile(r"(train|val|valid|validation|test|)_?([ab])", re.IGNORECASE)  # a folder of one domain


@dataclass(frozen=True)
class Jitter:
    """Random crops of ``sides`` (height, width), and mirror images with probability 1/2 if ``flip``.

    Isola et al. 2017 (arXiv 1611.07004), section 6.2: images are decoded larger than the networks see them.
    """

    sides: tuple[int, int]
    flip: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """``images`` ``[N, C, H, W]``, any type, as ``[N, C, *sides]``. All channels of an image move together."""
        height, width = self.sides
        down, right = images.shape[-2] - height, images.shape[-1] - width
        if down or right:
            share = _uniform(len(images), 2)
            places = (share * torch.tensor([down + 1, right + 1])).long().tolist()
            images = torch.stack(
                [image[:, y : y + height, x : x + width] for image, (y, x) in zip(images, places, strict=True)]
            )
        if self.flip:
            mirrored = (_uniform(len(images), 1)[:, 0] < 0.5).to(images.device)
            images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        return images


def _uniform(n: int, k: int) -> Tensor:
    """``k`` numbers from U(0, 1) for each of the ``n`` images of this process, ``[n, k]``.

    They are its share of those that are drawn for the whole minibatch: the number of processes changes nothing.
    """
    return processes.share(torch.rand(n * processes.count(), k))


@dataclass(frozen=True)
class Domains:
    """What pairs and unpaired images have in common. ``targets`` are uint8 ``[M, Ct, H, W]``.

    ``jitter`` has the sides that the networks see. ``names`` are those of the sources. ``labels`` are those of the
    sources, if they have any. They, the ``class_names``, ``description`` and ``fingerprint`` are as of
    :class:`gan_cli.data.Dataset`.
    """

    images: Tensor
    source_channels: int
    jitter: Jitter
    names: Sequence[str] = ()
    description: str = ""
    fingerprint: str | None = None
    labels: Tensor | None = None
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def examples(self) -> Tensor:
        """What batches are drawn from: ``images``."""
        return self.images

    @property
    def sources(self) -> Tensor:
        """The sources, uint8 ``[N, Cs, H, W]``."""
        return self.images[:, : self.source_channels]

    @property
    def targets(self) -> Tensor:
        raise NotImplementedError

    def network_input(self, images: Tensor) -> Tensor:
        """A batch of the examples as float32 ``[N, Cs + Ct, H, W]`` in [-1, 1], jittered."""
        raise NotImplementedError

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(Ct, H, W): the shape of what a generator draws."""
        return (self.targets.shape[1], *self.jitter.sides)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The networks' arguments: ``image_shape``, and ``source_channels``, Cs."""
        return {"image_shape": self.image_shape, "source_channels": self.source_channels}


@dataclass(frozen=True)
class Pairs(Domains):
    """Pairs: ``images`` holds both of a pair in its channels, uint8 ``[N, Cs + Ct, H, W]``."""

    @property
    def targets(self) -> Tensor:
        return self.images[:, self.source_channels :]

    def network_input(self, images: Tensor) -> Tensor:
        return to_unit(self.jitter(images))  # drawn once for both of a pair


@dataclass(frozen=True, kw_only=True)
class Unpaired(Domains):
    """Sources, ``images``, and ``others``, the targets. An epoch draws every source once, and targets at random."""

    others: Tensor

    @property
    def targets(self) -> Tensor:
        return self.others

    def network_input(self, images: Tensor) -> Tensor:
        places = (_uniform(len(images), 1)[:, 0] * len(self.others)).long()
        drawn = self.others[places].to(images.device)
        return to_unit(torch.cat([self.jitter(images), self.jitter(drawn)], dim=1))


def pairs(
    root: str | Sequence[str] | None = None,
    a: str | Sequence[str] | None = None,
    b: str | Sequence[str] | None = None,
    layout: str = "side_by_side",
    make: str | None = None,
    direction: str = "AtoB",
    size: int | Sequence[int] = 256,
    load_size: int | Sequence[int] | None = None,
    flip: bool = False,
    channels: int | Sequence[int] = 3,
    fit: str = "crop",
    range: int | str | Sequence[float] = "auto",
    holdout: float | None = None,
    split: str = "train",
) -> Pairs:
    """Pairs of images, A and B. ``direction`` says which is the source; AtoB translates A into B.

    - ``root`` with the ``layout`` side_by_side: each image holds A in its left half and B in its right half.
    - ``a`` and ``b``, or ``root`` with the ``layout`` folders: images of the same name, whatever their suffix. A root
      holds the folders A and B, or trainA, trainB, testA, testB.
    - ``root`` and ``make``: each image is B. A is made from it: grey, edges, blur (a quarter of the resolution) or mask
      (a grey square in the middle).

    ``size`` is what the networks see, a side or (height, width). With ``load_size``, images are decoded at that size,
    and each training batch crops ``size`` at random; with ``flip`` half of the pairs are mirrored. Held-out pairs have
    no jitter. ``channels`` is 1, 3 or 4, or (those of A, those of B). ``fit`` and ``range`` are those of
    :func:`gan_cli.data.folder.folder`, and so are the splits; ``holdout`` goes by the name of a pair.

    UserError if no pair can be read, and for options that don't fit. NoSplit if there is no pair of ``split``.
    """
    _check_options(direction, holdout, layout, make)
    small, large, jitter = _sizes(size, load_size, flip, split)
    targets = [target_of(large, channel, fit, range) for channel in _two_channels(channels, make)]
    order = slice(None, None, 1 if direction == "AtoB" else -1)
    single = make is not None or (a is None and b is None and layout == "side_by_side")
    units = _single(root, make, targets, order) if single else _matched(root, a, b, targets, order)
    where = ", ".join(map(str, units.roots))
    if not units.files:
        raise UserError(f"no image files below {where}; it may be the wrong folder" + told(units.passed_over))
    shape = targets[0].channels + targets[1].channels, targets[0].height, targets[0].width
    kind = [f"{direction} {small} {make or layout}", fit, str(range)]
    read = read_images(units.files, units.columns, units.joined, shape, kind, units.roots)
    passed_over = [*units.passed_over, *reasons(read.unreadable)]
    if not len(read.images):
        raise UserError(f"none of the {len(units.files)} pairs below {where} can be read" + told(passed_over))
    chosen = _chosen(read, holdout, split)
    if not chosen.names:
        raise NoSplit(f"no {split} pairs below {where}" + told(passed_over))
    cs, ct = (target.channels for target in targets[order])
    line = f"{len(chosen.names):,} pairs of {_shown(jitter, cs, ct)}{_held(chosen.counts, split)}"
    line += (f"; {read.note}" if read.note else "") + told(passed_over)
    return Pairs(chosen.images, cs, jitter, chosen.names, line, fingerprint(chosen.names, chosen.digests))


def unpaired(
    root: str | Sequence[str] | None = None,
    a: str | Sequence[str] | None = None,
    b: str | Sequence[str] | None = None,
    direction: str = "AtoB",
    size: int | Sequence[int] = 256,
    load_size: int | Sequence[int] | None = None,
    flip: bool = False,
    channels: int | Sequence[int] = 3,
    fit: str = "crop",
    range: int | str | Sequence[float] = "auto",
    holdout: float | None = None,
    split: str = "train",
) -> Pairs | Unpaired:
    """Images of two domains, A and B: ``a`` and ``b``, or ``root`` with the folders trainA, trainB, testA, testB.

    The options are those of :func:`pairs`. Each domain is jittered on its own. Where held-out images of both domains
    have the same names, they are known to be pairs, and come as :class:`Pairs`: training never sees that. UserError if
    a domain holds no image that can be read. NoSplit if one of them holds no image of ``split``.
    """
    _check_options(direction, holdout)
    small, large, jitter = _sizes(size, load_size, flip, split)
    domains = _of_domains("unpaired", root, a, b)
    passed_over, found = [*domains.passed_over], []
    for letter, files, channel in zip("AB", (domains.a, domains.b), _two_channels(channels), strict=True):
        target = target_of(large, channel, fit, range)
        shape, kind = (channel, target.height, target.width), [f"{letter} {small}", fit, str(range)]
        read = read_images(files, [Column(files, target)], lambda readers: readers[0], shape, kind, domains.roots)
        passed_over += reasons(read.unreadable)
        if not len(read.images):
            raise UserError(f"no image of domain {letter} can be read" + told(passed_over))
        found.append(_chosen(read, holdout, split))
        if not found[-1].names:
            raise NoSplit(f"no {split} images of domain {letter}" + told(passed_over))
    sources, targets = found if direction == "AtoB" else found[::-1]
    known = fingerprint([*sources.names, *targets.names], torch.cat([sources.digests, targets.digests]))
    cs, ct = sources.images.shape[1], targets.images.shape[1]
    line = (
        f"{len(sources.names):,} source and {len(targets.names):,} target images of {_shown(jitter, cs, ct)}"
        f"{_held(sources.counts, split)}{told(passed_over)}"
    )
    common = sorted(set(sources.names) & set(targets.names))
    if split != "train" and common:
        both = torch.cat([_rows(sources, common), _rows(targets, common)], dim=1)
        return Pairs(both, cs, jitter, common, line, known)
    return Unpaired(sources.images, cs, jitter, sources.names, line, known, others=targets.images)


def _check_options(direction: str, holdout: object, layout: str = LAYOUTS[0], make: str | None = None) -> None:
    if direction not in DIRECTIONS:
        raise UserError(f"dataset.direction={direction}: choose from {', '.join(DIRECTIONS)}")
    if holdout is not None and not (isinstance(holdout, int | float) and 0 < holdout < 1):
        raise UserError(f"dataset.holdout={holdout} should be a share between 0 and 1, as in 0.1")
    if layout not in LAYOUTS:
        raise UserError(f"dataset.layout={layout}: choose from {', '.join(LAYOUTS)}")
    if make is not None and make not in MADE:
        raise UserError(f"dataset.make={make}: choose from {', '.join(MADE)}")


def _sizes(size: object, load_size: object, flip: bool, split: str) -> tuple[Any, Any, Jitter]:
    """The sides that the networks see, those at which images are decoded, and the jitter. Held-out data have none."""
    small = decode.asked_size(size)
    if split != "train" or load_size is None:
        return small, list(small), Jitter(small, flip and split == "train")
    large = decode.asked_size(load_size)
    if large[0] < small[0] or large[1] < small[1]:
        raise UserError(
            f"dataset.load_size={load_size} should be at least dataset.size={size}, which is cropped from it"
        )
    return small, list(large), Jitter(small, flip)


def _two_channels(channels: Any, make: str | None = None) -> list[Any]:
    """The channels of A and of B. What is made from an image has channels of its own."""
    both = list(channels) if isinstance(channels, list | tuple) else [channels, channels]
    if len(both) != 2:
        raise UserError(f"dataset.channels={channels} should be one number, or two: [those of A, those of B]")
    return [1, both[1]] if make in ("grey", "edges") else [both[1], both[1]] if make else both


def _shown(jitter: Jitter, source_channels: int, target_channels: int) -> str:
    """``64x64, grey to colour``."""
    colours = {1: "grey", 3: "colour", 4: "colour and transparency"}
    height, width = jitter.sides
    return f"{width}x{height}, {colours[source_channels]} to {colours[target_channels]}"


def _held(counts: Mapping[str | None, int], split: str) -> str:
    held = {name: counts.get(name, 0) for name in ("validation", "test") if name != split}
    return "".join(f"; held out: {n:,} for {name}" for name, n in held.items() if n)


def _plain(name: str) -> str:
    """The ``name`` of a file without its suffix. Files of the same plain name are a pair."""
    return PurePosixPath(name).with_suffix("").as_posix()


def _splits(names: Sequence[str], holdout: float | None) -> list[str | None]:
    """The split of each name. ``holdout`` takes a share of the training names for the split test.

    The first 4 bytes of a name's digest are a uniform number: a pair is on the same side at every start, and so are two
    unpaired images of the same name.
    """
    found = labelling.split_of([tuple(name.split("/")) for name in names])
    if holdout is None or "test" in found:
        return found
    shares = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32 for name in names]
    return ["test" if s == "train" and share < holdout else s for s, share in zip(found, shares, strict=True)]


class _Chosen(NamedTuple):
    """The images of a split, their names and digests, and how many images each split has."""

    images: Tensor
    names: list[str]
    digests: Tensor
    counts: Mapping[str | None, int]


def _chosen(read: Images, holdout: float | None, split: str) -> _Chosen:
    names = [_plain(file.name) for file in read.files]
    here = _splits(names, holdout)
    keep = torch.tensor([one == split for one in here])
    images = read.images if keep.all() else read.images[keep]
    return _Chosen(images, list(compress(names, keep.tolist())), read.digests[keep], Counter(here))


def _rows(chosen: _Chosen, names: Sequence[str]) -> Tensor:
    """The images of these ``names``."""
    place = {name: i for i, name in enumerate(chosen.names)}
    return chosen.images[torch.tensor([place[name] for name in names])]


class _Files(NamedTuple):
    """The files of A and those of B, named below the folder of their domain; the roots; what was passed over."""

    a: list[File]
    b: list[File]
    roots: list[Path]
    passed_over: list[str]


def _of_domains(dataset: str, root: Any, a: Any, b: Any) -> _Files:
    """The files of both domains. UserError unless both have some."""
    if a is None and b is None:
        return _below(roots_of(root, "root", dataset))
    places = [roots_of(a, "a", dataset), roots_of(b, "b", dataset)]
    finds = [reading.find(roots) for roots in places]
    for letter, roots, found in zip("ab", places, finds, strict=True):
        if not found.files:
            raise UserError(f"no image files in dataset.{letter}={', '.join(map(str, roots))}")
    others = counted(finds[0].others + finds[1].others)
    return _Files(list(finds[0].files), list(finds[1].files), [*places[0], *places[1]], others)


def _below(roots: list[Path]) -> _Files:
    """The files below ``roots`` that lie in folders A and B, or trainA, trainB and so on."""
    found = reading.find(roots)
    domains: dict[str, list[File]] = {"a": [], "b": []}
    outside = 0
    paths = labelling.unwrapped([tuple(file.name.split("/")) for file in found.files])
    for file, path in zip(found.files, paths, strict=True):
        match = DOMAIN.fullmatch(path[0]) if len(path) > 1 else None
        if match:
            split = [match[1].lower()] if match[1] else []
            domains[match[2].lower()].append(replace(file, name="/".join([*split, *path[1:]])))
        outside += match is None
    if not all(domains.values()):
        raise UserError(
            f"{', '.join(map(str, roots))} should hold folders A and B, or trainA, trainB, testA and testB; or name "
            "two folders: dataset.a=PATH dataset.b=PATH"
        )
    others = counted(found.others) + ([f"{outside:,} outside A and B"] if outside else [])
    return _Files(domains["a"], domains["b"], roots, others)


class _Units(NamedTuple):
    """Pairs to be decoded: a file for each, and what :func:`gan_cli.data.reading.read_images` needs beside them."""

    files: list[File]
    columns: list[Column]
    joined: Callable[[Sequence[Read]], Read]
    roots: list[Path]
    passed_over: list[str]


def _matched(root: Any, a: Any, b: Any, targets: Sequence[Target], order: slice) -> _Units:
    """The files that A and B have in common, as pairs. UserError if they have none."""
    domains = _of_domains("pairs", root, a, b)
    by_name = [{_plain(file.name): file for file in reversed(files)} for files in (domains.a, domains.b)]
    common = sorted(by_name[0].keys() & by_name[1].keys())
    alone = []
    for letter, files, here, other in zip("AB", domains[:2], by_name, by_name[::-1], strict=True):
        lonely = sorted(printable(file.name) for name, file in here.items() if name not in other)
        alone += [f"{len(lonely):,} only in {letter} ({few(lonely, 3)})"] if lonely else []
        again = len(files) - len(here)
        alone += [f"{again:,} of a name that {letter} has already"] if again else []
    if not common:
        raise UserError(
            f"no image of A has the name of an image of B: {', '.join(alone)}; pairs have the same name, whatever the "
            "suffix. For images without pairs: dataset=unpaired"
        )
    both = {name: [by_name[0][name], by_name[1][name]][order] for name in common}
    units = [File(name, " ".join(part.stamp for part in pair), pair[0].read) for name, pair in both.items()]

    def joined(readers: Sequence[Read]) -> Read:
        def read(file: File) -> Decoded:
            parts = [decoded(part) for decoded, part in zip(readers, both[file.name], strict=True)]
            digest = hashlib.sha256(b"".join(part.digest for part in parts)).digest()[:8]
            return Decoded(np.concatenate([part.pixels for part in parts]), digest)

        return read

    columns = [Column([pair[i] for pair in both.values()], target) for i, target in enumerate(targets[order])]
    return _Units(units, columns, joined, domains.roots, domains.passed_over + alone)


def _single(root: Any, make: str | None, targets: Sequence[Target], order: slice) -> _Units:
    """Files that hold both of a pair side by side, or the target from which the source is made."""
    roots = roots_of(root, "root", "pairs")
    found = reading.find(roots)
    files = list(found.files)
    pixels = _side_by_side(targets, order) if make is None else _made(make, order)
    return _Units(files, [Column(files, targets[1], pixels)], lambda readers: readers[0], roots, counted(found.others))


def _side_by_side(targets: Sequence[Target], order: slice) -> reading.Pixels:
    """A decoder of images that hold A in their left half and B in their right half."""

    def pixels(image: Image.Image, target: Target) -> np.ndarray:
        whole = decode.upright(image)
        middle, width, height = whole.width // 2, whole.width, whole.height
        halves = [whole.crop(box) for box in ((0, 0, middle, height), (width - middle, 0, width, height))]
        for half in halves:  # they are upright already
            half.info = {name: value for name, value in half.info.items() if name == "transparency"}
        # The range of deep pixels is that of the whole image, which ``target`` has.
        known = [replace(of, whole=target.whole, floating=target.floating) for of in targets]
        return np.concatenate([decode.pixels(*one) for one in zip(halves[order], known[order], strict=True)])

    return pixels


def _made(make: str, order: slice) -> reading.Pixels:
    """A decoder of images that are B. A is made from each."""

    def pixels(image: Image.Image, target: Target) -> np.ndarray:
        picture = reading.read_image(image, target)
        return np.concatenate([MADE[make](picture), picture][order])

    return pixels
