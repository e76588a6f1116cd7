"""Build networks from a ``net`` group. They are tested and checked against the memory and a file's weights."""

import itertools
import math
import os
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from gan_cli.config.targets import MOST_PARAMETERS, checked_module, facts_wanted, instantiated, too_many, whole_number
from gan_cli.config.trust import shipped_targets
from gan_cli.errors import UserError, did_you_mean, one_line
from gan_cli.noise import PRIORS, Noise

MOST_LATENTS = 65_536  # dimensions of z
COPIES = 4  # of the weights in training: the weights, their gradients, Adam's two moments

Shapes = Mapping[str, tuple[int, ...]]
Maps = tuple[tuple[int, ...], tuple[int | None, ...]]  # the shapes of two inputs of a network, and of its outputs


def noise(net: Mapping[str, Any]) -> Noise:
    """The noise of a ``net`` group. UserError for an unknown prior or an invalid number of dimensions."""
    prior = net.get("prior")
    if prior not in PRIORS:
        raise UserError(f"no net.prior {prior!r}" + did_you_mean(str(prior), PRIORS))
    z_dim = whole_number(net.get("z_dim"), "net.z_dim")
    if z_dim > MOST_LATENTS:
        raise UserError(f"net.z_dim={z_dim} is too large: at most {MOST_LATENTS}")
    return Noise(prior, z_dim)


def does(net: Mapping[str, Any]) -> str:
    """What the generator of a ``net`` group does: ``draws`` from noise, ``translates`` images, or ``classifies`` them.

    A group with ``z_dim`` or ``prior`` draws. A group with ``features`` classifies, and its discriminator sees them.
    """
    if "z_dim" in net or "prior" in net or "generator" not in net:
        return "draws"
    return "classifies" if "features" in net else "translates"


def generator(net: Mapping[str, Any], facts: Mapping[str, Any], saved: Shapes | None = None) -> nn.Module:
    """The generator of a ``net`` group for data with these ``facts``: image_shape, and classes (0: unconditional).

    ``source_channels`` among the facts are those of the images that it translates or classifies. With ``saved``, it is
    built only if its weights have exactly these shapes. A file thus gets no more memory than its weights need.
    """
    image, does_classify = facts["image_shape"], does(net) == "classifies"
    if "source_channels" not in facts:
        z_dim = noise(net).z_dim
        shapes: Maps = ((2, z_dim), (2, *image))
        return _network(net.get("generator"), {**facts, "z_dim": z_dim}, "net.generator", saved, shapes)
    facts = {**facts, "features": _features(net)} if does_classify else facts
    outputs = (facts["classes"],) if does_classify else image
    shapes = ((2, facts["source_channels"], *image[1:]), (2, *outputs))
    return _network(net.get("generator"), facts, "net.generator", saved, shapes, told=not does_classify)


def discriminator(net: Mapping[str, Any], facts: Mapping[str, Any], saved: Shapes | None = None) -> nn.Module:
    """The discriminator of a ``net`` group; ``saved`` as in :func:`generator`.

    In a game of translation it gives logits for patches. ``condition_channels`` among the facts are those of the source
    that it sees beside an image. Beside a classifier it sees features.
    """
    channels, *sides = facts["image_shape"]
    shapes: Maps = ((2, channels, *sides), (2,))
    if does(net) == "classifies":
        facts = {**facts, "features": _features(net)}
        shapes = ((2, facts["features"]), (2,))
        return _network(net.get("discriminator"), facts, "net.discriminator", saved, shapes, told=False)
    if "source_channels" in facts:
        shapes = (2, channels + facts["condition_channels"], *sides), (2, 1, None, None)
    return _network(net.get("discriminator"), facts, "net.discriminator", saved, shapes)


def _features(net: Mapping[str, Any]) -> int:
    """How many features of an image a classifier makes."""
    return whole_number(net["features"], "net.features")


def pair(net: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator of a ``net`` group. The generator draws its initial weights first."""
    return generator(net, facts), discriminator(net, facts)


def _network(
    node: Any,
    facts: Mapping[str, Any],
    group: str,
    saved: Shapes | None,
    shapes: Maps,
    told: bool = True,
) -> nn.Module:
    """A network that maps the first of ``shapes`` to the second. Ours are tested before they take any memory.

    None among the expected shape is any number. ``told`` says whether it is given labels, if there are classes.
    """
    wanted = facts_wanted(node, facts, group)
    classes = facts.get("classes", 0) if told else 0
    if "classes" in node:
        raise UserError(f"{group}.classes is the data's to say: leave it out, or add conditional=true")
    if classes and "classes" not in wanted:
        raise UserError(f"{group}: {node['_target_']} takes no labels; leave conditional=true out, or choose net=conv")
    if node["_target_"] in shipped_targets("net"):  # the user's own code may not support a build without memory
        sketch = checked_module(_sketch(node, group, wanted), node, group)
        _check_size(sketch, group, saved)
        _try_out(sketch, *shapes, group, classes > 0)
        return instantiated(node, group, **wanted)
    network = checked_module(instantiated(node, group, **wanted), node, group)
    _try_out(network, *shapes, group, classes > 0)
    return network


def _sketch(node: Mapping[str, Any], group: str, facts: Mapping[str, Any]) -> Any:
    """The network's shapes, built without memory. UserError as soon as it has more layers than any of ours."""
    registered = itertools.count(1)

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if next(registered) > MOST_PARAMETERS:
            raise too_many(group)

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about layers without weights; _check_size reports them
            return instantiated(node, group, **facts)
    finally:
        hook.remove()


def _check_size(sketch: nn.Module, group: str, saved: Shapes | None) -> None:
    """UserError if the weights' shapes differ from ``saved``, or if training needs more than this machine's memory."""
    shapes = {name: tuple(value.shape) for name, value in sketch.state_dict().items()}
    if saved is not None and shapes != saved:
        name = min(name for name in {*shapes, *saved} if shapes.get(name) != saved.get(name))
        raise UserError(
            f"the saved weights don't fit the configuration of {group}: {name} has shape {saved.get(name)} in the "
            f"file, and should have {shapes.get(name)}"
        )
    if empty := [name for name, parameter in sketch.named_parameters() if parameter.numel() == 0]:
        raise UserError(f"{group}: {empty[0]} is empty: a layer needs a width of 1 or more")
    needed = COPIES * sum(value.nbytes for value in (*sketch.parameters(), *sketch.buffers()))
    if needed > physical_memory():
        raise UserError(
            f"{group} needs {needed / 2**30:,.0f} GiB to be trained, this machine has "
            f"{physical_memory() / 2**30:,.0f}: make it narrower"
        )


def physical_memory() -> float:
    """The machine's memory in bytes; infinite if the system does not report it."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else math.inf


@torch.no_grad()
def _try_out(
    network: nn.Module, inputs: tuple[int, ...], expected: tuple[int | None, ...], group: str, labelled: bool
) -> None:
    """Raise UserError before step 1 unless ``network`` maps ``inputs`` to the ``expected`` shape."""
    try:
        on = next((parameter.device for parameter in network.parameters()), None)
        labels = [torch.zeros(inputs[0], dtype=torch.int64, device=on)] if labelled else []
        shape = tuple(network.eval()(torch.zeros(inputs, device=on), *labels).shape)
    except (RuntimeError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{group} fails on an input of shape {list(inputs)}: {one_line(error)}") from error
    if len(shape) != len(expected) or any(want not in (None, n) for n, want in zip(shape, expected, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in expected)
        raise UserError(f"{group} gives shape {list(shape)} where [{wanted}] is needed")
    network.train()
