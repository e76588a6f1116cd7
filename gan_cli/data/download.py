"""Downloads: the folder where they are kept, and the error message when a download fails."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gan_cli.errors import UserError, one_line

T = TypeVar("T")


def cache_folder() -> Path:
    """The folder of downloads and decoded images: ``$GAN_CLI_CACHE``, else ``$XDG_CACHE_HOME/gan-cli``, else
    ``~/.cache/gan-cli``."""
    if own := os.environ.get("GAN_CLI_CACHE"):
        return Path(os.path.expanduser(own))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gan-cli"


def download(fetch: Callable[[], T], wanted: str, folder: Path) -> T:
    """The result of ``fetch()``. If it fails, UserError says which files (``wanted``) to put into which ``folder``."""
    try:
        return fetch()
    except (OSError, RuntimeError) as error:  # URLError is an OSError; torchvision raises RuntimeError on a bad file
        raise UserError(
            f"can't download the data ({one_line(error)}); put {wanted} into {folder} and run again"
        ) from error
