"""The curves of a run: its terms against the step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_cli.metrics.catalogue import own_terms
from gan_cli.pictures import canvas
from gan_cli.pictures.grids import write_png
from gan_cli.rundir.layout import CURVES
from gan_cli.rundir.records import read_metrics

LOSSES = {"loss_d": "discriminator", "loss_g": "generator"}
OUTPUTS = {"d_real": "D(x)", "d_fake": "D(G(z))"}
PANEL = 495, 396  # pixels
LEFT, RIGHT, TOP, BOTTOM = 72, 16, 30, 48  # pixels around the axes of a panel, for their labels


def write_curves(run_dir: Path) -> None:
    """Write ``run_dir/curves.png`` from the run's records: both losses, D(x) and D(G(z)), and user-defined terms.

    The dashed line is the equilibrium D = 1/2 of Goodfellow et al. 2014, section 4. A panel is drawn only if the
    records have its terms. Nothing is drawn before the first tick.
    """
    rows = read_metrics(run_dir)
    names = {name: None for row in rows for name in row}
    own = own_terms(names)
    panels = [labels for labels in (LOSSES, OUTPUTS, dict(zip(own, own, strict=True))) if labels.keys() & names.keys()]
    if not panels:
        return
    width, height = PANEL[0] * len(panels), PANEL[1]
    figure = canvas.empty(width, height)
    for left, labels in zip(range(0, width, PANEL[0]), panels, strict=True):
        # At fixed places: a layout that measures its labels first takes twice the time, at each checkpoint.
        inner = PANEL[0] - LEFT - RIGHT, height - BOTTOM - TOP
        axes = figure.add_axes(((left + LEFT) / width, BOTTOM / height, inner[0] / width, inner[1] / height))
        _draw(axes, rows, labels)
        if labels is LOSSES:
            axes.set(title="loss", ylabel="mean over a tick")
        elif labels is OUTPUTS:
            axes.axhline(0.5, color="grey", linestyle="--", linewidth=1, label="equilibrium, 1/2")
            axes.set(title="discriminator output", ylabel="mean probability of real", ylim=(0, 1))
        else:
            axes.set(title="other terms", ylabel="mean over a tick")
        axes.legend(fontsize="small")
    write_png(canvas.drawn(figure), run_dir / CURVES)


def _draw(axes: Any, rows: Sequence[Mapping[str, float]], labels: Mapping[str, str]) -> None:
    """Draw a line for each term in ``labels``, over the steps at which the term was recorded."""
    style: dict[str, Any] = {"marker": "o", "markersize": 3} if len(rows) < 5 else {}
    for name, label in labels.items():
        points = [(row["step"], row[name]) for row in rows if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **style)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
