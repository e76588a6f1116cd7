"""Build a dataset's splits from a ``dataset`` group, and check them."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from gan_cli.config.targets import instantiated, target_of
from gan_cli.data import LARGEST_SIZE, Dataset, NoSplit, Points
from gan_cli.data.pairs import Domains
from gan_cli.errors import UserError


def training_data(node: Mapping[str, Any]) -> Dataset | Points | Domains:
    """The training split. UserError if the function that ``node`` names returns no data of these kinds."""
    found = instantiated(node, "dataset")
    if not isinstance(found, Dataset | Points | Domains):
        raise UserError(
            f"dataset: {node['_target_']} gives a {type(found).__name__}, not a gan_cli.data.Dataset or Points"
        )
    return found


def held_out(node: Mapping[str, Any]) -> Dataset | None:
    """The test split of images; None if there is none."""
    return _images(node, "test") if "split" in _parameters(node) else None


def validation(node: Mapping[str, Any]) -> Dataset | None:
    """The training images that ``limit`` excludes from training, or a folder's own validation images; or None."""
    return _images(node, "validation") if node.get("limit") is not None or "holdout" in _parameters(node) else None


def left_out(node: Mapping[str, Any], data: Dataset | Points | Domains) -> Dataset | None:
    """The images that ``limit`` or ``holdout`` leaves out of ``data``; None without one of these keys."""
    if not isinstance(data, Dataset):
        return None
    if node.get("limit") is not None:
        return validation(node)
    return held_out(node) if node.get("holdout") is not None else None


def held_out_domains(node: Mapping[str, Any]) -> Domains | None:
    """The test split of images of two domains; None if there is none."""
    try:
        found = training_data({**node, "split": "test"}) if "split" in _parameters(node) else None
    except NoSplit:
        return None
    if found is not None and not isinstance(found, Domains):
        raise UserError(f"dataset: {node['_target_']} gives images of one domain where two are needed")
    return found


def _parameters(node: Mapping[str, Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(target_of(node, "dataset")).parameters


def _images(node: Mapping[str, Any], split: str) -> Dataset | None:
    """A split of images; None if the data have no such split. UserError for points."""
    try:
        found = training_data({**node, "split": split})
    except NoSplit:
        return None
    if not isinstance(found, Dataset):
        raise UserError(f"dataset: {node['_target_']} gives points where images are needed")
    return found


def image_shape(shape: Any, source: object) -> tuple[int, ...]:
    """``shape`` as (C, H, W), grey, RGB or RGBA with sides within the limit, or as (d,) for points.

    Any other shape raises a UserError that names ``source``.
    """
    sides = tuple(shape) if isinstance(shape, Sequence) else ()
    in_range = all(type(n) is int and 0 < n <= LARGEST_SIZE for n in sides)
    if not in_range or not (len(sides) == 1 or (len(sides) == 3 and sides[0] in (1, 3, 4))):
        raise UserError(
            f"{source} has images of shape {shape}: they should be (1, 3 or 4 channels, height, width), "
            f"at most {LARGEST_SIZE} pixels a side"
        )
    return sides


def class_names(conditional: bool, dataset: Dataset | Points | Domains) -> list[str]:
    """The class names of a ``conditional`` run; empty otherwise. UserError if the labels do not fit them."""
    if not conditional:
        return []
    if isinstance(dataset, Points):
        raise UserError("conditional=true needs labels, and points have none: leave it out")
    if dataset.labels is None or len(dataset.class_names) < 2:
        raise UserError(
            "conditional=true needs labels and the names of two classes or more: of a folder, two subfolders and no "
            "image beside them"
        )
    lowest, highest = int(dataset.labels.min()), int(dataset.labels.max())
    if not 0 <= lowest <= highest < len(dataset.class_names):
        raise UserError(f"the data have labels from {lowest} to {highest}, and names for {len(dataset.class_names)}")
    return list(dataset.class_names)
