"""``gan-train``: from a composed configuration to a finished run folder."""

import gc
import logging
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gan_cli import __version__, files, meeting, processes, typed
from gan_cli.config import networks
from gan_cli.config.build import Assembled, assemble
from gan_cli.config.defaults import settled
from gan_cli.config.resume import resumed
from gan_cli.config.saved import SavedRun, open_run
from gan_cli.config.trust import to_be_trusted
from gan_cli.errors import TrainingDiverged, UserError
from gan_cli.metrics.catalogue import FIRST_SCORES
from gan_cli.pictures.animation import write_run_animation
from gan_cli.pictures.curves import write_curves
from gan_cli.rundir import checkpoint, layout, status
from gan_cli.rundir.branch import branched
from gan_cli.rundir.checkpoint import Checkpoint
from gan_cli.rundir.records import read_metrics
from gan_cli.terminal import Display, Silence, tell
from gan_cli.training import algorithm, graphs
from gan_cli.training.batches import Batches
from gan_cli.training.device import described
from gan_cli.training.plan import Outcome
from gan_cli.training.run import Run

log = logging.getLogger(__name__)
GRACE = timedelta(seconds=20)  # for the leader to tell an error that all processes know of


def run(
    config: dict[str, Any], overridden: Sequence[str], run_dir: Path, record: status.Record | None = None
) -> Outcome:
    """Train as ``config`` (plain data, resolved) says and write ``run_dir``. ``record`` writes its ``status.json``.

    ``overridden`` names the keys that the command line set. On a resume their values must equal the run's, except for
    the keys that may change (:data:`gan_cli.config.resume.MAY_CHANGE`). Paths are absolute, or relative to this
    process's folder.
    """
    in_place = config["resume"] not in (None, "auto") and not layout.file_to_resume(config["resume"])
    if "run_dir" in overridden and in_place:
        raise UserError(f"resume={config['resume']} goes on in that folder: leave run_dir out, or say resume=auto")
    record = record or status.Record(run_dir)
    if record.sweep and layout.at_work(run_dir):  # a worker of a killed sweep, or the same values twice at a time
        log.warning(f"another gan-train is at work in {run_dir}: waiting for it")
    with layout.locked(run_dir, wait=record.sweep):
        layout.refuse_overwriting(run_dir, config["resume"], sweep=False)  # another run may have used the folder since
        files.remove_leftovers(run_dir, run_dir / "samples", run_dir / "checkpoints")
        return _run(settled(config), overridden, run_dir, record)


def _run(config: dict[str, Any], overridden: Sequence[str], run_dir: Path, record: status.Record) -> Outcome:
    saved, elsewhere = _to_resume(config, run_dir), layout.file_to_resume(config["resume"])
    if saved:
        config = {**resumed(config, saved, overridden), **({"run_dir": config["run_dir"]} if elsewhere else {})}
        progress = saved.checkpoint.progress
        if more := _what_to_raise(progress.step, progress.seconds, config):
            return _already_done(saved, config, run_dir, more, record)
        if elsewhere:
            saved = SavedRun(branched(saved.checkpoint, run_dir), saved.trust)
    meeting.assign(Task(config, run_dir, saved.path if saved else None))
    parts = processes.together(partial(assemble, config, saved))
    for line in parts.notes:
        log.warning(line)
    checkpoint.save_config(run_dir, parts.config)
    compute, batches = parts.compute, parts.state.batches
    replayed = ", CUDA graphs" if graphs.used(compute, parts.state.optimizers, batches.accumulate) else ""
    device = described(compute.device, compute.bf16, compute.compile, batches.resident) + replayed
    record.begin(parts.state.step, {"device": device, **_versions()})
    tell(f"on {_shared_by(batches)}{device}")
    for line in filter(None, parts.found):
        tell(line)
    gc.enable()  # paused by the command while it starts
    outcome = execute(parts, run_dir, saved.checkpoint if saved else None)
    step = min(outcome.step, next((int(path.stem) for path in layout.in_order(run_dir / "checkpoints")), 0))
    if step < outcome.step:  # the run was stopped while the disk refused files
        log.warning("step %s is lost: saved is only what came up to step %s", f"{outcome.step:,}", f"{step:,}")
    more = _what_to_raise(step, outcome.seconds, config)
    record.end(step, complete=more is not None)
    _say_goodbye(step, run_dir, more, parts.config)
    return outcome


def _versions() -> dict[str, str]:
    return {"gan-cli": __version__, "torch": torch.__version__, "Python": platform.python_version(),
            "system": platform.platform()}  # fmt: skip


class Task(NamedTuple):
    """What the leader tells the other processes: the configuration, the run folder, the checkpoint to go on from."""

    config: Mapping[str, Any]
    run_dir: Path
    resume: Path | None


def in_company(command: Callable[[], None]) -> None:
    """Call ``command``, which trains, in the process that leads. The others take part in its run, without a word."""
    meeting.join()
    try:
        if processes.leads():
            try:
                command()
            finally:
                meeting.first_to_speak()  # it has spoken, if there was something to say
                with suppress(processes.Lost):
                    meeting.assign(None)  # if the command has not come to train
        elif task := meeting.assign(None):
            _follow(task)
    finally:
        meeting.leave()


def _follow(task: Task) -> None:
    """Take part in the run of the leader. It reports all errors but its own end and what happened here alone."""
    logging.getLogger("gan_cli").setLevel(logging.CRITICAL)
    try:
        parts, resume = processes.together(partial(_assembled, task.config, task.resume))
        signum = execute(parts, task.run_dir, resume).signum
        code = 0 if signum is None else 128 + signum
    except (UserError, TrainingDiverged):
        meeting.outlast_the_leader(GRACE)  # which tells the same, if it knows
        if meeting.first_to_speak():
            raise
        raise SystemExit(2) from None
    if code:
        meeting.outlast_the_leader()
        raise SystemExit(code)


def _assembled(config: Mapping[str, Any], resume: Path | None) -> tuple[Assembled, Checkpoint | None]:
    """The run that ``config`` describes, and the checkpoint from which it goes on."""
    saved = open_run(resume, config["trust"]) if resume else None
    return assemble(config, saved), saved.checkpoint if saved else None


def _shared_by(batches: Batches) -> str:
    """Who computes a minibatch, if it is not this process at once."""
    n, times = processes.count(), batches.accumulate
    each = f"{batches.batch_size // n} images each" if n > 1 else f"{batches.batch_size} images"
    turns = f", {batches.batch_size // n // times} at a time" if times > 1 else ""
    return (f"{n} processes, " if n > 1 else "") + f"{each}{turns}: " if n * times > 1 else ""


def objective(run_dir: Path, scored: bool) -> float | None:
    """The value of a run for a sweeper: the last first score if the run is ``scored``, else V(D, G); None without one.

    A lower score is better.
    """
    names = FIRST_SCORES if scored else ("value",)
    found = [row[name] for row in read_metrics(run_dir) for name in names if name in row]
    return found[-1] if found else None


def execute(parts: Assembled, run_dir: Path, resume: Checkpoint | None) -> Outcome:
    """Train the assembled run to its end, or until a signal stops it, and write ``run_dir``."""
    with Run(
        parts.state, parts.plan, run_dir, Display if processes.leads() else Silence, draw=parts.draw,
        evaluate=parts.evaluate, observe=parts.observe, sinks=parts.sinks, config=parts.config, resume=resume,
    ) as going:  # fmt: skip
        state = parts.state
        replayed = graphs.used(parts.compute, state.optimizers, state.batches.accumulate)
        one = graphs.Static(algorithm.iterate) if replayed else algorithm.iterate
        algorithm.train(state.game, state.batches, state.optimizers, going, k=parts.k, update=parts.update, one=one)
    return going.outcome


def _what_to_raise(step: int, seconds: float, config: Mapping[str, Any]) -> str | None:
    """The override that doubles the length of a complete run; None if the run is not complete."""
    if step >= config["steps"]:
        return f"steps={2 * step}"
    if config["max_seconds"] is not None and seconds >= config["max_seconds"]:
        return f"max_seconds={2 * math.ceil(seconds)}"
    return None


def _to_resume(config: Mapping[str, Any], run_dir: Path) -> SavedRun | None:
    """The run to resume: that of ``run_dir``, or of the file that ``resume`` names. For ``auto``, if it is there."""
    if config["resume"] is None or (config["resume"] == "auto" and not layout.of_run(run_dir)):
        return None
    return open_run(layout.file_to_resume(config["resume"]) or run_dir, config["trust"])


def _already_done(
    saved: SavedRun, config: Mapping[str, Any], run_dir: Path, more: str, record: status.Record
) -> Outcome:
    """The outcome of a complete run, for ``resume=auto`` when a finished command is typed again."""
    if config["resume"] != "auto":
        where = layout.file_to_resume(config["resume"]) or run_dir
        raise UserError(f"the run in {typed.shown(where)} is complete; add {more} to go on")
    write_curves(run_dir)  # missing if the run was killed right after its last checkpoint
    write_run_animation(run_dir)
    progress = saved.checkpoint.progress
    record.end(progress.step, complete=True)
    _say_goodbye(progress.step, run_dir, more, saved.checkpoint.config)
    return Outcome(progress.step, progress.seconds, (read_metrics(run_dir) or [{}])[-1], None)


def _say_goodbye(step: int, run_dir: Path, more: str | None, config: Mapping[str, Any]) -> None:
    """Print the last lines: where the files are, how to sample or translate, how to continue the run."""
    packages, does = to_be_trusted(config), networks.does(config["net"])
    shown = typed.shown(run_dir)
    trust = [f"trust=[{','.join(packages)}]"] if packages else []
    ckpt, resume = typed.word("ckpt", shown), typed.word("resume", shown)
    pictures = [name for name in ("curves.png", "training.webp", "training.gif") if (run_dir / name).is_file()]
    names = ["samples/", "checkpoints/", *pictures]
    tell(f"step {step:,}: {', '.join(names[:-1])} and {names[-1]} are in {shown}")
    if does == "translates":
        tell(f"to translate: {typed.line('gan-translate', [ckpt, 'input=FOLDER', *trust])}")
    if does == "draws":
        tell(f"to sample: {typed.line('gan-sample', [ckpt, 'n=64', *trust])}")
    tell(f"to go on:  {typed.line('gan-train', [resume, *([more] if more else []), *trust])}")
