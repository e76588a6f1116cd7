"""``gan-report``: the table of a sweep, from its run folders: mean and standard deviation over the seeds."""

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gan_cli.errors import UserError, printable
from gan_cli.files import write_atomic
from gan_cli.metrics.catalogue import in_order
from gan_cli.metrics.mean_std import mean_std
from gan_cli.rundir import layout, status
from gan_cli.rundir.records import read_metrics
from gan_cli.rundir.status import COMPLETE, RUNNING
from gan_cli.terminal import aligned

PLAN = "sweep.json"  # the overrides of each run that the last command of a sweep asked for, by folder
NOT_STARTED, KILLED = "not started", "killed"
NO_COLUMN = frozenset({"seed", "run_dir", "resume", "trust", "cluster"})


@dataclass(frozen=True)
class Run:
    """One run of a sweep: its overrides, its folder, its state, the step it got to, and why it failed."""

    overrides: Mapping[str, str]
    folder: Path
    state: str
    step: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Row:
    """One combination: its overrides, how many of its runs finished, and (mean, std) of each metric's last value.

    The metrics are those that all finished runs of the combination have.
    """

    choices: Mapping[str, str]
    finished: int
    runs: int
    metrics: Mapping[str, tuple[float, float | None]]


class Report(NamedTuple):
    """The text of a report, and whether every run in it is complete."""

    text: str
    complete: bool


def run(config: Mapping[str, Any]) -> Report:
    """Report on the runs in ``config["run"]``, the folder of a sweep or of one run. Writes its ``results.csv``."""
    folder = Path(os.path.expanduser(config["run"]))
    runs = find(folder)
    if not runs:
        raise UserError(f"no run in {folder}: give the folder of a sweep, or of a run of gan-train")
    rows, path = collect(runs), folder / "results.csv"
    write_csv(rows, path)
    parts = [table(rows), _unfinished(runs), _without_status(folder), f"also in {path}"]
    return Report("\n\n".join(part for part in parts if part), all(run.state == COMPLETE for run in runs))


def write_plan(folder: Path, runs: Mapping[str, Mapping[str, str]]) -> None:
    """Write down the runs that a sweep is about to do, so that a report can name those that never began."""
    write_atomic(folder / PLAN, json.dumps({"runs": runs}, indent=1).encode())


def find(folder: Path) -> list[Run]:
    """The runs of a sweep, by their overrides: those with a folder, and those that are planned. Or one run alone.

    A run that failed before it began is left out once the last command of the sweep asks for it no longer.
    """
    if found := status.read(folder):
        return [_run(folder, found)]
    plan, runs = _plan(folder), []
    folders = {path.parent.name: status.read(path.parent) for path in folder.glob(f"*/{status.STATUS}")}
    for name, found in folders.items():
        if found and (not plan or name in plan or (folder / name / "checkpoints").exists()):
            runs.append(_run(folder / name, found))
    runs += [Run(words, folder / name, NOT_STARTED) for name, words in plan.items() if name not in folders]
    return sorted(runs, key=lambda run: ([_natural(value) for value in run.overrides.values()], run.folder.name))


def _run(folder: Path, found: status.Status) -> Run:
    """The run in ``folder``. A run that says it is running, while no process is at work there, was killed."""
    state, step = found.status, found.step
    if state != COMPLETE:
        step = max([step, *(row["step"] for row in read_metrics(folder)[-1:])])
    if state == RUNNING and not layout.at_work(folder):
        state = KILLED
    return Run(found.overrides, folder, state, step, found.error)


def _plan(folder: Path) -> dict[str, dict[str, str]]:
    """The planned runs. A file that is no plan counts as none."""
    with suppress(OSError, ValueError, RecursionError, TypeError, AttributeError, LookupError):
        runs = json.loads((folder / PLAN).read_bytes())["runs"]
        words = [word for overrides in runs.values() for item in overrides.items() for word in item]
        if all(isinstance(word, str) for word in words):
            return dict(runs)
    return {}


def _natural(text: str) -> list[tuple[float, str]]:
    """A key to sort by that takes 2 before 10."""
    with suppress(ValueError):
        return [(float(text), "")]
    return [(float(part), "") if part.isdecimal() else (float("inf"), part) for part in re.split(r"(\d+)", text)]


def _unfinished(runs: Iterable[Run]) -> str:
    """A line for each run that is not complete: its folder, its state, and why."""
    lines = []
    for run in runs:
        if run.state != COMPLETE:
            at = f" at step {run.step:,}" if run.step else ""
            lines.append(f"{run.folder.name}: {run.state}{at}" + (f": {printable(run.error)}" if run.error else ""))
    return "\n".join(["not complete:", *(f"  {line}" for line in lines)]) if lines else ""


def _without_status(folder: Path) -> str:
    """The line that names the runs of an older gan-cli, which lie in numbered folders and say nothing of themselves."""
    paths = [path.parent for path in folder.glob("*/checkpoints")]
    names = sorted((path.name for path in paths if not (path / status.STATUS).is_file()), key=_natural)
    return f"left out, as they hold no {status.STATUS}: {', '.join(map(printable, names))}" if names else ""


def collect(runs: Sequence[Run]) -> list[Row]:
    """Rows in order of appearance. Runs that differ only in ``seed`` share a row. Common overrides are left out.

    The means use complete runs only; runs that failed or diverged are left out.
    """
    keys = {key: None for run in runs for key in run.overrides if key.split(".")[0] not in NO_COLUMN}
    varied = [key for key in keys if len({run.overrides.get(key) for run in runs}) > 1]
    rows: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        rows.setdefault(tuple(run.overrides.get(key, "") for key in varied), []).append(run)
    return [_row(dict(zip(varied, choice, strict=True)), group) for choice, group in rows.items()]


def _row(choices: dict[str, str], runs: Sequence[Run]) -> Row:
    last = [rows[-1] for run in runs if run.state == COMPLETE and (rows := read_metrics(run.folder))]
    shared = [name for name in in_order(last[0]) if all(name in row for row in last)] if last else []
    metrics = {name: mean_std(row[name] for row in last) for name in shared}
    return Row(choices, len(last), len(runs), metrics)


def _columns(rows: Sequence[Row]) -> list[str]:
    """The metrics of all rows together, in their order."""
    return in_order(name for row in rows for name in row.metrics)


def table(rows: Sequence[Row]) -> str:
    """The rows as text, columns aligned."""
    names = _columns(rows)
    head = [*map(printable, rows[0].choices), "runs", *names]
    body = [
        [*map(printable, row.choices.values()), f"{row.finished}/{row.runs}", *(_cell(row, name) for name in names)]
        for row in rows
    ]
    return aligned([head, *body])


def _cell(row: Row, name: str) -> str:
    if name not in row.metrics:
        return "-"
    mean, std = row.metrics[name]
    digits = 0 if name == "images_per_second" else 3
    return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if std is not None else "")


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write the rows to ``path``: the choices, ``finished``, ``runs``, then ``<metric>_mean`` and ``<metric>_std``."""
    text, names = io.StringIO(), _columns(rows)
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"{name}_{kind}" for name in names for kind in ("mean", "std")]
    writer.writerow([*rows[0].choices, "finished", "runs", *columns])
    for row in rows:
        values = [v for name in names for v in row.metrics.get(name, (None, None))]
        writer.writerow([*row.choices.values(), row.finished, row.runs, *("" if v is None else v for v in values)])
    write_atomic(path, text.getvalue().encode())
