"""The records of a run: ``metrics.jsonl``, one JSON object a tick, and what sinks make of it.

``metrics.jsonl`` is the truth. A sink, such as TensorBoard's events, is made from it and from the sample grids, and is
made anew from them whenever it may have missed something.
"""

import contextlib
import errno
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_cli.files import append, write_atomic
from gan_cli.rundir.layout import METRICS, sample_grids

Record = Mapping[str, float]
# A sink is called with the run folder, records, sample grids (the step and the file of each), and whether these are all
# that the run has so far. It begins anew where they are, and adds to what it has where they are not. It may raise
# OSError, and is then given everything at the next tick.
Sink = Callable[[Path, Sequence[Record], Sequence[tuple[int, Path]], bool], None]


class Records:
    """The records of a run folder, written to ``metrics.jsonl`` and handed to each of the ``sinks``.

    They begin with what the run had up to ``step``: what a resumed run had logged after its checkpoint is dropped. A
    record that the disk won't take is kept for the next :meth:`flush`.
    """

    def __init__(self, run_dir: Path, step: int, sinks: Mapping[str, Sink] | None = None) -> None:
        self._run_dir, self._path, self._sinks = run_dir, run_dir / METRICS, dict(sinks or {})
        self._rows: list[Record] = []
        self._grids: list[tuple[int, Path]] = []
        self.rewind(step)
        self.flush()

    def rewind(self, step: int) -> None:
        """Drop the records of steps after ``step``; from the files, with the next :meth:`flush`."""
        self._rows = [row for row in self._rows if row["step"] <= step]
        self._grids = []
        self._until: int | None = step  # the last step that the file may hold, where it has to be written anew
        self._stale = set(self._sinks)  # the sinks that are not made from all that metrics.jsonl holds

    def add(self, row: Record) -> None:
        """Take one tick's record; :meth:`flush` writes it."""
        self._rows.append(row)

    def add_grid(self, step: int, path: Path) -> None:
        """Take note of a sample grid that was written; :meth:`flush` hands it to the sinks."""
        self._grids.append((step, path))

    def flush(self) -> None:
        """Append the records not written yet. Raises OSError, and keeps them, when the disk won't take them."""
        if self._until is not None:
            kept = [row for row in read_metrics(self._run_dir) if row["step"] <= self._until]
            write_atomic(self._path, _lines(kept))
            self._until = None
        if not self._path.is_file():
            self._stale = set(self._sinks)
            write_atomic(self._path, b"")
            raise FileNotFoundError(errno.ENOENT, "deleted while the run was going on", str(self._path))
        if self._rows:
            append(self._path, _lines(self._rows))
        rows, self._rows = self._rows, []
        grids, self._grids = self._grids, []
        for name, sink in self._sinks.items():
            self._feed(name, sink, rows, grids)

    def _feed(self, name: str, sink: Sink, rows: Sequence[Record], grids: Sequence[tuple[int, Path]]) -> None:
        """Hand what is new to a sink; all there is, if it missed something."""
        anew = name in self._stale
        if anew:
            rows = read_metrics(self._run_dir)
            grids = [(int(path.stem), path) for path in sample_grids(self._run_dir)]
        if anew or rows or grids:
            self._stale.add(name)  # until it has taken them
            sink(self._run_dir, rows, grids, anew)
            self._stale.discard(name)


def _lines(rows: Iterable[Record]) -> bytes:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The records of a run folder's ``metrics.jsonl``, in order.

    Lines that are no whole record are left out, and lines whose step is not after the one before.
    """
    path = run_dir / METRICS
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
            if _is_record(row) and (not rows or row["step"] > rows[-1]["step"]):
                rows.append(row)
    return rows


def _is_record(row: Any) -> bool:
    """Whether ``row`` is a tick's record: a step, and numbers of a size that all who read it can take."""
    return (
        isinstance(row, dict)
        and all(name.isprintable() for name in row)
        and all(type(value) in (int, float) and abs(value) < 1e308 for value in row.values())
        and type(row.get("step")) is int
        and 0 <= row["step"] < 2**63
    )
