"""Animations: of a run, from its sample grids; of a loop through the latents, from its frames."""

import io
import logging
import math
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

from PIL import Image, ImageOps, features

from gan_cli.errors import UserError, one_line
from gan_cli.files import write_atomic
from gan_cli.rundir import layout

log = logging.getLogger(__name__)

FRAMES_A_SECOND = 25  # of a loop; a GIF counts in hundredths of a second


def write_animation(frames: list[Path], stem: Path) -> Path | None:
    """Write an animation of picture files in their order: ``stem``.webp, or .gif if Pillow can't write WebP.

    Long runs are thinned to about 100 frames. The last frame stays for two seconds. Returns the animation's path, or
    None if there are no frames.
    """
    if not frames:
        return None
    step = math.ceil(len(frames) / 100)
    chosen = frames[::step] if frames[::step][-1] == frames[-1] else [*frames[::step], frames[-1]]
    suffix = "webp" if features.check("webp") else "gif"
    size = _frame(frames[-1]).size
    path = stem.with_suffix(f".{suffix}")
    opened = (_frame(path, size) for path in chosen)  # one after another
    write_atomic(path, _encoded(opened, suffix, [150] * (len(chosen) - 1) + [2000]))
    return path


def write_run_animation(run_dir: Path) -> None:
    """Write ``training.webp`` (or ``.gif``) from a run folder's sample grids; only warn if a grid is damaged."""
    try:
        write_animation(layout.sample_grids(run_dir), run_dir / "training")
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the disk
        log.warning("no animation: a picture in %s is damaged (%s)", run_dir / "samples", one_line(error))


def write_loop(frames: Iterable[Image.Image], path: Path) -> None:
    """Write ``frames`` as an endless loop, :data:`FRAMES_A_SECOND`: .gif, .webp or .mp4, as ``path`` ends.

    UserError, before the first frame is drawn, if this format can't be written here.
    """
    suffix = path.suffix.lower().removeprefix(".")
    if suffix == "webp" and not features.check("webp"):
        raise UserError("this Pillow can't write WebP: out=FILE.gif")
    content = _mp4(iter(frames)) if suffix == "mp4" else _encoded(iter(frames), suffix, 1000 // FRAMES_A_SECOND)
    write_atomic(path, content)


def _encoded(frames: Iterator[Image.Image], suffix: str, duration: int | list[int]) -> bytes:
    """An animation that Pillow writes, ``webp`` or ``gif``: it takes one frame after another."""
    buffer = io.BytesIO()
    next(frames).save(
        buffer, suffix, save_all=True, append_images=frames, duration=duration, loop=0, **_QUALITY[suffix]
    )
    return buffer.getvalue()


def _mp4(frames: Iterator[Image.Image]) -> bytes:
    """H.264 video, written by ffmpeg into a file of its own."""
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise UserError("an .mp4 needs imageio-ffmpeg: pip install 'gan-cli[video]'; or out=FILE.webp") from error
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "loop.mp4"
        first = _even(next(frames))
        writer = imageio_ffmpeg.write_frames(
            str(file), first.size, fps=FRAMES_A_SECOND, quality=8, macro_block_size=1, ffmpeg_log_level="error"
        )
        try:
            with closing(writer):
                writer.send(None)
                for frame in chain([first], map(_even, frames)):
                    writer.send(frame.tobytes())
        except OSError as error:  # ffmpeg's own complaint, or the disk's
            raise UserError(f"ffmpeg wrote no video: {one_line(error)}") from error
        return file.read_bytes()


def _even(frame: Image.Image) -> Image.Image:
    """``frame`` in RGB, with even sides, which H.264 needs: an odd side gets one more row of white."""
    width, height = (side + side % 2 for side in frame.size)
    canvas = Image.new("RGB", (width, height), "white")
    canvas.paste(frame)
    return canvas


def _frame(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """A picture file in RGB, its longer side 1024 at most; within ``size``, as ``samples`` may change on a resume."""
    with Image.open(path) as picture:
        frame = picture.convert("RGB")
    frame.thumbnail((1024, 1024))
    return frame if size in (None, frame.size) else ImageOps.pad(frame, size)


_QUALITY: dict[str, dict[str, int]] = {"webp": {"quality": 80, "method": 2}, "gif": {}}
