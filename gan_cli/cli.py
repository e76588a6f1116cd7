"""The commands: ``@hydra.main``, and what it ends with when something was mistyped. torch is imported inside."""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gan_cli import schema
from gan_cli.errors import TrainingDiverged

BAD_INPUT, DIVERGED, INTERRUPTED = 2, 3, 130
SHOW_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"


@hydra.main(version_base="1.3", config_path="pkg://gan_cli.configs", config_name="train")
def _train(config: DictConfig) -> float:
    from gan_cli import train

    hydra_config = HydraConfig.get()
    overridden = [re.split(r"[./=@]", override.lstrip("+~"))[0] for override in hydra_config.overrides.task]
    run_dir = Path(hydra_config.runtime.output_dir)
    try:
        with one_line_errors("train"):
            schema.validate(config, "train")
            outcome = train.run(_plain(config), overridden, run_dir)
    except SystemExit:
        if hydra_config.mode == RunMode.MULTIRUN:  # one bad combination mustn't cost the others
            return float("nan")
        if {path.name for path in run_dir.iterdir()} <= {hydra_config.output_subdir}:  # nothing but Hydra's notes in it
            shutil.rmtree(run_dir)
        raise
    if outcome.signum is not None:
        raise SystemExit(128 + outcome.signum)
    return outcome.metrics["value"]


@hydra.main(version_base="1.3", config_path="pkg://gan_cli.configs", config_name="sample")
def _sample(config: DictConfig) -> None:
    from gan_cli import sample

    with one_line_errors("sample"):
        print(sample.run(_plain(config)))


def _plain(config: DictConfig) -> dict[str, Any]:
    """``config`` resolved, as plain dicts and lists."""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


class Callbacks(Callback):
    """What Hydra calls around a command: ranges are checked before a folder is made; a sweep ends with its table."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        command = config.hydra.job.config_name
        with one_line_errors(command):
            schema.validate(config, command)
            if command == "train":
                schema.refuse_overwriting(config, Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with one_line_errors("train"):
            schema.refuse_overwriting(config, Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        from gan_cli import sweep

        folder = Path(config.hydra.sweep.dir)
        runs = []
        for notes in sorted(folder.glob("*/.hydra/overrides.yaml"), key=lambda path: int(path.parts[-3])):
            overrides = dict(str(item).split("=", 1) for item in OmegaConf.load(notes))
            runs.append((overrides, notes.parent.parent))
        rows = sweep.collect(runs)
        with one_line_errors("train"):
            sweep.write_csv(rows, folder / "results.csv")
        print(f"\n{sweep.table(rows)}\n\nalso in {folder / 'results.csv'}")
        if any(row.finished < row.runs for row in rows):
            raise SystemExit(BAD_INPUT)


@contextmanager
def one_line_errors(command: str) -> Iterator[None]:
    """Turn the input's mistakes into one line on standard error and status 2, diverged training into status 3.

    Anything else is a bug and keeps its traceback, as everything does under ``HYDRA_FULL_ERROR=1``.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        line = str(error) if isinstance(error, TrainingDiverged) else schema.explain(error, command)
        if line is None or SHOW_TRACEBACK:
            raise
        print(f"gan-{command}: {line}", file=sys.stderr)
        raise SystemExit(DIVERGED if isinstance(error, TrainingDiverged) else BAD_INPUT) from None


def _run(command: str, main: Callable[[], Any]) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands its errors on instead of printing them its own way
    with one_line_errors(command):
        main()


def train() -> None:
    """``gan-train``."""
    _run("train", _train)


def sample() -> None:
    """``gan-sample``."""
    _run("sample", _sample)
