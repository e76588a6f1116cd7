"""Writing files so that no reader, and no crash, ever sees half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``: to a temporary file in the same folder, flushed to disk, then renamed over it.

    Folders are made as needed. Raises OSError, and leaves an older ``path`` as it was, when the disk won't take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path):
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let OSErrors name ``path``: the system reports a full disk without saying which file it was."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise
