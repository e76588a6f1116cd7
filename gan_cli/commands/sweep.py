"""The table at the end of a sweep: one row per combination, mean and standard deviation over its seeds."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gan_cli.files import write_atomic
from gan_cli.metrics.catalogue import in_order
from gan_cli.metrics.mean_std import mean_std
from gan_cli.rundir.records import read_metrics


@dataclass(frozen=True)
class Row:
    """One combination: its overrides, how many of its runs finished, and (mean, std) of each metric's last value.

    The metrics are those that all finished runs of the combination have.
    """

    choices: dict[str, str]
    finished: int
    runs: int
    metrics: dict[str, tuple[float, float | None]]


@dataclass(frozen=True)
class Run:
    """One run of a sweep: its overrides, its folder, and whether it finished."""

    overrides: Mapping[str, str]
    folder: Path
    finished: bool


def collect(runs: Sequence[Run]) -> list[Row]:
    """Rows in order of appearance. Runs that differ only in ``seed`` share a row. Common overrides are left out.

    The means use finished runs only; runs that diverged are left out.
    """
    keys = {key: None for run in runs for key in run.overrides if key != "seed"}
    varied = [key for key in keys if len({run.overrides.get(key) for run in runs}) > 1]
    rows: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        rows.setdefault(tuple(run.overrides.get(key, "") for key in varied), []).append(run)
    return [_row(dict(zip(varied, choice, strict=True)), group) for choice, group in rows.items()]


def _row(choices: dict[str, str], runs: Sequence[Run]) -> Row:
    last = [rows[-1] for run in runs if run.finished and (rows := read_metrics(run.folder))]
    shared = [name for name in in_order(last[0]) if all(name in row for row in last)] if last else []
    metrics = {name: mean_std(row[name] for row in last) for name in shared}
    return Row(choices, len(last), len(runs), metrics)


def _columns(rows: Sequence[Row]) -> list[str]:
    """The metrics of all rows together, in their order."""
    return in_order(name for row in rows for name in row.metrics)


def table(rows: Sequence[Row]) -> str:
    """The rows as text, columns aligned."""
    names = _columns(rows)
    head = [*rows[0].choices, "runs", *names]
    body = [
        [*row.choices.values(), f"{row.finished}/{row.runs}", *(_cell(row, name) for name in names)] for row in rows
    ]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in [head, *body]
    )


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
