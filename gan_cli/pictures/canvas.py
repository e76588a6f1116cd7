"""Matplotlib figures: an empty figure of a given size in pixels, and the image of a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110


def empty(width: int, height: int, layout: Literal["constrained"] | None = None) -> Figure:
    """An empty figure of ``width`` x ``height`` pixels."""
    from matplotlib.figure import Figure  # not pyplot: it keeps global state and looks for a display

    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout=layout)


def drawn(figure: Figure) -> Image.Image:
    """``figure`` as an RGB image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
