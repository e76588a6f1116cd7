"""Weights & Biases: every number of every record, and the sample grids. Optional: ``pip install gan-cli[wandb]``."""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gan_cli.errors import UserError, one_line
from gan_cli.files import write_atomic
from gan_cli.rundir.layout import CONFIG

try:
    import wandb
except ImportError as error:
    raise UserError("sinks=[wandb] needs Weights & Biases: pip install 'gan-cli[wandb]'") from error


def write(
    run_dir: Path, records: Sequence[Mapping[str, float]], grids: Sequence[tuple[int, Path]], anew: bool,
    project: str = "gan-cli",
) -> None:  # fmt: skip
    """Log the records and the grids to the W&B run of ``run_dir``, in ``project``.

    ``run_dir/wandb/id`` keeps the id of that run, and a resumed run goes on with it. W&B takes steps in rising order:
    steps that it has already are left out, and after a rollback it keeps the first values of a step. With
    ``WANDB_MODE=offline`` each start of the run writes all records so far into a folder of its own.

    UserError if W&B refuses the run, for want of a login for one.
    """
    run = _begun(run_dir, project)
    numbers = {int(row["step"]): {name: row[name] for name in row if name not in ("step", "time")} for row in records}
    pictures = {step: {"samples": wandb.Image(str(path))} for step, path in grids}
    for step in sorted(numbers | pictures):
        if step >= run.step:  # a grid follows its record
            run.log(numbers.get(step, {}) | pictures.get(step, {}), step=step)


def _begun(run_dir: Path, project: str) -> Any:
    """The W&B run of ``run_dir``: the one that this process has begun, or else a run that begins now."""
    path = run_dir / "wandb" / "id"
    if path.is_file() and wandb.run and wandb.run.id == path.read_text():
        return wandb.run
    if wandb.run:  # of another run folder, in a sweep
        wandb.finish()
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, secrets.token_hex(4).encode())
    config = run_dir / CONFIG  # a run from Python may have none
    try:
        return wandb.init(
            project=project, id=path.read_text(), resume="allow", name=run_dir.absolute().name, dir=str(run_dir),
            config=yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else None,
            settings=wandb.Settings(console="off", silent=True),  # the terminal belongs to the run
        )  # fmt: skip
    except wandb.Error as error:
        raise UserError(f"sinks=[wandb]: {one_line(error).rstrip('.')}, or set WANDB_MODE=offline") from error
