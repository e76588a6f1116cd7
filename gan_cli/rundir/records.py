"""The records of a run: ``metrics.jsonl``, one JSON object a tick, and the sinks.

``metrics.jsonl`` is the reference. A sink, such as TensorBoard's events, is written from ``metrics.jsonl`` and the
sample grids. After a rollback or an error, the sink is written again from the beginning.
"""

import contextlib
import errno
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_cli.files import append, write_atomic
from gan_cli.rundir.layout import FINDINGS, METRICS, sample_grids

LONGEST = 50_000_000  # bytes of a file of records that is read whole
LONGEST_LINE, MOST = 65_536, 20_000  # of a longer file: bytes of a line, and lines

Record = Mapping[str, float]
# A sink is called with the run folder, records, sample grids (step and file of each), and a flag. If the flag is true,
# these are all records and grids so far, and the sink starts again. If it is false, they are new, and the sink appends
# them. A sink may raise OSError; the next tick then passes everything.
Sink = Callable[[Path, Sequence[Record], Sequence[tuple[int, Path]], bool], None]


class Records:
    """The records of a run folder, written to ``metrics.jsonl`` and handed to each of the ``sinks``.

    They begin with the run's records up to ``step``. A resumed run thus drops the records after its checkpoint. If a
    record cannot be written, the next :meth:`flush` writes it.
    """

    def __init__(self, run_dir: Path, step: int, sinks: Mapping[str, Sink] | None = None) -> None:
        self._run_dir, self._path, self._sinks = run_dir, run_dir / METRICS, dict(sinks or {})
        self._rows: list[Record] = []
        self._grids: list[tuple[int, Path]] = []
        self.rewind(step)
        self.flush()

    def rewind(self, step: int) -> None:
        """Drop the records of steps after ``step``. The next :meth:`flush` removes them from the files."""
        self._rows = [row for row in self._rows if row["step"] <= step]
        self._grids = []
        self._until: int | None = step  # if set, rewrite the file up to this step
        self._stale = set(self._sinks)  # the sinks that must be written again from metrics.jsonl

    def add(self, row: Record) -> None:
        """Add one tick's record. :meth:`flush` writes it."""
        self._rows.append(row)

    def add_grid(self, step: int, path: Path) -> None:
        """Add a sample grid that was written. :meth:`flush` passes it to the sinks."""
        self._grids.append((step, path))

    def flush(self) -> None:
        """Append the unwritten records. If the disk refuses them, keep them and raise OSError."""
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
        """Pass the new records and grids to a sink, or all of them if the sink is stale."""
        anew = name in self._stale
        if anew:
            rows = read_metrics(self._run_dir)
            grids = [(int(path.stem), path) for path in sample_grids(self._run_dir)]
        if anew or rows or grids:
            self._stale.add(name)  # until the sink has written them
            sink(self._run_dir, rows, grids, anew)
            self._stale.discard(name)


def write_findings(run_dir: Path, findings: Iterable[Mapping[str, Any]]) -> None:
    """Write ``findings.jsonl``: the findings of a run so far, in the order in which they began."""
    write_atomic(run_dir / FINDINGS, _lines(findings))


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The records of a run folder's ``metrics.jsonl``, in order.

    Invalid records are left out, and so are records whose step is not greater than the step before.
    """
    path = run_dir / METRICS
    return _valid(path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else [])


def _valid(lines: Iterable[str | bytes]) -> list[dict[str, Any]]:
    """The records that ``lines`` hold: see :func:`read_metrics`."""
    rows: list[dict[str, Any]] = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
            if _is_record(row) and (not rows or row["step"] > rows[-1]["step"]):
                rows.append(row)
    return rows


def read_some(run_dir: Path) -> list[dict[str, Any]]:
    """The records of a run folder, of a very long file some: evenly spread lines, :data:`MOST` of them, and the last.

    A run of some days has all of its records read. Longer files, which no run writes, are bounded in time and memory.
    """
    path = run_dir / METRICS
    if not path.is_file() or path.stat().st_size <= LONGEST:
        return read_metrics(run_dir)
    with path.open("rb") as file:
        lines = sum(1 for _ in iter(lambda: file.readline(LONGEST_LINE), b""))
        every = -(-lines // MOST)
        file.seek(0)
        pieces = enumerate(iter(lambda: file.readline(LONGEST_LINE), b""))
        return _valid(line for i, line in pieces if i % every == 0 or i == lines - 1)


def _is_record(row: Any) -> bool:
    """Whether ``row`` is a valid record: a step, and numbers within the range of every reader."""
    return (
        isinstance(row, dict)
        and all(name.isprintable() for name in row)
        and all(type(value) in (int, float) and abs(value) < 1e308 for value in row.values())
        and type(row.get("step")) is int
        and 0 <= row["step"] < 2**63
    )
