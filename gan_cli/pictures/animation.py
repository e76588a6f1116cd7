"""The animation of a run, from its sample grids."""

import io
import logging
import math
from pathlib import Path

from PIL import Image, ImageOps, features

from gan_cli.errors import one_line
from gan_cli.files import write_atomic
from gan_cli.rundir import layout

log = logging.getLogger(__name__)


def write_animation(frames: list[Path], stem: Path) -> Path | None:
    """Write an animation of picture files in their order: ``stem``.webp, or .gif if Pillow can't write WebP.

    Long runs are thinned to about 100 frames. The last frame stays for two seconds. Returns the animation's path, or
    None if there are no frames.
    """
    if not frames:
        return None
    step = math.ceil(len(frames) / 100)
    chosen = frames[::step] if frames[::step][-1] == frames[-1] else [*frames[::step], frames[-1]]
    first, *rest = chosen
    size = _frame(frames[-1]).size
    suffix = "webp" if features.check("webp") else "gif"
    buffer = io.BytesIO()
    durations = [150] * len(rest) + [2000]
    others = (_frame(path, size) for path in rest)  # opened one after another
    _frame(first, size).save(
        buffer, suffix, save_all=True, append_images=others, duration=durations, loop=0, **_QUALITY[suffix]
    )
    path = stem.with_suffix(f".{suffix}")
    write_atomic(path, buffer.getvalue())
    return path


def write_run_animation(run_dir: Path) -> None:
    """Write ``training.webp`` (or ``.gif``) from a run folder's sample grids; only warn if a grid is damaged."""
    try:
        write_animation(layout.sample_grids(run_dir), run_dir / "training")
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the disk
        log.warning("no animation: a picture in %s is damaged (%s)", run_dir / "samples", one_line(error))


def _frame(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """A picture file in RGB, its longer side 1024 at most; within ``size``, as ``samples`` may change on a resume."""
    with Image.open(path) as picture:
        frame = picture.convert("RGB")
    frame.thumbnail((1024, 1024))
    return frame if size in (None, frame.size) else ImageOps.pad(frame, size)


_QUALITY: dict[str, dict[str, int]] = {"webp": {"quality": 80, "method": 2}, "gif": {}}
