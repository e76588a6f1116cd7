"""Errors for a person to read: one plain line, with what to type instead."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. Its message is one line: what is wrong, and what to do. The commands then end with status 2."""

    def __init__(self, line: str) -> None:
        super().__init__(printable(line))


class TrainingDiverged(Exception):
    """A loss or a weight is non-finite. Non-finite values are never saved. The commands then end with status 3."""


def printable(text: str) -> str:
    """``text`` as one line that is safe to print, even if it came from a file: escaped and shortened."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return line if len(line) <= 700 else f"{line[:450]} … {line[-200:]}"


def one_line(error: BaseException) -> str:
    """The message of another library's ``error`` on one line, cut after 200 characters; its type without one."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest of ``choices``, or ``"; choose from a, b, c"`` when none is near."""
    options = sorted(choices)
    near = difflib.get_close_matches(word, options, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; choose from {', '.join(options)}"
