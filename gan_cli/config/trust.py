"""The targets that a file's configuration may name. A checkpoint is data: opening it must not run foreign code."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path, PurePath
from typing import Any

import yaml

from gan_cli.config.targets import target_of
from gan_cli.errors import UserError

PAIR = ("generator", "discriminator")


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
    """Refuse a file's configuration if it names code that gan-cli's own configurations do not name.

    A target passes if ``group`` ships exactly this name, and if it stands where that group has it. A target within
    another target is refused. ``trust`` lists further packages; only the command line may name them. UserError for
    anything else: opening a checkpoint must not run code that a stranger wrote into it.
    """
    own = _places(config, group)
    for node in named(config):
        target = str(node["_target_"])
        package = target.split(".")[0]
        shipped = target in shipped_targets(group) and any(node is place for place in own)
        if not shipped and not (package in trust and _defined_in(target, package)):
            if package == "gan_cli":
                raise UserError(f"{source} names {target}, which is no {group} of gan-cli's; it is not to be trusted")
            raise UserError(
                f"{source} names {target}, which is not part of gan-cli; if you trust it: trust=[{package}]"
            )
    check_resolved(config, source)


def to_be_trusted(config: Mapping[str, Any]) -> list[str]:
    """The packages that ``trust`` must list for a file with this configuration."""
    return sorted({str(node["_target_"]).split(".")[0] for node in named(config)
                   if node["_target_"] not in shipped_targets()})  # fmt: skip


def _places(config: Mapping[str, Any], group: str) -> list[Any]:
    """The places where a ``group`` names its targets: at its top, or one level below."""
    if group in ("net", "optimizer"):
        return [config.get(part) for part in PAIR]
    return list(config.values()) if group in ("sinks", "own_metrics") else [config]


def check_resolved(config: Any, source: PurePath) -> None:
    """Raise UserError if a file's configuration contains an interpolation, which would look up values when read."""
    if "${" in str(config):
        raise UserError(f"{source} holds an unresolved ${{…}}, which gan-cli never writes; it is not to be trusted")


def _defined_in(target: str, package: str) -> bool:
    """Whether ``package`` itself defines ``target``. An imported name such as ``mine.os.system`` is refused."""
    module = getattr(target_of({"_target_": target}, target), "__module__", None) or ""
    return module.split(".")[0] == package
