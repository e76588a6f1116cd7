"""Writing files so that no reader, and no crash, ever sees half of one."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes ``path`` at the end of the block: all of it, or nothing where the block raises.

    It is a temporary file in the same folder, flushed to disk, then renamed over ``path``. Folders are made as needed.
    Raises OSError, and leaves an older ``path`` as it was, when the disk won't take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path):
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes | bytearray) -> None:
    """Write ``content`` to ``path``, all of it or nothing, as :func:`replacing` does."""
    with replacing(path) as file:
        file.write(content)


def append(path: Path, content: bytes) -> None:
    """Add ``content`` to the end of ``path``, all of it or nothing, flushed to disk. Raises OSError if it can't be."""
    with naming(path), path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            if file.write(content) < len(content):  # what a disk does that is full in the middle of it
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def link(path: Path, name: str) -> None:
    """Make ``name``, in the same folder, a second name of the file ``path``: a copy where there are no hard links."""
    other, temporary = path.with_name(name), path.with_name(f".{name}.{os.getpid()}.tmp")
    try:
        os.link(path, temporary)
        os.replace(temporary, other)
        flush_folder(other.parent)
    except OSError:
        write_atomic(other, path.read_bytes())
    finally:
        temporary.unlink(missing_ok=True)  # a rename does nothing where both were one file already


def flush_folder(folder: Path) -> None:
    """Have the system write ``folder``'s list of names to disk, so that a rename in it outlives a power cut."""
    with suppress(OSError):  # some systems can't do this with a folder; the rename stands nevertheless
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(*folders: Path) -> None:
    """Remove the temporary files that :func:`replacing` and :func:`link` left in ``folders`` when killed."""
    for folder in folders:
        for path in folder.glob(".*.tmp"):
            if re.fullmatch(r"\..+\.\d+\.tmp", path.name):
                path.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let OSErrors name ``path``: the system reports a full disk without saying which file it was."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise
