"""``gan-report``: a page of a run, of a sweep or of all runs below a folder; and the table of a sweep as text."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gan_cli.config.defaults import defaults
from gan_cli.errors import UserError, printable
from gan_cli.reports.sweep import PLAN, Row, Run, collect, columns, find, is_run, natural, write_csv
from gan_cli.rundir import status
from gan_cli.rundir.status import COMPLETE, RUNNING
from gan_cli.terminal import aligned

WAIT = 10.0  # seconds between two pages of a run that is watched, at least


class Report(NamedTuple):
    """The text of a report, and whether every run in it is complete."""

    text: str
    complete: bool


def run(config: Mapping[str, Any]) -> str:
    """Report on ``config["run"]``, a run, a sweep or a folder of runs: a page, JSON beside it, a text."""
    from gan_cli.reports import write  # imported late: the table at the end of a sweep has no page

    default = defaults()
    folder = Path(os.path.expanduser(config["run"]))
    out = Path(os.path.expanduser(config["out"])) if config["out"] else folder / write.REPORT
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"out={config['out']} should be a page: out=FILE.html")
    if config["watch"] or is_run(folder):
        found = _watch(folder, out, default) if config["watch"] else write.report_run(folder, out, default)
        text = f"step {found['step']:,}, status {found['status']}; verdict: {found['verdict']}"
    else:
        runs, sweep = _runs(folder), (folder / PLAN).is_file()
        for one in runs if sweep else ():
            if one.folder.is_dir():
                write.report_run(one.folder, one.folder / write.REPORT, default)
        write.report_runs(folder, runs, collect(runs) if sweep else None, out)
        text = table_of(folder).text
    return "\n".join([text, f"the page is {out}, its numbers are in {out.with_suffix('.json')}"])


def _watch(folder: Path, out: Path, default: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write the page of a run again and again, until the run ends. The first page may come before the first record.

    Return the facts of the last page.
    """
    from gan_cli.reports import write

    if not is_run(folder):
        raise UserError(f"watch=true follows one run, and {folder} is none")
    print(f"the page is {out}; Ctrl-C ends the watch, and not the run", flush=True)
    while True:
        begun = time.monotonic()
        found = write.report_run(folder, out, default, refresh=WAIT)
        if found["status"] != RUNNING:
            return found
        time.sleep(max(WAIT, 10 * (time.monotonic() - begun)))


def table_of(folder: Path) -> Report:
    """The table of the runs in ``folder``, as text; writes ``results.csv`` there. UserError without a run."""
    runs = _runs(folder)
    rows, path = collect(runs), folder / "results.csv"
    write_csv(rows, path)
    parts = [table(rows), _unfinished(runs), _without_status(folder), f"also in {path}"]
    return Report("\n\n".join(part for part in parts if part), all(run.state == COMPLETE for run in runs))


def _runs(folder: Path) -> list[Run]:
    runs = find(folder)
    if not runs:
        raise UserError(f"no run in {folder}: give the folder of a run, of a sweep, or one above them")
    return runs


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
    names = sorted((path.name for path in paths if not (path / status.STATUS).is_file()), key=natural)
    return f"left out, as they hold no {status.STATUS}: {', '.join(map(printable, names))}" if names else ""


def table(rows: Sequence[Row]) -> str:
    """The rows as text, columns aligned."""
    names = columns(rows)
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
