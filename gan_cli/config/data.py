"""From a ``dataset`` group to its splits, and what is asked of them."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from gan_cli.config.targets import instantiated, target_of
from gan_cli.data import LARGEST_SIZE, Dataset, Points
from gan_cli.errors import UserError


def training_data(node: Mapping[str, Any]) -> Dataset | Points:
    """The training split. UserError where the function that ``node`` names gives neither a Dataset nor Points."""
    found = instantiated(node, "dataset")
    if not isinstance(found, Dataset | Points):
        raise UserError(
            f"dataset: {node['_target_']} gives a {type(found).__name__}, not a gan_cli.data.Dataset or Points"
        )
    return found


def held_out(node: Mapping[str, Any]) -> Dataset | None:
    """The test split of images; None for a dataset that has none: its function has no parameter ``split``."""
    if "split" not in inspect.signature(target_of(node, "dataset")).parameters:
        return None
    return _images({**node, "split": "test"})


def validation(node: Mapping[str, Any]) -> Dataset | None:
    """The training images that a ``limit`` keeps out of training; None where there is no limit."""
    return None if node.get("limit") is None else _images({**node, "split": "validation"})


def _images(node: Mapping[str, Any]) -> Dataset:
    """A dataset of images. UserError if they are points."""
    found = training_data(node)
    if not isinstance(found, Dataset):
        raise UserError(f"dataset: {node['_target_']} gives points where images are needed")
    return found


def image_shape(shape: Any, source: object) -> tuple[int, ...]:
    """``shape`` as (C, H, W), grey or RGB, no side too long, or as (d,), that of points.

    UserError, which names ``source``, if it is neither.
    """
    sides = tuple(shape) if isinstance(shape, Sequence) else ()
    in_range = all(type(n) is int and 0 < n <= LARGEST_SIZE for n in sides)
    if not in_range or not (len(sides) == 1 or (len(sides) == 3 and sides[0] in (1, 3))):
        raise UserError(
            f"{source} has images of shape {shape}: they should be (1 or 3 channels, height, width), "
            f"at most {LARGEST_SIZE} pixels a side"
        )
    return sides


def class_names(conditional: bool, dataset: Dataset | Points) -> list[str]:
    """The classes that the networks are told of, by name; none unless ``conditional``. UserError for other labels."""
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
