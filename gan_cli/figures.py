"""The pictures people look at to see how a run goes, and what its generator has learnt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import pad

from gan_cli import images
from gan_cli.data import Dataset, Mixture, Points
from gan_cli.errors import UserError
from gan_cli.metrics import theory
from gan_cli.metrics.distances import nearest
from gan_cli.metrics.extractor import Extractor
from gan_cli.metrics.modes import modes
from gan_cli.noise import linear_path, quantiles, spherical_path
from gan_cli.stats import read_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PATH_STEPS = 8  # images from one latent to another
ARROWS = 24  # of Figure 1, from z to x
SHOWN = 2000  # points of the data
DPI = 110
HEAD, MARGIN, NARROWEST = 68, 12, 600  # pixels above and around the images of a figure; its least width


def write_curves(run_dir: Path) -> None:
    """``run_dir/curves.png`` from its metrics: both losses, and D(x) and D(G(z)), against the step.

    Dashed: the values at the equilibrium of Goodfellow et al. 2014, section 4, D = 1/2. Nothing is drawn before the
    first tick.
    """
    rows = read_metrics(run_dir)
    if not rows:
        return
    steps = [row["step"] for row in rows]
    figure = _figure(990, 396, layout="constrained")
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
    images.write_png(_drawn(figure), run_dir / "curves.png")


def write_neighbours(samples: Tensor, train: Tensor, path: Path, extractor: Extractor | None = None) -> None:
    """A PNG of each sample beside the training image nearest to it: Goodfellow et al. 2014, Figure 2.

    uint8 images ``[N, C, H, W]`` and ``[M, C, H, W]``. Nearest in pixels and, with an ``extractor``, in its features: a
    sample that is the image beside it was memorised.
    """
    columns = {"sample": samples, "pixels": train[nearest(samples.flatten(1), train.flatten(1))[1]]}
    if extractor is not None:
        found = nearest(extractor.features(samples, what="samples"), extractor.features(train, what="training data"))
        columns["features"] = train[found[1]]
    rows = torch.stack(list(columns.values()), dim=1)
    spaces = "pixels" if extractor is None else "pixels and in features"
    panels = [("", part) for part in rows.tensor_split(min(4, len(rows)))]
    _write_panels(panels, list(columns), f"samples and the nearest training images in {spaces}", path)


def write_interpolation(
    generator: nn.Module,
    start: Tensor,
    end: Tensor,
    path: Path,
    prior: str = "normal",
    labels: Tensor | None = None,
) -> None:
    """A PNG of the images on the way from latents ``start`` to ``end``, ``[N, z_dim]`` each, a row for each pair.

    A conditional generator is given ``labels`` ``[N]``, one for each row.

    On the left on straight lines, as in Goodfellow et al. 2014, Figure 3, on the right on great circles, which suit a
    normal prior better.
    """

    def along(latents: Tensor) -> Tensor:
        of_rows = None if labels is None else labels.repeat_interleave(PATH_STEPS)
        made = images.generate(generator, latents.flatten(0, 1), labels=of_rows)
        return torch.cat(list(made)).unflatten(0, latents.shape[:2])

    spherical = "spherical path" + (" (may leave a uniform prior's cube)" if prior == "uniform" else "")
    panels = [
        ("linear path", along(linear_path(start, end, PATH_STEPS))),
        (spherical, along(spherical_path(start, end, PATH_STEPS))),
    ]
    _write_panels(panels, ["t = 0", *[""] * (PATH_STEPS - 2), "t = 1"], "samples between two latents", path)


def _write_panels(panels: Sequence[tuple[str, Tensor]], columns: Sequence[str], title: str, path: Path) -> None:
    """A PNG of uint8 images ``[rows, columns, C, H, W]``, each panel with its title and its columns' names on top.

    The images are enlarged by a whole factor, and drawn pixel by pixel.
    """
    height, width = panels[0][1].shape[-2:]
    factor = max(1, 64 // height)
    cell_w, cell_h = width * factor + images.GAP, height * factor + images.GAP
    panel_w, panel_h = len(columns) * cell_w, max(len(part) for _, part in panels) * cell_h
    needed = len(panels) * (panel_w + MARGIN) + MARGIN
    canvas_w, canvas_h = max(needed, NARROWEST), panel_h + HEAD + MARGIN
    figure = _figure(canvas_w, canvas_h)
    figure.text(0.5, 1 - 16 / canvas_h, title, ha="center", va="center", fontsize=11)
    for i, (name, part) in enumerate(panels):
        left, h = (canvas_w - needed) / 2 + MARGIN + i * (panel_w + MARGIN), len(part) * cell_h
        box = left / canvas_w, (canvas_h - HEAD - h) / canvas_h, panel_w / canvas_w, h / canvas_h
        axes = figure.add_axes(box)
        axes.imshow(_tiled(part, factor), interpolation="none", aspect="auto", extent=(0, panel_w, h, 0))
        axes.set_title(name, fontsize=10)
        axes.set_xticks([(j + 0.5) * cell_w for j in range(len(columns))], columns, fontsize=8)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False, pad=1)
        axes.set_yticks([])
        axes.set_frame_on(False)
    images.write_png(_drawn(figure), path)


def _tiled(rows: Tensor, factor: int) -> np.ndarray:
    """uint8 images ``[R, K, C, H, W]`` enlarged by ``factor``, with white gaps, as one RGB array."""
    enlarged = rows.repeat_interleave(factor, dim=3).repeat_interleave(factor, dim=4)
    padded = pad(enlarged, (0, images.GAP, 0, images.GAP), value=255)
    r, k, c, h, w = padded.shape
    whole = padded.permute(0, 3, 1, 4, 2).reshape(r * h, k * w, c)
    return whole.expand(-1, -1, 3).numpy()


def _figure(width: int, height: int, layout: Literal["constrained"] | None = None) -> Figure:
    """An empty figure of so many pixels."""
    from matplotlib.figure import Figure  # not pyplot: it keeps global state and looks for a display

    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout=layout)


Draw = Callable[[int, nn.Module], Image.Image]


def drawing(
    dataset: Dataset | Points, discriminator: nn.Module, prior: str, latents: Tensor, labels: Tensor | None = None
) -> Draw:
    """What shows a generator for such data: the pictures of ``latents`` ``[N, z_dim]`` and ``labels``, or Figure 1.

    UserError for points that neither a line nor a plane holds, and for what Figure 1 can't show.
    """
    if isinstance(dataset, Dataset):
        images.check_grid(len(latents), dataset.image_shape, images.columns_of(labels))
        return images.grid_of(latents, labels)
    (d,) = dataset.image_shape
    if d == 2:
        return scatter(dataset, latents)
    if d != 1 or dataset.mixture is None:
        raise UserError(f"points of {d} dimensions can't be drawn: they need 2, or 1 and a known mixture")
    if latents.shape[1] != 1:
        raise UserError(f"net.z_dim={latents.shape[1]}: Figure 1 shows a latent of one dimension, net.z_dim=1")
    return figure_1(dataset.mixture, discriminator, prior)


def figure_1(mixture: Mixture, discriminator: nn.Module, prior: str) -> Draw:
    """A function: step, generator -> Figure 1 of Goodfellow et al. 2014, for data and a latent of one dimension.

    As there p_data is dotted, p_g solid, D(x) dashed, and arrows lead from z to x = G(z), from latents of equal
    probability to the next. Beside D the best one for this generator, D*. The axes are the same whatever the step.
    """
    low, high = theory.span(mixture)
    z = quantiles(prior, ARROWS)
    reach = max(3**0.5, float(z.max()))

    def draw(step: int, generator: nn.Module) -> Image.Image:
        found = theory.curves(mixture, generator, discriminator, prior)
        ends = images.generate_points(generator, z).squeeze(1).tolist()
        x, top = found.x.numpy(), 1.8 * float(found.data.max()) / found.width
        figure = _figure(770, 550)
        density = figure.add_axes((0.09, 0.33, 0.82, 0.5))
        density.plot(x, found.data.numpy() / found.width, "k:", linewidth=2.2, label="$p_{data}$")
        density.plot(x, found.generated.numpy() / found.width, color="tab:green", linewidth=2, label="$p_g$")
        density.set(xlim=(low, high), ylim=(0, top), ylabel="density")
        density.tick_params(labelbottom=False)
        output = density.twinx()
        output.plot(x, found.logits.sigmoid().numpy(), "--", color="tab:blue", linewidth=2, label="$D(x)$")
        seen = found.data + found.generated > 0.03 * found.data.max()  # elsewhere it is a quotient of next to nothings
        output.plot(x, found.d_star.where(seen, math.nan).numpy(), color="tab:red", linewidth=0.9, label="$D^*(x)$")
        output.set(ylim=(0, 1), ylabel="probability of being real")
        handles = [*density.get_lines(), *output.get_lines()]
        figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.905), ncols=4, frameon=False)
        figure.suptitle(
            f"step {step:,}     V(D, G) = {found.value:.3f}     $-$log 4 = {-math.log(4):.3f}     "
            f"JSD = {found.jsd:.4f} nats".replace("= -", "= $-$"),
            fontsize=12,
            y=0.965,
        )
        paths = figure.add_axes((0.09, 0.07, 0.82, 0.18))
        paths.set(xlim=(low, high), ylim=(0, 1), yticks=[0, 1], yticklabels=["z", "x"])
        paths.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
        paths.tick_params(axis="y", length=0)
        for side in ("left", "right"):
            paths.spines[side].set_visible(False)
        arrow = {"arrowstyle": "-|>", "color": "0.25", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
        for start, end in zip(z.squeeze(1).tolist(), ends, strict=True):
            place = low + (start / reach + 1) / 2 * (high - low)
            paths.annotate("", xy=(end, 1), xytext=(place, 0), arrowprops=arrow, annotation_clip=False)
        return _drawn(figure)

    return draw


def scatter(dataset: Points, latents: Tensor) -> Draw:
    """A function: step, generator -> its points of these ``latents`` over some of the data, in the plane."""
    data, mixture = dataset.points[:SHOWN], dataset.mixture
    middle = (data.amax(dim=0) + data.amin(dim=0)) / 2
    reach = 0.6 * float((data.amax(dim=0) - data.amin(dim=0)).max())
    (left, bottom), (right, top) = (middle - reach).tolist(), (middle + reach).tolist()

    def draw(step: int, generator: nn.Module) -> Image.Image:
        points = images.generate_points(generator, latents)
        title = f"step {step:,}"
        if mixture is not None:
            found, share = modes(points, mixture.means, mixture.stds[0].item())
            title += f"     {found} of {len(mixture.means)} modes     {share:.1%} of high quality"
        figure = _figure(660, 700)
        axes = figure.add_axes((0.1, 0.06, 0.86, 0.811))
        axes.scatter(data[:, 0].numpy(), data[:, 1].numpy(), s=9, color="0.75", linewidths=0, label="data")
        axes.scatter(points[:, 0].numpy(), points[:, 1].numpy(), s=5, color="tab:blue", linewidths=0, label="samples")
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        figure.legend(loc="upper center", bbox_to_anchor=(0.53, 0.935), ncols=2, frameon=False, markerscale=2.5)
        figure.suptitle(title, x=0.53, y=0.975, fontsize=12)
        return _drawn(figure)

    return draw


def _drawn(figure: Figure) -> Image.Image:
    """``figure`` in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
