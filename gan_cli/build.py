"""From a configuration to the objects it names: the only place where Hydra instantiates anything."""

import functools
import inspect
import math
import os
import pkgutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path, PurePath
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

import torch
import yaml
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf.errors import OmegaConfBaseException
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from gan_cli.augment import Augment
from gan_cli.data import LARGEST_SIZE, Dataset, Points
from gan_cli.errors import UserError, did_you_mean, one_line
from gan_cli.noise import PRIORS

PAIR = ("generator", "discriminator")
GROUPS = ("dataset", "net", "loss", "penalty", "augment", "optimizer")
MOST_PARAMETERS = 2_000  # tensors in a network: the header of a checkpoint with two such has 3 of its 4 MiB
MOST_LATENTS = 65_536  # dimensions of z
GRADIENT_PENALTIES = frozenset({"r1", "r2", "r1r2", "gradient_penalty", "dragan"})
NOT_LIPSCHITZ = (GRADIENT_PENALTIES - {"gradient_penalty"}) | {"LeCam", "None"}  # of the penalties shipped
COPIES = 4  # of the weights in training: themselves, gradients, two of Adam's


@functools.cache
def shipped_targets(group: str = "") -> frozenset[str]:
    """Every ``_target_`` that the shipped configurations of ``group`` (all, by default) name."""
    top = Path(str(resources.files("gan_cli.configs")))
    files = (top / group).rglob("*.yaml")
    contents = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in files)
    return frozenset(str(node["_target_"]) for content in contents for node in named(content))


def named(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping in ``node`` that has a ``_target_``, at any depth."""
    if isinstance(node, Mapping):
        if node.get("_target_") is not None:
            yield node
        for value in node.values():
            yield from named(value)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for value in node:
            yield from named(value)


def check_trusted(config: Mapping[str, Any], source: PurePath, trust: Sequence[str], group: str) -> None:
    """Refuse a configuration that came out of a file and names code that gan-cli's own configurations don't name.

    Only the targets shipped in ``group`` pass, by their exact names and where that group has them, not within one
    another; ``trust`` lists further packages, which only the command line may name. UserError on anything else: a
    checkpoint is data, and opening one must not run what a stranger wrote into it.
    """
    own = [config.get(part) for part in PAIR] if group in ("net", "optimizer") else [config]
    for node in named(config):
        target = str(node["_target_"])
        package = target.split(".")[0]
        shipped = target in shipped_targets(group) and any(node is place for place in own)
        if not shipped and not (package in trust and _defined_in(target, package)):
            if package == __name__.split(".")[0]:
                raise UserError(f"{source} names {target}, which is no {group} of gan-cli's; it is not to be trusted")
            raise UserError(
                f"{source} names {target}, which is not part of gan-cli; if you trust it: trust=[{package}]"
            )
    check_resolved(config, source)


def check_resolved(config: Any, source: PurePath) -> None:
    """Refuse a configuration out of a file that would look something up when it is read. UserError."""
    if "${" in str(config):
        raise UserError(f"{source} holds an unresolved ${{…}}, which gan-cli never writes; it is not to be trusted")


def _defined_in(target: str, package: str) -> bool:
    """Whether ``target`` is ``package``'s own, not something that it imports (``mine.os.system``)."""
    module = getattr(_target({"_target_": target}, target), "__module__", None) or ""
    return module.split(".")[0] == package


def _target(node: Any, group: str) -> Callable[..., Any]:
    """The function or class that ``node`` names."""
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise UserError(f"{group} names no _target_; choose one of its configurations: {group.replace('.', '/')}=NAME")
    try:
        return pkgutil.resolve_name(node["_target_"])
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{group}: can't find {node['_target_']}: {one_line(error)}") from error


def _check_types(node: Mapping[str, Any], target: Callable[..., Any], group: str) -> None:
    """UserError where ``node`` gives a word for a number: what the annotations of ``target``'s parameters tell."""
    for name, parameter in inspect.signature(target).parameters.items():
        if name not in node:
            continue
        annotation = parameter.annotation
        alternatives = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
        if not set(alternatives) <= {int, float, bool, str, type(None)}:
            continue
        accepted = (*alternatives, int) if float in alternatives else alternatives
        if not isinstance(node[name], accepted) or (isinstance(node[name], bool) and bool not in accepted):
            names = " or ".join("null" if a is type(None) else a.__name__ for a in alternatives)
            raise UserError(f"{group}.{name}={node[name]} should be {names}")


def _instantiate(node: Any, group: str, **facts: Any) -> Any:
    """The object that a group's ``node`` names, given ``facts`` besides. UserError where they don't fit."""
    _check_types(node, _target(node, group), group)
    if internal := [name for name in node if name.startswith("_") and name not in ("_target_", "_partial_")]:
        raise UserError(f"{group}: gan-cli takes no {internal[0]}; name the options by their names")
    try:
        return instantiate(dict(node), _convert_="all", **facts)
    except (InstantiationException, OmegaConfBaseException) as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        raise UserError(f"{group}: {one_line(cause or error)}") from error


def _facts_wanted(node: Mapping[str, Any], facts: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Those ``facts`` that the constructor named by ``node`` has parameters for; functions are called for theirs."""
    wanted = inspect.signature(_target(node, group)).parameters
    wanted_facts = {name: fact for name, fact in facts.items() if name in wanted and name not in node}
    return {name: fact() if callable(fact) else fact for name, fact in wanted_facts.items()}


def dataset(node: Mapping[str, Any]) -> Dataset | Points:
    """The training split. UserError where the function that ``node`` names gives neither a Dataset nor Points."""
    found = _instantiate(node, "dataset")
    if not isinstance(found, Dataset | Points):
        raise UserError(
            f"dataset: {node['_target_']} gives a {type(found).__name__}, not a gan_cli.data.Dataset or Points"
        )
    return found


def held_out(node: Mapping[str, Any]) -> Dataset | None:
    """The test split of images; None for a dataset that has none: its function has no parameter ``split``."""
    if "split" not in inspect.signature(_target(node, "dataset")).parameters:
        return None
    return _images({**node, "split": "test"})


def validation(node: Mapping[str, Any]) -> Dataset | None:
    """The training images that a ``limit`` keeps out of training; None where there is no limit."""
    return None if node.get("limit") is None else _images({**node, "split": "validation"})


def _images(node: Mapping[str, Any]) -> Dataset:
    """A dataset of images. UserError if they are points."""
    found = dataset(node)
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


def noise(net: Mapping[str, Any]) -> tuple[str, int]:
    """The noise of a ``net`` group: its prior and its dimensions."""
    prior = net.get("prior")
    if prior not in PRIORS:
        raise UserError(f"no net.prior {prior!r}" + did_you_mean(str(prior), PRIORS))
    z_dim = _whole(net.get("z_dim"), "net.z_dim")
    if z_dim > MOST_LATENTS:
        raise UserError(f"net.z_dim={z_dim} is too large: at most {MOST_LATENTS}")
    return prior, z_dim


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


def saved_classes(config: Mapping[str, Any], source: PurePath) -> int:
    """How many classes the networks of a saved run are told of. UserError where ``source`` has no list of names."""
    names = config.get("class_names", [])  # older files say nothing: they are unconditional
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{source} should have its classes' names in a list, and has {str(names)[:80]}")
    shape = config.get("image_shape")
    if names and isinstance(shape, list) and len(shape) == 1:
        raise UserError(f"{source} has classes of points, which gan-cli never writes; it is not to be trusted")
    return len(names)


def _whole(value: Any, name: str) -> int:
    """``value`` if it is a whole number from 1 up; UserError if not."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{name}={value} should be a whole number from 1 up")
    return value


Shapes = Mapping[str, tuple[int, ...]]


def generator(net: Mapping[str, Any], facts: Mapping[str, Any], saved: Shapes | None = None) -> nn.Module:
    """The generator of a ``net`` group for data with these ``facts``: image_shape, and classes (0: unconditional).

    With the shapes of ``saved`` weights, it is built only if it has just these: no file gets more than it holds.
    """
    z_dim = noise(net)[1]
    shapes = (2, z_dim), (2, *facts["image_shape"])
    return _network(net.get("generator"), {**facts, "z_dim": z_dim}, "net.generator", saved, shapes)


def discriminator(net: Mapping[str, Any], facts: Mapping[str, Any], saved: Shapes | None = None) -> nn.Module:
    """The discriminator of a ``net`` group; ``saved`` as in :func:`generator`."""
    shapes = (2, *facts["image_shape"]), (2,)
    return _network(net.get("discriminator"), facts, "net.discriminator", saved, shapes)


def _network(
    node: Any,
    facts: Mapping[str, Any],
    group: str,
    saved: Shapes | None,
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> nn.Module:
    """A network that maps the first of ``shapes`` to the second: tried out, without numbers where it is one of ours."""
    wanted = _facts_wanted(node, facts, group)
    classes = facts.get("classes", 0)
    if "classes" in node:
        raise UserError(f"{group}.classes is the data's to say: leave it out, or add conditional=true")
    if classes and "classes" not in wanted:
        raise UserError(f"{group}: {node['_target_']} takes no labels; leave conditional=true out, or choose net=conv")
    if node["_target_"] in shipped_targets("net"):  # code of the user's own need not bear being built without numbers
        sketch = _module(_sketch(node, group, wanted), node, group)
        _check_size(sketch, group, saved)
        _try_out(sketch, *shapes, group, classes > 0)
        return _instantiate(node, group, **wanted)
    network = _module(_instantiate(node, group, **wanted), node, group)
    _try_out(network, *shapes, group, classes > 0)
    return network


def _module(network: Any, node: Mapping[str, Any], group: str) -> nn.Module:
    """``network``; UserError unless it is one."""
    if not isinstance(network, nn.Module):
        raise UserError(f"{group}: {node['_target_']} gives a {type(network).__name__}, not a torch module")
    if sum(1 for _ in network.parameters()) > MOST_PARAMETERS:
        raise _too_many(group)
    return network


def _too_many(group: str) -> UserError:
    return UserError(f"{group} has more than {MOST_PARAMETERS:,} parameter tensors: use fewer layers")


def _sketch(node: Mapping[str, Any], group: str, facts: Mapping[str, Any]) -> Any:
    """The network's shapes, without memory for any number; UserError as soon as it has more layers than any of ours."""
    registered = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal registered
        registered += 1
        if registered > MOST_PARAMETERS:
            raise _too_many(group)

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers without a number: _check_size tells
            return _instantiate(node, group, **facts)
    finally:
        hook.remove()


def _check_size(sketch: nn.Module, group: str, saved: Shapes | None) -> None:
    """UserError if the network's weights are not those of ``saved``, or can't be trained in this machine's memory."""
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
    """The machine's memory in bytes; infinite where the system doesn't tell."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else math.inf


@torch.no_grad()
def _try_out(
    network: nn.Module, inputs: tuple[int, ...], expected: tuple[int, ...], group: str, labelled: bool
) -> None:
    """UserError unless ``network`` maps ``inputs`` to the ``expected`` shape: better now than as step 1's traceback."""
    try:
        on = next((parameter.device for parameter in network.parameters()), None)
        labels = [torch.zeros(inputs[0], dtype=torch.int64, device=on)] if labelled else []
        shape = tuple(network.eval()(torch.zeros(inputs, device=on), *labels).shape)
    except (RuntimeError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{group} fails on an input of shape {list(inputs)}: {one_line(error)}") from error
    if shape != expected:
        raise UserError(f"{group} gives shape {list(shape)} where {list(expected)} is needed")
    network.train()


def check_batch_size(batch_size: int, *networks: nn.Module) -> None:
    """UserError where one image a batch leaves a BatchNorm1d nothing to normalise over."""
    if batch_size == 1 and any(isinstance(m, nn.BatchNorm1d) for network in networks for m in network.modules()):
        raise UserError("batch_size=1 is too small for batch normalisation of single numbers: use 2 or more")


def loss(node: Mapping[str, Any]) -> Callable[..., Any]:
    """The loss function, its options bound; tried out."""
    function = _bound(node, "loss")
    try:
        _, _ = function(torch.zeros(2), torch.zeros(2))
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"loss: {one_line(error)}") from error
    return function


class Penalty(NamedTuple):
    """What holds the discriminator back."""

    function: Callable[..., Any] | None  # options bound; a module if it has a memory; None for no penalty
    interval: int  # in discriminator steps
    clip: float | None  # bounds D's weights after each of its updates; None for no bound


def penalty(node: Mapping[str, Any]) -> Penalty:
    """What a ``penalty`` group asks for."""
    clip = node.get("clip")
    if clip is not None and (not isinstance(clip, int | float) or isinstance(clip, bool) or not 0 < clip < math.inf):
        raise UserError(f"penalty.clip={clip} should be a number above 0")
    if node.get("_target_", "") is None:
        return Penalty(None, 1, clip)
    interval = _whole(node.get("interval", 1), "penalty.interval")
    settings = {name: value for name, value in node.items() if name not in ("interval", "clip")}
    target = _target(settings, "penalty")
    if not (isinstance(target, type) and issubclass(target, nn.Module)):
        return Penalty(_bound(settings, "penalty"), interval, clip)
    return Penalty(_whole_module(settings, "penalty"), interval, clip)


def augment(node: Mapping[str, Any], image_shape: Sequence[int]) -> Augment | None:
    """What the discriminator's images go through, tried out on two of ``image_shape``; None for nothing."""
    if node.get("_target_", "") is None:
        return None
    found = _whole_module(node, "augment")
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


def _whole_module(node: Mapping[str, Any], group: str) -> nn.Module:
    """The module that ``node`` names, built: neither a partial nor with options it doesn't know."""
    if "_partial_" in node:
        raise UserError(f"{group}: {node.get('_target_')} is a module: leave _partial_ out")
    _check_options(node, group)
    return _module(_instantiate(node, group), node, group)


def _bound(node: Any, group: str) -> Callable[..., Any]:
    """A partial whose keywords its function has: a mistyped option must not wait for the first step to be found."""
    _target(node, group)
    if node.get("_partial_") is not True:
        raise UserError(f"{group}: its YAML file needs a line _partial_: true")
    _check_options(node, group)
    return _instantiate(node, group)


def _check_options(node: Mapping[str, Any], group: str) -> None:
    """UserError where ``node`` has a key that its function or class has no parameter for."""
    target = _target(node, group)
    parameters = inspect.signature(target).parameters
    unknown = {name for name in node if not name.startswith("_")} - set(parameters)
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        option = min(unknown)
        raise UserError(
            f"{group}: {target.__name__} has no option {option!r}; if a dataset or an experiment sets it, "
            f"add ~{group}.{option}"
        )


def optimizers(node: Mapping[str, Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What makes the generator's and the discriminator's optimizer from their parameters; tried out on a dummy."""
    makers = []
    for network in ("generator", "discriminator"):
        group = f"optimizer.{network}"
        make = _bound(node.get(network), group)
        dummy = nn.Parameter(torch.zeros(1))
        dummy.grad = torch.zeros(1)
        try:
            make([dummy]).step()
        except (TypeError, ValueError, RuntimeError) as error:
            settings = {name: value for name, value in node[network].items() if not name.startswith("_")}
            raise UserError(f"{group} can't be built from {settings}: {one_line(error)}") from error
        makers.append(make)
    return makers[0], makers[1]


def unsound(config: Mapping[str, Any], discriminator: nn.Module) -> list[str]:
    """What is known not to go together in ``config``: a line each, with why, and what to type instead."""
    lines = []
    penalty_name = str(config["penalty"].get("_target_")).removeprefix("gan_cli.penalties.")
    clipped = config["penalty"].get("clip") is not None
    modules = list(discriminator.modules())
    if penalty_name in GRADIENT_PENALTIES and any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in modules):
        other = "net.discriminator.norm=layer" if "norm" in config["net"]["discriminator"] else "net/discriminator=conv"
        lines.append(
            f"{penalty_name} penalises each image's own gradient, but the discriminator's batch normalisation mixes "
            f"those of a batch: type {other}, or penalty=none"
        )
    if isinstance(modules[-1], nn.Sigmoid):
        lines.append("the discriminator ends in a sigmoid, but every loss takes logits: leave its sigmoid out")
    lipschitz = clipped or penalty_name not in NOT_LIPSCHITZ or _spectral(modules)
    if config["loss"]["_target_"] == "gan_cli.losses.wgan" and not lipschitz:
        lines.append(
            "loss=wgan means nothing unless the discriminator is Lipschitz: type penalty=gradient_penalty, "
            "or penalty=weight_clip optimizer=rmsprop"
        )
    if clipped and (momentum := _momentum(config["optimizer"]["discriminator"])) >= 0.5:
        lines.append(
            f"weight clipping is unstable under a momentum of {momentum} (Arjovsky et al. 2017, section 4): "
            "type optimizer=rmsprop"
        )
    return lines


def _momentum(optimizer: Mapping[str, Any]) -> float:
    """What ``optimizer`` keeps of its last gradients: Adam's first beta, or SGD's momentum."""
    return float(optimizer["betas"][0] if "betas" in optimizer else optimizer.get("momentum", 0.0))


def _spectral(modules: Sequence[nn.Module]) -> bool:
    """Whether one of ``modules`` is spectrally normalised: torch's parametrisation is a module of its own."""
    return any("SpectralNorm" in type(module).__name__ for module in modules)
