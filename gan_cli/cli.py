"""The commands: ``@hydra.main``, and the handling of input errors. torch is imported inside the functions."""

from __future__ import annotations

import argparse
import gc
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gan_cli import __version__
from gan_cli.config.explain import explain
from gan_cli.config.validation import check_resume, validate
from gan_cli.errors import TrainingDiverged, UserError, printable
from gan_cli.rundir.layout import missing, of_run, refuse_overwriting, remove, remove_empty

if TYPE_CHECKING:
    from gan_cli.commands import sweep

BUG, BAD_INPUT, DIVERGED, INTERRUPTED = 1, 2, 3, 130
HYDRAS = ("config.yaml", "hydra.yaml", "overrides.yaml")  # what Hydra writes into hydra.output_subdir
NEW: list[Path] = []  # the folders that Hydra makes for the run, innermost first
SHOW_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"


@hydra.main(version_base="1.3", config_path="pkg://gan_cli.configs", config_name="train")
def _train(config: DictConfig) -> float:
    from gan_cli.commands import train

    hydra_config = HydraConfig.get()
    words = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)  # as typed, with ${…} unresolved
    overridden = list(_overrides(words))  # type: ignore[arg-type]
    run_dir = Path(hydra_config.runtime.output_dir)
    try:
        with one_line_errors("train"):
            validate(config, "train")
            outcome = train.run(_absolute(_plain(config), hydra_config.runtime.cwd), overridden, run_dir)
    except SystemExit as stop:
        if hydra_config.mode == RunMode.MULTIRUN and stop.code in (BAD_INPUT, DIVERGED):
            return float("nan")  # a failed combination must not end the sweep
        if hydra_config.mode == RunMode.MULTIRUN:
            remove_empty([run_dir])
        if run_dir in NEW and hydra_config.output_subdir and not of_run(run_dir):
            remove([run_dir / hydra_config.output_subdir / name for name in HYDRAS])
            remove_empty([run_dir / hydra_config.output_subdir])
        raise
    if outcome.signum is not None:
        raise SystemExit(128 + outcome.signum)
    return outcome.metrics.get("value", float("nan"))


@hydra.main(version_base="1.3", config_path="pkg://gan_cli.configs", config_name="sample")
def _sample(config: DictConfig) -> None:
    from gan_cli.commands import sample

    gc.enable()
    with one_line_errors("sample"):
        print(sample.run(_plain(config)))


@hydra.main(version_base="1.3", config_path="pkg://gan_cli.configs", config_name="eval")
def _eval(config: DictConfig) -> None:
    from gan_cli.commands import evaluate

    gc.enable()
    with one_line_errors("eval"):
        print(evaluate.run(_plain(config)))


def _plain(config: DictConfig) -> dict[str, Any]:
    """``config`` resolved, as plain dicts and lists."""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def _absolute(config: dict[str, Any], cwd: str) -> dict[str, Any]:
    """``config`` with absolute paths, from the folder ``cwd`` where the command was typed.

    A run can thus be resumed from another folder, and ``hydra.job.chdir`` changes nothing.
    """
    paths = {name: config[name] for name in ("resume", "init") if config[name] not in (None, "auto")}
    found = config | {name: os.path.abspath(os.path.join(cwd, os.path.expanduser(p))) for name, p in paths.items()}
    root = config["dataset"].get("root") if isinstance(config["dataset"], dict) else None
    if isinstance(root, str):
        root = os.path.abspath(os.path.join(cwd, os.path.expanduser(root)))
        found["dataset"] = {**config["dataset"], "root": root}
    return found


class Callbacks(Callback):
    """Hydra's callbacks: they check ranges before a folder is made, and print the table at the end of a sweep."""

    def __init__(self) -> None:
        self.runs: list[sweep.Run] = []

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        command = config.hydra.job.config_name
        with one_line_errors(command):
            validate(config, command)
            if command == "train":
                refuse_overwriting(Path(config.hydra.run.dir), config.resume, sweep=False)
                NEW[:] = missing(Path(config.hydra.run.dir).absolute())

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        command = config.hydra.job.config_name
        with one_line_errors(command):
            if command != "train":
                raise UserError(f"gan-{command} has no -m; run it once for each")
            check_resume(config)
            refuse_overwriting(Path(config.hydra.sweep.dir), config.resume, sweep=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        from gan_cli.commands import sweep

        with one_line_errors("train"):
            finished = job_return.status == JobStatus.COMPLETED and math.isfinite(job_return.return_value)
            folder = Path(config.hydra.runtime.output_dir)
            self.runs.append(sweep.Run(_overrides(job_return.overrides or []), folder, finished))
            sweep.write_csv(sweep.collect(self.runs), Path(config.hydra.sweep.dir) / "results.csv")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        from gan_cli.commands import sweep

        rows = sweep.collect(self.runs)
        print(f"\n{sweep.table(rows)}\n\nalso in {Path(config.hydra.sweep.dir) / 'results.csv'}")
        if any(row.finished < row.runs for row in rows):
            raise SystemExit(BAD_INPUT)


def _overrides(task: Sequence[str]) -> dict[str, str]:
    """Hydra's list of overrides as a mapping: ``["k=2", "+loss.x=1"]`` -> ``{"k": "2", "loss.x": "1"}``."""
    pairs = (item.lstrip("+~").partition("=") for item in task)
    return {key: value for key, _, value in pairs}


@contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """Turn input errors into one line on standard error and status 2, and diverged training into status 3.

    Any other error is a bug and keeps its traceback. Under ``HYDRA_FULL_ERROR=1`` every error keeps its traceback.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        line = str(error) if isinstance(error, TrainingDiverged) else explain(error, command)
        if line is None or SHOW_TRACEBACK:
            traceback.print_exc()  # print it here: Hydra turns an exception in a callback into a warning
            raise SystemExit(BUG) from None
        print(f"gan-{command}: {printable(line)}", file=sys.stderr)
        raise SystemExit(DIVERGED if isinstance(error, TrainingDiverged) else BAD_INPUT) from None


def _parser() -> argparse.ArgumentParser:
    """Hydra's parser, made without Python 3.14's check of help texts.

    One help text of Hydra 1.3 is an object that writes the text on request. The check refuses this object.
    """
    argparse.ArgumentParser._check_help = lambda *_: None  # type: ignore[attr-defined]
    try:
        return get_args_parser()
    finally:
        del argparse.ArgumentParser._check_help  # type: ignore[attr-defined]  # restore the inherited check


sys.modules["hydra.main"].get_args_parser = _parser  # type: ignore[attr-defined]


def _run(command: str, main: Callable[[], Any]) -> None:
    if "--version" in sys.argv[1:]:  # Hydra would print its own version
        print(f"gan-cli {__version__}")
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them
    if not any(word.startswith("-") or "hydra" in word for word in sys.argv[1:]):
        sys.argv.append("--run")  # else Hydra composes the configuration twice: once to look whether this is a sweep
    # Imports and Hydra make many objects that stay. To search them for garbage takes a fifth of the start.
    gc.disable()
    try:
        with one_line_errors(command):
            main()
    except SystemExit:
        remove_empty(NEW)  # only if they have no file
        raise
    finally:
        NEW.clear()
        gc.enable()


def train() -> None:
    """``gan-train``."""
    _run("train", _train)


def sample() -> None:
    """``gan-sample``."""
    _run("sample", _sample)


def eval_() -> None:
    """``gan-eval``."""
    _run("eval", _eval)
