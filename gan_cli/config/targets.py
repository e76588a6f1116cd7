"""Build the object of a node that names a ``_target_``. Only this module uses Hydra's instantiation."""

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from functools import partial
from types import UnionType
from typing import Any, Union, get_args, get_origin

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from gan_cli.errors import UserError, one_line

MOST_PARAMETERS = 2_000  # tensors in a network; a checkpoint of two such networks has a header of 3 MiB, limit 4


def target_of(node: Any, group: str) -> Callable[..., Any]:
    """The function or class that ``node`` names."""
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise UserError(f"{group} names no _target_; choose one of its configurations: {group.replace('.', '/')}=NAME")
    try:
        return pkgutil.resolve_name(node["_target_"])
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{group}: can't find {node['_target_']}: {one_line(error)}") from error


def check_types(node: Mapping[str, Any], target: Callable[..., Any], group: str) -> None:
    """UserError if ``node`` has a word where the annotations of ``target``'s parameters ask for a number."""
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


def instantiated(node: Any, group: str, **facts: Any) -> Any:
    """The object that a group's ``node`` names, built with ``facts`` as further arguments. UserError for a misfit."""
    check_types(node, target_of(node, group), group)
    if internal := [name for name in node if name.startswith("_") and name not in ("_target_", "_partial_")]:
        raise UserError(f"{group}: gan-cli takes no {internal[0]}; name the options by their names")
    try:
        built = instantiate(dict(node), _convert_="all", **facts)
    except (InstantiationException, OmegaConfBaseException) as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        raise UserError(f"{group}: {one_line(cause or error)}") from error
    if isinstance(built, partial):  # Hydra's partial examines its target anew at each call: half a millisecond a step
        return partial(built.func, *built.args, **built.keywords)
    return built


def functions(nodes: Mapping[str, Any], group: str) -> dict[str, Callable[..., Any]]:
    """The functions that ``nodes``, the choices of a ``group``, name, by their keys. UserError if one is none."""
    found = {}
    for name, node in nodes.items():
        check_options(node, f"{group}.{name}")
        found[name] = instantiated(node, f"{group}.{name}")
        if not callable(found[name]):
            raise UserError(f"{group}.{name}: {node['_target_']} gives no function; see docs/extend.md")
    return found


def facts_wanted(node: Mapping[str, Any], facts: Mapping[str, Any], group: str) -> dict[str, Any]:
    """The ``facts`` that the constructor named by ``node`` has parameters for. A fact that is a function is called."""
    wanted = inspect.signature(target_of(node, group)).parameters
    wanted_facts = {name: fact for name, fact in facts.items() if name in wanted and name not in node}
    return {name: fact() if callable(fact) else fact for name, fact in wanted_facts.items()}


def whole_number(value: Any, name: str) -> int:
    """``value`` if it is a whole number from 1 up; else UserError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{name}={value} should be a whole number from 1 up")
    return value


def checked_module(network: Any, node: Mapping[str, Any], group: str) -> nn.Module:
    """``network``; UserError unless it is a torch module of at most MOST_PARAMETERS tensors."""
    if not isinstance(network, nn.Module):
        raise UserError(f"{group}: {node['_target_']} gives a {type(network).__name__}, not a torch module")
    if sum(1 for _ in network.parameters()) > MOST_PARAMETERS:
        raise too_many(group)
    return network


def too_many(group: str) -> UserError:
    return UserError(f"{group} has more than {MOST_PARAMETERS:,} parameter tensors: use fewer layers")


def module_of(node: Mapping[str, Any], group: str, **facts: Any) -> nn.Module:
    """Build the module that ``node`` names, with ``facts``. A partial and unknown options are refused."""
    if "_partial_" in node:
        raise UserError(f"{group}: {node.get('_target_')} is a module: leave _partial_ out")
    check_options(node, group)
    return checked_module(instantiated(node, group, **facts), node, group)


def bound(node: Any, group: str) -> Callable[..., Any]:
    """A partial with checked keywords. A mistyped option is thus found before the first step."""
    target_of(node, group)
    if node.get("_partial_") is not True:
        raise UserError(f"{group}: its YAML file needs a line _partial_: true")
    check_options(node, group)
    return instantiated(node, group)


def check_options(node: Mapping[str, Any], group: str) -> None:
    """UserError if ``node`` has a key without a matching parameter of its function or class."""
    target = target_of(node, group)
    parameters = inspect.signature(target).parameters
    unknown = {name for name in node if not name.startswith("_")} - set(parameters)
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        option = min(unknown)
        raise UserError(
            f"{group}: {target.__name__} has no option {option!r}; if a dataset or an experiment sets it, "
            f"add ~{group}.{option}"
        )
