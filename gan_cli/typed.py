"""Command lines to type: words that Hydra's grammar and the shell take as they are meant."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path


def line(command: str, words: Iterable[str] = ()) -> str:
    """``command`` with ``words`` for a shell."""
    return shlex.join([command, *words])


def word(key: str, value: str | Path) -> str:
    """``key=value``, quoted for Hydra's grammar if the value has other characters than those of a plain path."""
    text = str(value)
    if all(c.isalnum() or c in "/-_.+:" for c in text):
        return f"{key}={text}"
    doubled = re.sub(r'(\\+)(?="|$)', r"\1\1", text)  # only backslashes before a quote are special
    return f'{key}="' + doubled.replace('"', '\\"') + '"'


def shown(folder: Path) -> str:
    """The shortest path to ``folder`` that can be typed here. With hydra.job.chdir, here is in ``folder`` itself."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder != here and folder.is_relative_to(here) else folder)
