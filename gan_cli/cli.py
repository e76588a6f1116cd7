"""The commands: ``@hydra.main``, and the handling of input errors. torch is imported inside the functions."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gan_cli import __version__
from gan_cli.config import hydra_fixes, sweep
from gan_cli.config.explain import explain
from gan_cli.config.paths import absolute
from gan_cli.config.validation import check_cluster, check_resume, validate
from gan_cli.config.words import below_home, whole
from gan_cli.errors import TrainingDiverged, UserError, printable
from gan_cli.rundir.layout import missing, of_run, refuse_overwriting, remove, remove_empty
from gan_cli.rundir.status import Record
from gan_cli.terminal import take_any_letter

BUG, BAD_INPUT, DIVERGED, GRAVE, INTERRUPTED = 1, 2, 3, 4, 130
HYDRAS = ("config.yaml", "hydra.yaml", "overrides.yaml")  # what Hydra writes into hydra.output_subdir
NEW: list[Path] = []  # the folders that Hydra makes for the run, innermost first
SHOW_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"
hydra_fixes.install()


@hydra.main(version_base="1.3", config_path="pkg://gan_cli.configs", config_name="train")
def _train(config: DictConfig) -> float | None:
    from gan_cli.commands import train

    hydra_config = HydraConfig.get()
    in_sweep = hydra_config.mode == RunMode.MULTIRUN
    words = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)  # as typed, with ${…} unresolved
    overrides = sweep.by_key(words)  # type: ignore[arg-type]
    run_dir = Path(hydra_config.runtime.output_dir)
    if config.plan:
        _plan(config, in_sweep)
    record = Record(run_dir, overrides, in_sweep, words)  # type: ignore[arg-type]
    try:
        with one_line_errors("train"), record.failing(partial(explain, command="train")):
            if isinstance(mistake := config.get(sweep.MISTAKE), bytes):
                raise UserError(mistake.decode())
            validate(config, "train")
            # The start of the sweep has looked at resume. Its runs go on after a requeue, and are measured once.
            plain = {**_plain(config), **({"resume": "auto"} if in_sweep else {})}
            outcome = train.run(absolute(plain, hydra_config.runtime.cwd), list(overrides), run_dir, record)
    except SystemExit as stop:
        if in_sweep and stop.code in (BUG, BAD_INPUT, DIVERGED):
            return None  # a failed combination must not end the sweep; Optuna takes None, but no NaN, for a failure
        if in_sweep:
            remove_empty([run_dir])
        if run_dir in NEW and hydra_config.output_subdir and not of_run(run_dir):
            remove([run_dir / hydra_config.output_subdir / name for name in HYDRAS])
            remove_empty([run_dir / hydra_config.output_subdir])
        raise
    if outcome.signum is not None:
        raise SystemExit(128 + outcome.signum)
    return train.objective(run_dir, scored=config.eval_every is not None)


def _plan(config: DictConfig, in_sweep: bool) -> NoReturn:
    """``plan=true``: print the forecast of the run, and end without its folder, which Hydra has made."""
    from gan_cli.commands import forecast

    with one_line_errors("train"):
        if in_sweep:
            raise UserError("plan=true is for one run: leave -m out")
        if _shared():
            raise UserError("plan=true is for one process: start it without torchrun")
        print(forecast.run(absolute(_plain(config), HydraConfig.get().runtime.cwd)))
    raise SystemExit(0)  # by which _run removes the folder


def _printing(command: str, module: str) -> Callable[[], Any]:
    """A command that prints what ``run`` of its module returns."""

    @hydra.main(version_base="1.3", config_path="pkg://gan_cli.configs", config_name=command)
    def main(config: DictConfig) -> None:
        run = importlib.import_module(f"gan_cli.commands.{module}").run
        gc.enable()
        with one_line_errors(command):
            print(run(_plain(config)))

    return main


@hydra.main(version_base="1.3", config_path="pkg://gan_cli.configs", config_name="doctor")
def _doctor(config: DictConfig) -> None:
    from gan_cli.commands import doctor

    with one_line_errors("doctor"):
        found = doctor.run(_plain(config))
        print(found.text)
    if found.grave:
        raise SystemExit(GRAVE)


def _plain(config: DictConfig) -> dict[str, Any]:
    """``config`` resolved, as plain dicts and lists."""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


class Callbacks(Callback):
    """Hydra's callbacks: they check ranges before a folder is made, and prepare a sweep.

    They are called in the process that the command was typed in, under every launcher.
    """

    begun: ClassVar[Path | None] = None  # the folder of the sweep that was begun

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        command = config.hydra.job.config_name
        with one_line_errors(command):
            validate(config, command)
            if command == "train":
                check_cluster(config, sweep=False)
                refuse_overwriting(Path(config.hydra.run.dir), config.resume, sweep=False)
                NEW[:] = missing(Path(config.hydra.run.dir).absolute())

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        from gan_cli.reports import sweep as sweeps

        command = config.hydra.job.config_name
        with one_line_errors(command):
            if command != "train":
                raise UserError(f"gan-{command} has no -m; run it once for each")
            if _shared():
                raise UserError("a sweep can't share its runs among torchrun's processes: start it without torchrun")
            check_resume(config)
            check_cluster(config, sweep=True)
            folder = Path(config.hydra.sweep.dir)
            refuse_overwriting(folder, config.resume, sweep=True)
            sweeps.write_plan(folder, sweep.prepare(config, GlobalHydra.instance().config_loader()))
            hydra_fixes.outlive_killed_runs(config.hydra.launcher._target_)
            Callbacks.begun = folder


@contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """Turn input errors into one line on standard error and status 2, and diverged training into status 3.

    Any other error is a bug and keeps its traceback. Under ``HYDRA_FULL_ERROR=1`` every error keeps its traceback.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # as of `gan-train --help | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + 13) from None
    except Exception as error:
        line = str(error) if isinstance(error, TrainingDiverged) else explain(error, command)
        if line is None or SHOW_TRACEBACK:
            traceback.print_exc()  # print it here: Hydra turns an exception in a callback into a warning
            raise SystemExit(BUG) from None
        print(f"gan-{command}: {printable(line)}", file=sys.stderr)
        raise SystemExit(DIVERGED if isinstance(error, TrainingDiverged) else BAD_INPUT) from None


def _run(command: str, main: Callable[[], Any]) -> None:
    if "--version" in sys.argv[1:]:  # Hydra would print its own version
        print(f"gan-cli {__version__}")
        return
    take_any_letter()
    sys.argv[1:] = [below_home(whole(word)) for word in sys.argv[1:]]
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
    """``gan-train``. Of the processes that torchrun starts, the first reads the command line."""
    if not _shared():
        return _train_or_sweep()
    from gan_cli.commands.train import in_company

    with one_line_errors("train"):
        in_company(_train_or_sweep)


def _shared() -> bool:
    """Whether this process is one of several that torchrun has started for one run."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def _train_or_sweep() -> None:
    """A run or a sweep. A sweep ends with its table, even if it was interrupted, or if its launcher broke off."""
    Callbacks.begun, code = None, 0
    try:
        _run("train", _train)
    except SystemExit as stop:
        if Callbacks.begun is None:
            raise
        code = int(stop.code or 0)
    if Callbacks.begun is not None:
        complete = _print_table(Callbacks.begun)
        if code or not complete:
            raise SystemExit(code or BAD_INPUT)


def _print_table(folder: Path) -> bool:
    """Print the report of a sweep. Return whether all of its runs are complete."""
    from gan_cli.commands import report

    with one_line_errors("train"):
        text, complete = report.table_of(folder)
        print(f"\n{text}", flush=True)
        return complete


def _entry(command: str, module: str) -> Callable[[], None]:
    """The entry point of a command that prints what ``run`` of its module returns."""
    return lambda: _run(command, _printing(command, module))


sample = _entry("sample", "sample")
translate = _entry("translate", "translate")
eval_ = _entry("eval", "evaluate")
project = _entry("project", "project")
report = _entry("report", "report")
export = _entry("export", "export")


def doctor() -> None:
    """``gan-doctor``."""
    _run("doctor", _doctor)
