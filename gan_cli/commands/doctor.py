"""``gan-doctor``: what is wrong in a run, since when, and what to type."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gan_cli.diagnostics.doctor import is_grave
from gan_cli.errors import UserError, printable
from gan_cli.reports.facts import Examined, examine
from gan_cli.reports.sweep import is_run


class Diagnosis(NamedTuple):
    """What gan-doctor prints, and whether a finding says that the run is worth no more time as it is."""

    text: str
    grave: bool


def run(config: Mapping[str, Any]) -> Diagnosis:
    """Examine the run in ``config["run"]``. No file is written. UserError if there is no run."""
    folder = Path(os.path.expanduser(config["run"]))
    if not is_run(folder):
        raise UserError(f"no run in {folder}: give the folder of a run of gan-train")
    found = examine(folder)
    text = json.dumps(found.findings, indent=1) if config["json"] else _told(found)
    return Diagnosis(text, is_grave(found.doctor))


def _told(found: Examined) -> str:
    """The verdict, the findings of now with what to type, and those that have ended."""
    lines, typed = [f"verdict: {found.verdict}"], set[str]()
    for one in found.findings:
        if one["until"] is None:
            lines += ["", f"{one['severity']}: {one['title']}, since step {one['since']:,}", f"  {one['evidence']}"]
            lines.append(f"  {one['why']}")
            if one["changes"] and one["line"] not in typed:
                lines.append(f"  change: {' and '.join(one['changes'])}")
            lines += [f"  type: {'the same' if one['line'] in typed else one['line']}"] if one["line"] else []
            typed.add(one["line"])
    ended = [one for one in found.findings if one["until"] is not None and one["severity"] != "note"]
    if ended:
        lines += ["", "over:", *(f"  {o['title']}, from step {o['since']:,} to {o['until']:,}" for o in ended)]
    return "\n".join(map(printable, lines))
