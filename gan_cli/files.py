"""Writing files so that no reader, and no crash, ever sees half of one."""

import os
from pathlib import Path


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``: to a temporary file in the same folder, flushed to disk, then renamed over it.

    Folders are made as needed. Raises OSError, and leaves an older ``path`` as it was, when the disk won't take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = str(path)  # a full disk is reported without a name
        raise
    finally:
        temporary.unlink(missing_ok=True)
