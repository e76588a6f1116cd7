"""TensorBoard's events: a scalar for each number of each record, and the sample grids as images."""

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_cli.files import append, write_atomic
from gan_cli.rundir.layout import EVENTS


def write(run_dir: Path, records: Sequence[Mapping[str, float]], grids: Sequence[tuple[int, Path]], anew: bool) -> None:
    """Append the records and the grids to ``run_dir/events.out.tfevents.gan-cli``, or write it ``anew``.

    This module writes the file itself. The writers of torch and TensorBoard use a thread: it loses up to two minutes of
    events when the process is killed, and it never recovers from a full disk. Raises OSError.
    """
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in _events(records, grids, anew):
        writer.write(event.SerializeToString())
    (write_atomic if anew else append)(run_dir / EVENTS, buffer.getvalue())


def _events(records: Sequence[Mapping[str, float]], grids: Sequence[tuple[int, Path]], anew: bool) -> Iterator[Any]:
    """The events in the order of their steps, one for each record and grid. ``anew`` puts the format's event first."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    if anew:
        yield Event(wall_time=time.time(), file_version="brain.Event:2")
    events = []
    for row in records:
        scalars = [Summary.Value(tag=name, simple_value=row[name]) for name in row if name not in ("step", "time")]
        events.append(Event(wall_time=row.get("time", 0), step=int(row["step"]), summary=Summary(value=scalars)))
    for step, path in grids:
        if image := _image(path):
            summary = Summary(value=[Summary.Value(tag="samples", image=image)])
            events.append(Event(wall_time=path.stat().st_mtime, step=step, summary=summary))
    yield from sorted(events, key=lambda event: event.step)


def _image(path: Path) -> Any | None:
    """A PNG file as TensorBoard's image; None if the file is not a PNG, or damaged."""
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            picture.verify()
            (width, height), channels = picture.size, len(picture.getbands())
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=content)
