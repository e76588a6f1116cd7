"""What a sweep ends with: one row per combination, mean and standard deviation over its seeds."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gan_cli.files import write_atomic
from gan_cli.stats import mean_std, read_metrics

METRICS = ("value", "loss_d", "loss_g", "d_real", "d_fake", "images_per_second")


@dataclass(frozen=True)
class Row:
    """One combination: its overrides, how many of its runs finished, and (mean, std) of each metric's last value."""

    choices: dict[str, str]
    finished: int
    runs: int
    metrics: dict[str, tuple[float, float | None]]


def collect(runs: Sequence[tuple[Mapping[str, str], Path]]) -> list[Row]:
    """Rows from ``(overrides, run folder)`` pairs, in order of appearance.

    Runs that differ in ``seed`` alone share a row; overrides that all runs have in common are left out. A run without
    metrics counts as not finished.
    """
    keys = {key: None for overrides, _ in runs for key in overrides if key != "seed"}
    varied = [key for key in keys if len({overrides.get(key) for overrides, _ in runs}) > 1]
    rows: dict[tuple[str, ...], list[Path]] = {}
    for overrides, folder in runs:
        rows.setdefault(tuple(overrides.get(key, "") for key in varied), []).append(folder)
    return [_row(dict(zip(varied, choice, strict=True)), folders) for choice, folders in rows.items()]


def _row(choices: dict[str, str], folders: Sequence[Path]) -> Row:
    last = [rows[-1] for folder in folders if (rows := read_metrics(folder))]
    metrics = {name: mean_std(row[name] for row in last) for name in METRICS} if last else {}
    return Row(choices, len(last), len(folders), metrics)


def table(rows: Sequence[Row]) -> str:
    """The rows as text, columns aligned."""
    head = [*rows[0].choices, "runs", *METRICS]
    body = [
        [*row.choices.values(), f"{row.finished}/{row.runs}", *(_cell(row, name) for name in METRICS)] for row in rows
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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"{name}_{kind}" for name in METRICS for kind in ("mean", "std")]
    writer.writerow([*rows[0].choices, "finished", "runs", *columns])
    for row in rows:
        values = [v for name in METRICS for v in row.metrics.get(name, (None, None))]
        writer.writerow([*row.choices.values(), row.finished, row.runs, *("" if v is None else v for v in values)])
    write_atomic(path, text.getvalue().encode())
