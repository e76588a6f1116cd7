"""A top-level key of a command: its declaration, and its line in ``--help``."""

import dataclasses
from dataclasses import field
from typing import Any

from omegaconf import MISSING


def key(default: Any, help: str, **limits: Any) -> Any:
    """A top-level key: its default, ``--help`` line, limits ``at_least``, ``at_most``, ``above``, ``choices``."""
    factory = {"default_factory": default} if callable(default) else {"default": default}
    return field(**factory, metadata={"help": help, **limits})


def group(help: str, default: Any = MISSING) -> Any:
    """A key that a config group fills. Without a ``default``, the group needs a choice."""
    value = {"default": MISSING} if default is MISSING else {"default_factory": lambda: default}
    return field(**value, metadata={"help": help, "group": True})


def described(command: type) -> str:
    """The ``--help`` table of the keys of a ``command``, a dataclass: name, default, meaning."""
    rows = []
    for f in dataclasses.fields(command):
        if f.metadata.get("group"):
            continue
        if f.default_factory is not dataclasses.MISSING:
            shown = "[]" if f.default_factory is list else "…"
        else:
            shown = "PATH" if f.default == MISSING else _as_typed(f.default)
        shown = "outputs/DATE/TIME" if "${" in shown else shown
        rows.append(f"  {f.name + '=' + shown:<27} {f.metadata['help']}")
    return "\n".join(rows)


def _as_typed(value: Any) -> str:
    """``value`` as it is written on the command line: ``null``, ``false``, ``64000``."""
    if value is None:
        return "null"
    return (
        str(value).lower() if isinstance(value, bool) else f"{value:.12g}" if isinstance(value, float) else str(value)
    )
