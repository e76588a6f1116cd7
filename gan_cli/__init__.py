"""gan-cli: a command-line trainer for generative adversarial networks, from Goodfellow et al. 2014 on.

The commands are ``gan-train``, ``gan-sample`` and ``gan-eval``. From Python: :func:`train`, :func:`load_generator`,
:func:`sample` and :func:`evaluate`, with the options they take. docs/use.md shows them.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gan_cli.api import (
        Average,
        Compute,
        Noise,
        Penalty,
        Plan,
        evaluate,
        load_generator,
        sample,
        train,
    )

__all__ = ["Average", "Compute", "Noise", "Penalty", "Plan", "evaluate", "load_generator", "sample", "train"]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first asked for: a command that answers a typo needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module 'gan_cli' has no attribute {name!r}")
    from gan_cli import api

    return getattr(api, name)
