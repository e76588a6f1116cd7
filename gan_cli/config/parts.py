"""The parts of a game and its optimizers from a configuration: one function for each group."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from gan_cli.augment import Augment
from gan_cli.config.targets import bound, facts_wanted, module_of, target_of, whole_number
from gan_cli.errors import UserError, one_line
from gan_cli.training.games import PRECISIONS, Loss, Penalty
from gan_cli.training.state import MakeOptimizer


def loss(node: Mapping[str, Any]) -> Loss:
    """The loss function with its options bound. It is called once as a test."""
    function = bound(node, "loss")
    try:
        _, _ = function(torch.zeros(2), torch.zeros(2))
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"loss: {one_line(error)}") from error
    return function


def penalty(node: Mapping[str, Any]) -> Penalty:
    """The penalty of a ``penalty`` group."""
    clip = node.get("clip")
    if clip is not None and (not isinstance(clip, int | float) or isinstance(clip, bool) or not 0 < clip < math.inf):
        raise UserError(f"penalty.clip={clip} should be a number above 0")
    if node.get("_target_", "") is None:
        return Penalty(None, 1, clip)
    interval = whole_number(node.get("interval", 1), "penalty.interval")
    precision = node.get("precision", "auto")
    if precision not in PRECISIONS:
        raise UserError(f"penalty.precision={precision} should be one of {', '.join(PRECISIONS)}")
    settings = {name: value for name, value in node.items() if name not in ("interval", "clip", "precision")}
    target = target_of(settings, "penalty")
    if not (isinstance(target, type) and issubclass(target, nn.Module)):
        return Penalty(bound(settings, "penalty"), interval, clip, precision)
    return Penalty(module_of(settings, "penalty"), interval, clip, precision)


def augment(node: Mapping[str, Any], image_shape: Sequence[int], examples: int) -> Augment | None:
    """The augmentation of the discriminator's images, tested on two images of ``image_shape``; or None.

    ``examples`` is the number of training images, for an augmentation that goes by it.
    """
    if node.get("_target_", "") is None:
        return None
    found = module_of(node, "augment", **facts_wanted(node, {"examples": examples}, "augment"))
    if not isinstance(found, Augment):
        raise UserError(f"augment: {node['_target_']} gives a {type(found).__name__}, not a gan_cli.augment.Augment")
    try:
        shape = tuple(found(torch.zeros(2, *image_shape)).shape[1:])
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        shape, reason = (), one_line(error)
    else:
        reason = f"it makes images of shape {list(shape)}"
    if shape != tuple(image_shape) and len(image_shape) == 1:
        raise UserError("this augmentation is for images, and the data are points: leave augment out")
    if shape != tuple(image_shape):
        raise UserError(f"augment fails on images of shape {list(image_shape)}: {reason}")
    return found


def optimizers(node: Mapping[str, Any]) -> dict[str, MakeOptimizer]:
    """For each side, the function that makes its optimizer from parameters. It is tested on a dummy parameter."""
    makers = {}
    for side in ("generator", "discriminator"):
        group = f"optimizer.{side}"
        make = bound(node.get(side), group)
        dummy = nn.Parameter(torch.zeros(1))
        dummy.grad = torch.zeros(1)
        try:
            make([dummy]).step()
        except (TypeError, ValueError, RuntimeError, LookupError) as error:
            settings = {name: value for name, value in node[side].items() if not name.startswith("_")}
            raise UserError(f"{group} can't be built from {settings}: {one_line(error)}") from error
        makers[side] = make
    return makers
