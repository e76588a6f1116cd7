"""The reports themselves: ``report.html`` and ``report.json`` of a run, of a sweep, and of all runs below a folder."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from gan_cli import __version__
from gan_cli.files import write_atomic
from gan_cli.metrics.catalogue import in_order
from gan_cli.reports import curves, page, pictures
from gan_cli.reports.facts import classifies, facts
from gan_cli.reports.sweep import Row, Run
from gan_cli.rundir import layout
from gan_cli.rundir.records import read_some
from gan_cli.rundir.status import COMPLETE, RUNNING

REPORT = "report.html"
FILM, FILM_SIDE, FILM_BUDGET = 60, 900, 3_000_000  # pictures, pixels, characters of the samples of a run
FIGURE_SIDE, FIGURE_BUDGET = 1200, 900_000
GALLERY, GALLERY_SIDE, GALLERY_BUDGET = 60, 420, 3_000_000  # of several runs
NUMBERS = 60_000  # of all curves of several runs
CURVES = 60  # runs whose curves are drawn
FIGURES = {
    "sample.png": "Samples, as gan-sample drew them",
    "ranked.png": "Samples by the discriminator's judgement: the most real first",
    "neighbours.png": "Samples beside their nearest training images",
    "interpolation.png": "Paths between latents",
    "directions.png": "Directions in the latents",
    "truncation.png": "The same latents, truncated",
    "mixing.png": "Styles of two latents, mixed",
    "projected/projected.png": "Real images beside those of their latents",
    "pairs.png": "Source, output and target",
}


def report_run(
    run_dir: Path, out: Path, default: Mapping[str, Any] | None = None, refresh: float | None = None
) -> dict[str, Any]:
    """Write the page of the run in ``run_dir`` to ``out``, and its facts beside it as JSON. Return the facts.

    With ``refresh``, the page of a run that is going on loads itself again after so many seconds.
    """
    found = facts(run_dir, default)
    grids = layout.sample_grids(run_dir)
    film = pictures.inlined_within(grids, FILM, FILM_SIDE, FILM_BUDGET)
    frames = [{"step": int(path.stem), **picture._asdict()} for path, picture in film]
    again = refresh if found["status"] == RUNNING else None
    text = page.rendered(
        "run.html", {"charts": found["charts"], "frames": frames, "refresh": again}, run=found, frames=frames,
        grids=len(grids), again=again, shows=_shows(found["config"]), figures=_figures(run_dir), made=found["made"],
        made_by=found["made_by"],
        configuration=yaml.safe_dump(json.loads(json.dumps(found["config"])), sort_keys=False, allow_unicode=True),
    )  # fmt: skip
    _write(out, text, found)
    return found


def _shows(config: Mapping[str, Any]) -> str:
    """What the sample grids of a run show."""
    shape = config.get("image_shape")
    if classifies(config):
        return "The same held-out images every time, in the rows of the classes that they are taken for."
    if "source_channels" in config:
        return "The same held-out images every time: source, output and, of pairs, target."
    if shape == [1]:
        return "Figure 1 of the 2014 paper: p_data, p_g, D(x), and the best D for that p_g."
    if isinstance(shape, list) and len(shape) == 1:
        return "The data and the samples in the plane, from the same latents every time."
    return "The same latents every time: each place of the grid shows the progress of one image."


def _figures(run_dir: Path) -> list[dict[str, Any]]:
    """The figures that lie in the folder, as far as the page has room for them."""
    found, room = [], FIGURE_BUDGET
    for name, title in FIGURES.items():
        picture = pictures.inlined(run_dir / name, FIGURE_SIDE)
        if picture and len(picture.uri) <= room:
            room -= len(picture.uri)
            found.append({"title": title, **picture._asdict()})
    return found


def report_runs(folder: Path, runs: Sequence[Run], rows: Sequence[Row] | None, out: Path) -> None:
    """Write the page of the ``runs`` below ``folder`` to ``out``, and its facts beside it as JSON.

    ``rows`` is the table of a sweep. Without it, each run is a row of its own.
    """
    records = {run.folder: read_some(run.folder) for run in runs}
    columns, cells = _sweep_table(rows) if rows is not None else _leaderboard(folder, runs, records)
    shown = [run for run in runs if records[run.folder]][:CURVES]
    charts = _overlaid(folder, shown, records)
    figures = _gallery(folder, runs)
    found = {
        "made_by": f"gan-cli {__version__}",
        "made": time.strftime("%Y-%m-%d %H:%M:%S"),
        "folder": str(folder),
        "columns": columns,
        "rows": [[cell["value"] if cell["value"] is not None else cell["text"] for cell in row] for row in cells],
        "runs": [_summary(folder, run, records[run.folder]) for run in runs],
    }
    text = page.rendered(
        "runs.html", {"charts": charts}, name=folder.absolute().name, runs=runs, columns=columns, rows=cells,
        figures=figures, complete=sum(run.state == COMPLETE for run in runs), made=found["made"],
        made_by=found["made_by"],
    )  # fmt: skip
    _write(out, text, found)


def _name(folder: Path, run: Run) -> str:
    return run.folder.relative_to(folder).as_posix()


def _summary(folder: Path, run: Run, rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    return {
        "run": _name(folder, run), "status": run.state, "step": run.step, "error": run.error,
        "overrides": dict(run.overrides), "last": rows[-1] if rows else {},
    }  # fmt: skip


def _cell(text: str, value: float | str | None = None, link: str | None = None) -> dict[str, Any]:
    return {"text": text, "value": text if value is None and text != page.NONE else value, "link": link}


def _link(folder: Path, run: Run) -> str | None:
    """The address of a run's page beside the page of ``folder``, if there is one."""
    return f"./{quote(_name(folder, run), safe='/+')}/{REPORT}" if (run.folder / REPORT).is_file() else None


def _sweep_table(rows: Sequence[Row]) -> tuple[list[str], list[list[dict[str, Any]]]]:
    """The columns and the cells of a sweep: a row for each combination."""
    metrics = in_order(name for row in rows for name in row.metrics)
    cells = []
    for row in rows:
        line = [_cell(value) for value in row.choices.values()]
        line.append(_cell(f"{row.finished}/{row.runs}", row.finished / row.runs))
        for name in metrics:
            mean, std = row.metrics.get(name, (None, None))
            line.append(_cell(page.number(mean) + (f" ± {page.number(std)}" if std is not None else ""), mean))
        cells.append(line)
    return [*rows[0].choices, "runs", *metrics], cells


def _leaderboard(
    folder: Path, runs: Sequence[Run], records: Mapping[Path, Sequence[Mapping[str, float]]]
) -> tuple[list[str], list[list[dict[str, Any]]]]:
    """The columns and the cells of all runs below a folder: a row for each run, with its last scores and losses."""
    last = {run.folder: _last(records[run.folder]) for run in runs}
    metrics = in_order(name for row in last.values() for name in row)
    cells = []
    for run in runs:
        words = " ".join(f"{key}={value}" for key, value in run.overrides.items() if key not in ("run_dir", "resume"))
        line = [_cell(_name(folder, run), link=_link(folder, run)), _cell(words or page.NONE), _cell(run.state)]
        line.append(_cell(page.number(run.step), run.step))
        values = [last[run.folder].get(name) for name in metrics]
        cells.append([*line, *(_cell(page.number(value), value) for value in values)])
    return ["run", "overrides", "status", "step", *metrics], cells


def _last(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The last value of each number: scores are in some of the records only."""
    return {name: value for row in rows[-200:] for name, value in row.items()}


def _overlaid(
    folder: Path, runs: Sequence[Run], records: Mapping[Path, Sequence[Mapping[str, float]]]
) -> list[dict[str, Any]]:
    """A chart for each number, with a curve for each run, all on the steps that any of them has."""
    names = curves.compared(list(dict.fromkeys(name for run in runs for row in records[run.folder] for name in row)))
    most = max(20, NUMBERS // max(1, len(names) * len(runs)))
    charts = []
    for name in names:
        lines = {_name(folder, run): curves.series(records[run.folder], name, most) for run in runs}
        steps = sorted({step for found, _ in lines.values() for step in found})
        series = []
        for run, (found, values) in lines.items():
            if found:
                known = dict(zip(found, values, strict=True))
                series.append({"name": run, "label": run, "values": [known.get(step) for step in steps]})
        charts.append({"title": name, "note": "", "steps": steps, "series": series})
    return charts


def _gallery(folder: Path, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The last grid of each run, as far as the page has room."""
    grids = {path: run for run in runs for path in layout.sample_grids(run.folder)[-1:]}
    found = pictures.inlined_within(list(grids), GALLERY, GALLERY_SIDE, GALLERY_BUDGET)
    return [
        {"name": _name(folder, grids[path]), "link": _link(folder, grids[path]), "step": int(path.stem),
         **picture._asdict()}
        for path, picture in found
    ]  # fmt: skip


def _write(out: Path, text: str, found: Mapping[str, Any]) -> None:
    write_atomic(out, text.encode("utf-8", errors="replace"))
    write_atomic(out.with_suffix(".json"), (json.dumps(found, indent=1, allow_nan=False) + "\n").encode())
