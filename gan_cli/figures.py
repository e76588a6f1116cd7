"""The pictures people look at to see how a run goes."""

import io
from pathlib import Path

from gan_cli.files import write_atomic
from gan_cli.stats import read_metrics


def write_curves(run_dir: Path) -> None:
    """``run_dir/curves.png`` from its metrics: both losses, and D(x) and D(G(z)), against the step.

    Dashed: the values at the equilibrium of Goodfellow et al. 2014, section 4, D = 1/2. Nothing is drawn before the
    first tick.
    """
    # Not pyplot: it keeps global state and looks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_metrics(run_dir)
    if not rows:
        return
    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    losses, outputs = figure.subplots(1, 2)
    style = {"marker": "o", "markersize": 3} if len(rows) < 5 else {}
    losses.plot(steps, [row["loss_d"] for row in rows], label="discriminator", **style)
    losses.plot(steps, [row["loss_g"] for row in rows], label="generator", **style)
    losses.set(title="loss", ylabel="mean over a tick")
    outputs.plot(steps, [row["d_real"] for row in rows], label="D(x)", **style)
    outputs.plot(steps, [row["d_fake"] for row in rows], label="D(G(z))", **style)
    outputs.axhline(0.5, color="grey", linestyle="--", linewidth=1, label="equilibrium, 1/2")
    outputs.set(title="discriminator output", ylabel="mean probability of real", ylim=(0, 1))
    for axes in (losses, outputs):
        axes.set_xlabel("step")
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    write_atomic(run_dir / "curves.png", buffer.getvalue())
