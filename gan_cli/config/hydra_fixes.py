"""Corrections of Hydra 1.3 and its launchers: the parser under Python 3.14, errors, runs that are killed."""

import argparse
import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode

from gan_cli.config.words import refuse_option


def _parser() -> argparse.ArgumentParser:
    """Hydra's parser, made without Python 3.14's check of help texts.

    One help text of Hydra 1.3 is an object that writes the text on request. The check refuses this object.
    """
    argparse.ArgumentParser._check_help = lambda *_: None  # type: ignore[attr-defined]
    try:
        parser: argparse.ArgumentParser = get_args_parser()
        parser.error = refuse_option  # type: ignore[method-assign]
        return parser
    finally:
        del argparse.ArgumentParser._check_help  # type: ignore[attr-defined]  # restore the inherited check


def _mode(self: Hydra, config_name: str | None, overrides: list[str]) -> RunMode | None:
    """``hydra.mode``, which Hydra composes the whole configuration to look at, before it composes it for the run.

    This package's files leave it unset. A word about Hydra, or a file that an option brings along, may set it.
    """
    words = set(sys.argv[1:]) - {"-m", "--multirun"}
    if any(word.startswith("-") or "hydra" in word for word in words):
        return _composed_mode(self, config_name, overrides)
    return None


_composed_mode = Hydra.get_mode


def outlive_killed_runs(launcher: str) -> None:
    """Let ``launcher``, the path of a class of Hydra's plugins, wait for every run, even if one is killed.

    Ray's and submitit's launchers raise an error at the first run whose process is lost, and leave the others to
    themselves. Such a run now counts as one that returned nothing. joblib's launcher can't go on.
    """
    nothing = JobReturn(status=JobStatus.COMPLETED)
    if launcher.endswith(".RayLauncher"):
        ray: Any = importlib.import_module("ray")
        lost = ("WorkerCrashedError", "OutOfMemoryError", "NodeDiedError")
        ray.get = _forgiving(ray.get, lost, nothing)
    elif launcher.endswith((".LocalLauncher", ".SlurmLauncher")):
        job = importlib.import_module("submitit.core.core").Job
        job.results = _forgiving(job.results, ("UncompletedJobError",), [nothing])


def _forgiving(function: Callable[..., Any], errors: tuple[str, ...], instead: Any) -> Callable[..., Any]:
    """``function``, but it returns ``instead`` where it would raise one of the ``errors``, by their names."""

    @functools.wraps(function)
    def forgiving(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except Exception as error:
            if type(error).__name__ not in errors:
                raise
            return instead

    return forgiving


def install() -> None:
    """Put the corrections into Hydra. Hydra then also raises its errors, which it would print.

    Its variable HYDRA_FULL_ERROR has the same effect, but would reach a sweep's workers.
    """
    Hydra.get_mode = _mode  # type: ignore[method-assign]
    sys.modules["hydra.main"].get_args_parser = _parser  # type: ignore[attr-defined]
    sys.modules["hydra._internal.utils"].run_and_report = lambda function: function()  # type: ignore[attr-defined]
