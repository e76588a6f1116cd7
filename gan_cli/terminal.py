"""The terminal: letters that any terminal takes, and a run's progress, a bar or one line a tick."""

import codecs
import contextlib
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tqdm import tqdm

from gan_cli.metrics.catalogue import format_record

PLAIN = {"\u00b1": "+/-", "\u2026": "...", "\u00d7": "x", "\u2212": "-", "\u2013": "-", "\u2019": "'", "\u2192": "->"}


def _plain(error: UnicodeError) -> tuple[str, int]:
    """A codec's error handler: letters of ASCII that look or sound alike, else an escape sequence."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(map(_plain_letter, letters)), error.end


def _plain_letter(letter: str) -> str:
    bare = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return PLAIN.get(letter) or bare or letter.encode("ascii", "backslashreplace").decode()


def take_any_letter() -> None:
    """Let standard output and error write every letter, whatever their encoding. No letter may end a run."""
    codecs.register_error("gan_cli.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's or a test's has no encoding
            stream.reconfigure(errors="gan_cli.plain")


class Clock(Protocol):
    """A clock of the seconds of training so far."""

    @property
    def seconds(self) -> float: ...


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table of ``rows``, all of the same length, as text: its columns are as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def tell(line: str) -> None:
    """Print ``line``. If the reader is gone or its disk is full, the run continues silently."""
    try:
        print(line, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


class _Bar(tqdm):
    """A bar whose end and remaining time also respect ``max_seconds``."""

    def __init__(self, stopwatch: Clock, max_seconds: float | None, **kwargs: Any) -> None:
        self.stopwatch, self.max_seconds = stopwatch, max_seconds
        self.first_seconds = stopwatch.seconds
        super().__init__(**kwargs)

    def restart(self, step: int) -> None:
        """Begin again at ``step``, and count the time from now."""
        self.reset()
        self.first_seconds = self.stopwatch.seconds
        self.n = self.initial = step

    @property
    def format_dict(self) -> dict[str, Any]:
        facts = super().format_dict
        done = facts["n"] - facts["initial"]
        if not done:
            return facts | {"left": "?"}
        steps_left = facts["total"] - facts["n"]
        if self.max_seconds is not None:
            seconds_a_step = (self.stopwatch.seconds - self.first_seconds) / done
            steps_left = min(steps_left, max(0, round((self.max_seconds - self.stopwatch.seconds) / seconds_a_step)))
        left = tqdm.format_interval(steps_left * facts["elapsed"] / done)
        return facts | {"total": facts["n"] + steps_left, "left": left}


class Display:
    """Shows a run: a bar on a terminal, one line a tick elsewhere (a log file, a pipe)."""

    def __init__(self, step: int, steps: int, stopwatch: Clock, max_seconds: float | None) -> None:
        self._bar = _Bar(
            stopwatch,
            max_seconds,
            initial=step,
            total=steps,
            disable=None,  # for tqdm: off unless standard error is a terminal
            dynamic_ncols=True,
            mininterval=0.2,
            bar_format="{percentage:3.0f}%|{bar:10}| step {n:,}/{total:,}, {left} left{postfix}",
        )

    def step(self) -> None:
        """Count one more step."""
        self._bar.update()

    def tick(self, row: Mapping[str, float]) -> None:
        """Show a tick's record."""
        if self._bar.disable:
            tell(f"step {row['step']:,}/{self._bar.total:,}: {format_record(row)}")
        else:
            self._bar.set_postfix_str(format_record(row))

    def say(self, line: str) -> None:
        """Print a message on standard error, above the bar."""
        with contextlib.suppress(OSError):  # a full disk of the log must not end the run
            tqdm.write(f"gan-train: {line}", file=sys.stderr)

    def rewind(self, step: int) -> None:
        """The run has gone back to ``step``."""
        self._bar.restart(step)

    def close(self) -> None:
        self._bar.close()


class Silence:
    """The display of a process that does not lead its run: nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def _nothing(self, *_: Any) -> None:
        pass

    step = tick = say = rewind = close = _nothing
