"""Sources made from targets: pairs for everyone who has a folder of images. Pictures are uint8 ``[C, H, W]``."""

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageFilter


def grey(picture: np.ndarray) -> np.ndarray:
    """The brightness of a ``picture`` uint8 ``[C, H, W]``, ``[1, H, W]``: .299 red, .587 green, .114 blue (BT.601)."""
    if len(picture) == 1:
        return picture
    weights = np.array([0.299, 0.587, 0.114])[:, None, None]
    return (picture[:3] * weights).sum(axis=0, keepdims=True).round().astype(np.uint8)


def edges(picture: np.ndarray) -> np.ndarray:
    """Dark lines on white, ``[1, H, W]``: the slope of the brightness after a Gaussian blur of one pixel."""
    smooth = Image.fromarray(grey(picture)[0]).filter(ImageFilter.GaussianBlur(1))
    down, right = np.gradient(np.asarray(smooth, dtype=np.float64))
    return (255 - 4 * np.hypot(down, right)).clip(0, 255).round().astype(np.uint8)[None]


def blur(picture: np.ndarray) -> np.ndarray:
    """A quarter of the resolution, ``[C, H, W]``: shrunk four times, and enlarged again."""
    height, width = picture.shape[1:]
    small = max(1, width // 4), max(1, height // 4)
    channels = [Image.fromarray(channel).resize(small, Image.Resampling.BICUBIC) for channel in picture]
    return np.stack([np.asarray(one.resize((width, height), Image.Resampling.BICUBIC)) for one in channels])


def mask(picture: np.ndarray) -> np.ndarray:
    """The ``picture`` with a grey square of half its sides in the middle, ``[C, H, W]``."""
    height, width = picture.shape[1:]
    masked = picture.copy()
    masked[:, height // 4 : height - height // 4, width // 4 : width - width // 4] = 128
    return masked


MADE: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"grey": grey, "edges": edges, "blur": blur, "mask": mask}
