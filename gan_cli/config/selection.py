"""What a ``gan-sample`` line selects: seeds and classes, as typed. This module imports no torch."""

import re
from collections.abc import Sequence
from typing import Any

from gan_cli.errors import UserError, did_you_mean

LARGEST_SEED, MOST_SEEDS = 2**63 - 1, 10_000_000
FEWEST_LATENTS, MOST_LATENTS = 2, 1000  # that a loop leads through


def seeds(seed: Any) -> int | list[int]:
    """One seed, from which all latents are drawn, or a list of seeds, each of one image.

    ``7`` is one seed. ``[1,2,3]``, ``0-63`` and ``[1,5-9]`` are lists; a seed counts once. UserError for other values.
    """
    if isinstance(seed, str) and re.fullmatch("[0-9]+", seed):
        seed = int(seed)  # 007: Hydra reads it as a word
    if type(seed) is int:
        if not 0 <= seed <= LARGEST_SEED:
            small = seed < 0
            raise UserError(f"seed={seed} is too {'small: at least 0' if small else f'large: at most {LARGEST_SEED}'}")
        return seed
    ranges = [_range(part) for part in (seed if isinstance(seed, list) else [seed])]
    if None in ranges or not ranges:
        shown = str(seed).replace("'", "").replace(" ", "")
        raise UserError(f"seed={shown}: write one seed, seed=7, or a seed for each image, seed=[1,2,3] or seed=0-63")
    if sum(last - first + 1 for first, last in filter(None, ranges)) > MOST_SEEDS:
        raise UserError(f"seed={seed} means too many images: at most {MOST_SEEDS:,} seeds")
    return list(dict.fromkeys(number for first, last in filter(None, ranges) for number in range(first, last + 1)))


def latents(value: Any) -> int | str:
    """How many latents a loop leads through, or the file whose latents are drawn. UserError for anything else."""
    if isinstance(value, str) and value.lower().endswith(".npz"):
        return value
    if type(value) is not int:
        raise UserError(f"latents={value} should be a number, of a loop, or latents=FILE.npz")
    if not FEWEST_LATENTS <= value <= MOST_LATENTS:
        few = value < FEWEST_LATENTS
        raise UserError(
            f"latents={value} is too {f'small: at least {FEWEST_LATENTS}' if few else f'large: at most {MOST_LATENTS}'}"
        )
    return value


def _range(part: Any) -> tuple[int, int] | None:
    """The first and the last seed of ``5`` or ``5-9``; None for anything else."""
    found = re.fullmatch("([0-9]{1,19})(?:-([0-9]{1,19}))?", str(part))
    if not found:
        return None
    first, last = int(found[1]), int(found[2] or found[1])
    return (first, last) if first <= last <= LARGEST_SEED else None


def classes(labels: Any, names: Sequence[str], source: object) -> list[int]:
    """The classes that ``labels`` asks for, each once: numbers, or words among the ``names`` of the classes.

    None and ``each`` mean all classes. Without ``names`` there are no classes. The UserError names ``source``, the
    checkpoint, or the known names.
    """
    if not names:
        if labels is not None:
            raise UserError(f"labels={labels}: the generator in {source} is not conditional; leave labels out")
        return []
    if labels in (None, "each"):
        return list(range(len(names)))
    asked = labels if isinstance(labels, list) else [labels]
    if not asked:
        raise UserError(f"labels={labels} should be classes from 0 to {len(names) - 1}, as in labels=[0,1], or each")
    return list(dict.fromkeys(_class(label, names) for label in asked))


def _class(label: Any, names: Sequence[str]) -> int:
    if type(label) is int and 0 <= label < len(names):
        return label
    if str(label) in names:  # subfolders may be called 2019 and 2020
        return names.index(str(label))
    if isinstance(label, str):
        raise UserError(f"no class {label!r}" + did_you_mean(label, names))
    raise UserError(f"labels={label} should be classes from 0 to {len(names) - 1}, as in labels=[0,1], or each")
