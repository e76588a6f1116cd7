"""Figures 2 and 3 of Goodfellow et al. 2014: samples beside their nearest training images, and latent paths."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gan_cli.metrics.distances import nearest
from gan_cli.metrics.extractor import Extractor
from gan_cli.noise import linear_path, spherical_path
from gan_cli.pictures import canvas
from gan_cli.pictures.grids import GAP, enlarged, write_png
from gan_cli.sampling import generate, over_white

PATH_STEPS = 8  # images from one latent to another
HEAD, MARGIN, NAMES, NARROWEST = 68, 12, 24, 600  # pixels above, around and beside a figure's images; its least width


def write_neighbours(samples: Tensor, train: Tensor, path: Path, extractor: Extractor | None = None) -> None:
    """Write a PNG of each sample beside its nearest training image: Goodfellow et al. 2014, Figure 2.

    The images are uint8 ``[N, C, H, W]`` and ``[M, C, H, W]``. The nearest image is found in pixels and, with an
    ``extractor``, also in features. A sample equal to its neighbour was memorised.
    """
    columns = {"sample": samples, "pixels": train[nearest(samples.flatten(1), train.flatten(1))[1]]}
    if extractor is not None:
        found = nearest(extractor.features(samples, what="samples"), extractor.features(train, what="training data"))
        columns["features"] = train[found[1]]
    rows = torch.stack(list(columns.values()), dim=1)
    spaces = "pixels" if extractor is None else "pixels and in features"
    panels = [("", part) for part in rows.tensor_split(min(4, len(rows)))]
    write_panels(panels, list(columns), f"samples and the nearest training images in {spaces}", path)


def write_interpolation(
    generator: nn.Module,
    start: Tensor,
    end: Tensor,
    path: Path,
    prior: str = "normal",
    labels: Tensor | None = None,
) -> None:
    """Write a PNG of the images along the path from ``start`` to ``end``, ``[N, z_dim]`` each: one row for each pair.

    ``labels`` ``[N]``, one for each row, are for a conditional generator.

    The left panel follows straight lines, as in Goodfellow et al. 2014, Figure 3. The right panel follows great
    circles, which suit a normal prior better.
    """

    def along(latents: Tensor) -> Tensor:
        of_rows = None if labels is None else labels.repeat_interleave(PATH_STEPS)
        made = generate(generator, latents.flatten(0, 1), labels=of_rows)
        return torch.cat(list(made)).unflatten(0, latents.shape[:2])

    spherical = "spherical path" + (" (may leave a uniform prior's cube)" if prior == "uniform" else "")
    panels = [
        ("linear path", along(linear_path(start, end, PATH_STEPS))),
        (spherical, along(spherical_path(start, end, PATH_STEPS))),
    ]
    write_panels(panels, ["t = 0", *[""] * (PATH_STEPS - 2), "t = 1"], "samples between two latents", path)


def write_panels(
    panels: Sequence[tuple[str, Tensor]],
    columns: Sequence[str],
    title: str,
    path: Path,
    rows: Sequence[str] = (),
) -> None:
    """Write a PNG of panels of uint8 images ``[rows, columns, C, H, W]``, with title and column names above each panel.

    The ``rows`` are named at the left of the first panel. The images are enlarged by an integer factor, without
    interpolation.
    """
    height, width = panels[0][1].shape[-2:]
    factor = max(1, 64 // height)
    cell_w, cell_h = width * factor + GAP, height * factor + GAP
    panel_w, panel_h = len(columns) * cell_w, max(len(part) for _, part in panels) * cell_h
    needed = len(panels) * (panel_w + MARGIN) + MARGIN + (NAMES if rows else 0)
    canvas_w, canvas_h = max(needed, NARROWEST), panel_h + HEAD + MARGIN
    figure = canvas.empty(canvas_w, canvas_h)
    figure.text(0.5, 1 - 16 / canvas_h, title, ha="center", va="center", fontsize=11)
    for i, (name, part) in enumerate(panels):
        left, h = (canvas_w + needed) / 2 - (len(panels) - i) * (panel_w + MARGIN), len(part) * cell_h
        box = left / canvas_w, (canvas_h - HEAD - h) / canvas_h, panel_w / canvas_w, h / canvas_h
        axes = figure.add_axes(box)
        axes.imshow(_tiled(part, factor), interpolation="none", aspect="auto", extent=(0, panel_w, h, 0))
        axes.set_title(name, fontsize=10)
        axes.set_xticks([(j + 0.5) * cell_w for j in range(len(columns))], columns, fontsize=8)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False, pad=1)
        named = rows if i == 0 else ()
        axes.set_yticks([(j + 0.5) * cell_h for j in range(len(named))], named, fontsize=8)
        axes.set_frame_on(False)
    write_png(canvas.drawn(figure), path)


def _tiled(rows: Tensor, factor: int) -> np.ndarray:
    """uint8 images ``[R, K, C, H, W]`` enlarged by ``factor``, with white gaps, as one RGB array."""
    opaque = over_white(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
    padded = pad(enlarged(opaque, factor), (0, GAP, 0, GAP), value=255)
    r, k, c, h, w = padded.shape
    whole = padded.permute(0, 3, 1, 4, 2).reshape(r * h, k * w, c)
    return whole.expand(-1, -1, 3).numpy()
