"""What ``--help`` says of the keys of a command."""

import dataclasses
from typing import Any

from omegaconf import MISSING


def keys_of(node: type) -> str:
    """The ``--help`` table of the keys of a command, whose schema is ``node``: name, default, meaning."""
    rows = []
    for f in dataclasses.fields(node):
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
