"""``status.json`` of a run folder: the overrides of the run, how far it got, and how it ended."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gan_cli.errors import TrainingDiverged, UserError, one_line, printable
from gan_cli.files import write_atomic
from gan_cli.rundir import layout
from gan_cli.rundir.layout import STATUS

RUNNING, COMPLETE, STOPPED, FAILED, DIVERGED = STATES = ("running", "complete", "stopped", "failed", "diverged")
LONGEST = 1_000_000  # bytes of a file that is read


@dataclass(frozen=True)
class Status:
    """The contents of ``status.json``. ``error`` is the line that says why a run failed or diverged.

    ``words`` are those that the run began with, as typed. ``machine`` says on what it last ran: the device and the
    versions. Files of older versions have neither.
    """

    overrides: Mapping[str, str]
    status: str
    step: int = 0
    error: str | None = None
    words: Sequence[str] = ()
    machine: Mapping[str, str] = field(default_factory=dict)


def read(run_dir: Path) -> Status | None:
    """The status of ``run_dir``; None without the file. A file that is no status is told as a failed run."""
    path = run_dir / STATUS
    if not path.is_file():
        return None
    with suppress(OSError, ValueError, RecursionError, TypeError, AttributeError):
        with path.open("rb") as file:
            found = Status(**json.loads(file.read(LONGEST)))
        texts = [*found.overrides.items(), *found.machine.items(), [*found.words, found.error or ""]]
        words = [word for text in texts for word in text]
        if all(isinstance(word, str) for word in words) and found.status in STATES and type(found.step) is int:
            return found
    return Status({}, FAILED, error=f"{STATUS} can't be read")


class Record:
    """Writes ``status.json`` of one run. Its folder is ``run_dir``; ``overrides`` and ``words`` are this command's.

    A single run that is refused before it begins leaves the folder as it was. A run of a ``sweep`` says there why it
    was refused.
    """

    def __init__(
        self, run_dir: Path, overrides: Mapping[str, str] | None = None, sweep: bool = False, words: Sequence[str] = ()
    ) -> None:
        self._run_dir, self._overrides, self._words = run_dir, dict(overrides or {}), tuple(words)
        self.sweep = sweep
        self._begun, self._step, self._machine = False, 0, dict[str, str]()

    def begin(self, step: int, machine: Mapping[str, str] | None = None) -> None:
        """The run begins at ``step``, on this ``machine``."""
        self._begun, self._step, self._machine = True, step, dict(machine or {})
        self._write(RUNNING)

    def end(self, step: int, complete: bool) -> None:
        """The run has ended at ``step``: it is complete, or a signal has stopped it."""
        self._step = step
        self._write(COMPLETE if complete else STOPPED)

    @contextmanager
    def failing(self, explain: Callable[[BaseException], str | None]) -> Iterator[None]:
        """Write why the block raised an exception, in the line of ``explain``, and raise it again."""
        try:
            yield
        except Exception as error:
            diverged = isinstance(error, TrainingDiverged)
            line = str(error) if diverged else explain(error) or f"{type(error).__name__}: {one_line(error)}"
            if self.sweep or (self._begun and self._run_dir.is_dir()):  # a start that failed may have left no folder
                with suppress(UserError, OSError), layout.locked(self._run_dir):  # unless another process is at work
                    self._write(DIVERGED if diverged else FAILED, printable(line))
            raise

    def _write(self, status: str, error: str | None = None) -> None:
        """Write the file. The overrides of earlier commands are kept, as a resumed run is still what they chose."""
        before = read(self._run_dir)
        overrides = {**(before.overrides if before else {}), **self._overrides}
        words = before.words if before and before.words else self._words
        machine = self._machine or (before.machine if before else {})
        content = json.dumps(asdict(Status(overrides, status, self._step, error, words, machine)), indent=1)
        with suppress(OSError):  # a full disk is told by what the run itself writes, and may have room again
            write_atomic(self._run_dir / STATUS, content.encode())
