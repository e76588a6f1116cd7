"""The runs below a folder: of a sweep, with mean and standard deviation over the seeds, or of several commands."""

import csv
import io
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gan_cli.files import write_atomic
from gan_cli.metrics.catalogue import in_order
from gan_cli.metrics.mean_std import mean_std
from gan_cli.rundir import layout, status
from gan_cli.rundir.records import read_metrics
from gan_cli.rundir.status import COMPLETE, RUNNING

PLAN = "sweep.json"  # the overrides of each run that the last command of a sweep asked for, by folder
NOT_STARTED, KILLED = "not started", "killed"
DEEP, MANY = 4, 2000  # folders of folders, and runs, in which runs are looked for
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


def write_plan(folder: Path, runs: Mapping[str, Mapping[str, str]]) -> None:
    """Write down the runs that a sweep is about to do, so that a report can name those that never began."""
    write_atomic(folder / PLAN, json.dumps({"runs": runs}, indent=1).encode())


def is_run(folder: Path) -> bool:
    """Whether ``folder`` holds one run: by a command, or from Python, which writes no status."""
    return status.read(folder) is not None or (folder / layout.METRICS).is_file()


def find(folder: Path) -> list[Run]:
    """The runs of a sweep, by their overrides: those with a folder, and those that are planned.

    Of a folder that is neither, they are the runs up to :data:`DEEP` folders below, at most :data:`MANY`. A run that
    failed before it began is left out once the last command of the sweep asks for it no longer.
    """
    plan, runs = _plan(folder), []
    places = sorted(folder.glob(f"*/{status.STATUS}")) if plan else itertools.islice(_below(folder), MANY)
    folders = {path.parent.relative_to(folder).as_posix(): status.read(path.parent) for path in places}
    for name, found in folders.items():
        if found and (not plan or name in plan or (folder / name / "checkpoints").exists()):
            runs.append(_run(folder / name, found))
    runs += [Run(words, folder / name, NOT_STARTED) for name, words in plan.items() if name not in folders]
    return sorted(runs, key=lambda run: ([natural(value) for value in run.overrides.values()], run.folder.name))


def _below(folder: Path) -> Iterator[Path]:
    """The ``status.json`` of every run below ``folder``. Links are not followed: they may lead in circles."""
    for top, folders, files in os.walk(folder):
        if status.STATUS in files and Path(top) != folder:
            yield Path(top) / status.STATUS
        deep = len(Path(top).relative_to(folder).parts) >= DEEP or "checkpoints" in folders
        folders[:] = [] if deep else sorted(folders)


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


def natural(text: str) -> list[tuple[float, str]]:
    """A key to sort by that takes 2 before 10."""
    with suppress(ValueError):
        return [(float(text), "")]
    return [(float(part), "") if part.isdecimal() else (float("inf"), part) for part in re.split(r"(\d+)", text)]


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


def columns(rows: Sequence[Row]) -> list[str]:
    """The metrics of all rows together, in their order."""
    return in_order(name for row in rows for name in row.metrics)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write the rows to ``path``: the choices, ``finished``, ``runs``, then ``<metric>_mean`` and ``<metric>_std``."""
    text, names = io.StringIO(), columns(rows)
    writer = csv.writer(text, lineterminator="\n")
    measured = [f"{name}_{kind}" for name in names for kind in ("mean", "std")]
    writer.writerow([*rows[0].choices, "finished", "runs", *measured])
    for row in rows:
        values = [v for name in names for v in row.metrics.get(name, (None, None))]
        writer.writerow([*row.choices.values(), row.finished, row.runs, *("" if v is None else v for v in values)])
    write_atomic(path, text.getvalue().encode())
