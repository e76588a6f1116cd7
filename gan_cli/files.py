"""Atomic writing: every file is complete, for a reader and after a crash."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes ``path`` at the end of the block. If the block raises, nothing is written.

    A temporary file in the same folder is flushed to disk, then renamed to ``path``. Folders are made as needed. If the
    disk refuses the file, OSError is raised and an older ``path`` stays unchanged.
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
    """Add ``content`` to the end of ``path``, all of it or nothing, flushed to disk. Raises OSError on failure."""
    with naming(path), path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            if file.write(content) < len(content):  # the disk became full during the write
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def link(path: Path, name: str) -> None:
    """Make ``name``, in the same folder, a second name of the file ``path``. Without hard links, make a copy."""
    other, temporary = path.with_name(name), path.with_name(f".{name}.{os.getpid()}.tmp")
    try:
        os.link(path, temporary)
        os.replace(temporary, other)
        flush_folder(other.parent)
    except OSError:
        write_atomic(other, path.read_bytes())
    finally:
        temporary.unlink(missing_ok=True)  # a rename does nothing if both names were the same file


def flush_folder(folder: Path) -> None:
    """Flush ``folder``'s list of names to disk, so that a rename in it survives a power cut."""
    with suppress(OSError):  # some systems cannot flush a folder; the rename is still done
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(*folders: Path) -> None:
    """Remove the temporary files that :func:`replacing` and :func:`link` left in ``folders`` after a kill."""
    for folder in folders:
        for path in folder.glob(".*.tmp"):
            if re.fullmatch(r"\..+\.\d+\.tmp", path.name):
                path.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add ``path`` to OSErrors, because the system reports a full disk without the file's name."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise
