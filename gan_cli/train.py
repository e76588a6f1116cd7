"""``gan-train`` from a composed configuration to a finished run folder."""

import contextlib
import logging
import math
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import torch
from torch import nn

from gan_cli import build, checkpoint, figures, files, hardware, images, loop, schema
from gan_cli.checkpoint import Checkpoint
from gan_cli.data import Dataset, Points
from gan_cli.errors import UserError
from gan_cli.loop import Outcome
from gan_cli.metrics import quality
from gan_cli.stats import read_metrics, tell

log = logging.getLogger(__name__)

# What may differ from the run that is resumed: how long, where, how often something is written. All else is the run.
MAY_CHANGE = frozenset(
    {
        "steps",
        "max_seconds",
        "device",
        "compile",
        "log_every",
        "sample_every",
        "checkpoint_every",
        "eval_every",
        "keep",
        "on_nonfinite",
        "on_write_error",
        "resume",
        "trust",
    }
)

# What runs had, whose files are from before these keys.
BEFORE: Mapping[str, Any] = {"conditional": False, "augment": {"_target_": None}, "update": "alternating"}


def run(config: dict[str, Any], overridden: Sequence[str], run_dir: Path) -> Outcome:
    """Train as ``config`` (plain data, resolved) says and write ``run_dir``.

    ``overridden`` names the top-level keys that the command line set: on a resume they must be the run's own, unless
    they :data:`MAY_CHANGE`.
    """
    if "run_dir" in overridden and config["resume"] not in (None, "auto"):
        raise UserError(f"resume={config['resume']} goes on in that folder: leave run_dir out, or say resume=auto")
    run_dir.mkdir(parents=True, exist_ok=True)
    for name in (".lock", "samples", "checkpoints"):
        if (run_dir / name).is_symlink():  # a stranger's run folder must not lead out of itself
            raise UserError(f"{run_dir / name} is a link, which gan-train never makes: remove it")
    with _locked(run_dir):
        schema.refuse_overwriting(config, run_dir, sweep=False)  # once more: another run may have been at work till now
        files.remove_leftovers(run_dir, run_dir / "samples", run_dir / "checkpoints")
        return _run({**config, "dataset": _absolute_root(config["dataset"])}, overridden, run_dir)


@contextlib.contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    """Keep ``run_dir`` to this process; the system lets go of it however the process ends. UserError if it is taken."""
    lock = filelock.FileLock(run_dir / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(f"another gan-train is at work in {run_dir}: wait for it, or choose another run_dir") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if [path.name for path in run_dir.iterdir()] == [".lock"]:  # the run came to nothing
                (run_dir / ".lock").unlink()
        lock.release()


def _run(config: dict[str, Any], overridden: Sequence[str], run_dir: Path) -> Outcome:
    resume = _to_resume(config["resume"], run_dir)
    if resume:
        config = _resumed(config, resume, overridden)
        if more := _what_to_raise(resume.progress.step, resume.progress.seconds, config):
            return _already_done(resume, config, run_dir, more)
    device = hardware.device(config["device"])
    prior, z_dim = build.noise(config["net"])
    torch.manual_seed(config["seed"])
    networks = _saved_networks(resume, config) if resume else None
    dataset = build.dataset(config["dataset"])
    if resume:
        _check_unchanged(resume, dataset)
    build.image_shape(dataset.image_shape, "the dataset")
    penalty, penalty_interval, weight_clip = build.penalty(config["penalty"])
    augment = build.augment(config["augment"], dataset.image_shape)
    class_names = build.class_names(config["conditional"], dataset)
    classes = len(class_names)
    if resume and class_names != resume.config.get("class_names", []):
        raise UserError("the data has changed: its classes are not those of the run; put it back as it was")
    make_optimizer_g, make_optimizer_d = build.optimizers(config["optimizer"])
    if networks is None:
        facts = {**dataset.facts, "classes": classes}
        networks = build.generator(config["net"], facts), build.discriminator(config["net"], facts)
    generator, discriminator = networks
    build.check_batch_size(config["batch_size"], generator, discriminator)
    loss = build.loss(config["loss"])
    for line in build.unsound(config, discriminator):
        log.warning(line)
    labels = images.class_rows(range(min(classes, config["samples"])), config["samples"]) if classes else None
    n = config["samples"] if labels is None else len(labels)
    draw = figures.drawing(dataset, discriminator, prior, images.latents(prior, n, z_dim, config["seed"]), labels)
    conditional = config["conditional"]
    evaluate = quality.scores(dataset, discriminator, prior, z_dim, conditional) if config["eval_every"] else None
    saved_config = {
        **config,
        "image_shape": list(dataset.image_shape),
        "examples": len(dataset),
        "class_names": class_names,
    }
    checkpoint.save_config(run_dir, saved_config)
    hardware.prepare(device)
    bf16, resident = hardware.bf16(config["precision"], device), hardware.holds(device, dataset.examples)
    tell(f"on {hardware.described(device, bf16, config['compile'], resident)}")
    outcome = loop.train(
        generator,
        discriminator,
        dataset,
        loss,
        make_optimizer_g,
        make_optimizer_d,
        run_dir=run_dir,
        steps=config["steps"],
        k=config["k"],
        update=config["update"],
        batch_size=config["batch_size"],
        z_dim=z_dim,
        prior=prior,
        penalty=penalty,
        penalty_interval=penalty_interval,
        weight_clip=weight_clip,
        augment=augment,
        conditional=conditional,
        lr_decay_after=config["lr_decay_after"],
        ema_half_life=config["ema"]["half_life"],
        ema_ramp=config["ema"]["ramp"],
        max_seconds=config["max_seconds"],
        seed=config["seed"],
        device=device,
        bf16=bf16,
        compile=config["compile"],
        log_every=config["log_every"],
        sample_every=config["sample_every"],
        checkpoint_every=config["checkpoint_every"],
        keep=config["keep"],
        draw=draw,
        evaluate=evaluate,
        eval_every=config["eval_every"],
        on_nonfinite=config["on_nonfinite"],
        on_write_error=config["on_write_error"],
        config=saved_config,
        resume=resume,
    )
    step = min(outcome.step, next((int(path.stem) for path in checkpoint.in_order(run_dir / "checkpoints")), 0))
    if step < outcome.step:  # it was asked to end while the disk took nothing
        log.warning("step %s is lost: saved is only what came up to step %s", f"{outcome.step:,}", f"{step:,}")
    _say_goodbye(step, run_dir, _what_to_raise(step, outcome.seconds, config))
    return outcome


def _what_to_raise(step: int, seconds: float, config: Mapping[str, Any]) -> str | None:
    """The override that lets a complete run go on, twice as far; None while it is not complete."""
    if step >= config["steps"]:
        return f"steps={2 * step}"
    if config["max_seconds"] is not None and seconds >= config["max_seconds"]:
        return f"max_seconds={2 * math.ceil(seconds)}"
    return None


def _to_resume(resume: str | None, run_dir: Path) -> Checkpoint | None:
    """The checkpoint to go on from: that of ``run_dir``, which ``resume`` names; on ``auto`` only if it has one."""
    if resume is None or (resume == "auto" and not checkpoint.of_run(run_dir)):
        return None
    return checkpoint.read(run_dir)


def _resumed(config: Mapping[str, Any], resume: Checkpoint, overridden: Sequence[str]) -> dict[str, Any]:
    """The configuration of the run in ``resume``, with what the command line changes of it. UserError if it mustn't."""
    resumed = {name: resume.config.get(name, BEFORE.get(name, value)) for name, value in config.items()}
    for name in config if "experiment" in overridden else overridden:
        if name in MAY_CHANGE:
            resumed[name] = config[name]
        elif name in config and name != "run_dir" and config[name] != resumed[name]:
            raise UserError(
                f"{name} can't change when a run is resumed; leave it out, or start a new run (these may change: "
                f"{', '.join(sorted(MAY_CHANGE - {'resume', 'trust'}))})"
            )
    build.check_resolved(resumed, resume.path)
    resumed = schema.checked(resumed, "train")
    for group in build.GROUPS:
        build.check_trusted(resumed[group], resume.path, config["trust"], group)
    return resumed


def _saved_networks(resume: Checkpoint, config: Mapping[str, Any]) -> tuple[nn.Module, nn.Module]:
    """Both networks that ``resume`` describes, their weights still to be loaded.

    UserError unless it holds them: built before the data it describes are loaded, which may be more than it should be.
    """
    shape = build.image_shape(resume.config.get("image_shape"), resume.path)
    size = config["dataset"].get("size")
    shipped = config["dataset"].get("_target_") in build.shipped_targets("dataset")
    if shipped and size is not None and shape[1:] != (size, size):
        sides = "x".join(map(str, shape[1:] or shape))
        raise UserError(f"{resume.path} has images of {sides}, and yet dataset.size={size}")
    facts = {"image_shape": shape, "classes": build.saved_classes(resume.config, resume.path)}
    return (
        build.generator(config["net"], facts, resume.shapes_of("generator")),
        build.discriminator(config["net"], facts, resume.shapes_of("discriminator")),
    )


def _check_unchanged(resume: Checkpoint, dataset: Dataset | Points) -> None:
    """UserError if ``dataset`` can't be what the run in ``resume`` was trained on."""
    if resume.config.get("examples") != len(dataset):
        was = resume.config.get("examples")
        raise UserError(
            f"the data has changed: {was} examples when the run began, {len(dataset)} now; put it back as it was"
        )
    if dataset.image_shape != tuple(resume.config["image_shape"]):
        raise UserError(f"the data has changed: its images have shape {dataset.image_shape} now; put it back as it was")


def _absolute_root(dataset: Mapping[str, Any]) -> Mapping[str, Any]:
    """A ``dataset`` group with its ``root``, if it has one, absolute: a run can be resumed from another folder."""
    if not isinstance(dataset, Mapping) or not isinstance(dataset.get("root"), str):
        return dataset
    return {**dataset, "root": os.path.abspath(os.path.expanduser(dataset["root"]))}


def _already_done(resume: Checkpoint, config: Mapping[str, Any], run_dir: Path, more: str) -> Outcome:
    """The outcome of a run that is complete: what ``resume=auto`` finds when a finished command is typed again."""
    if config["resume"] != "auto":
        raise UserError(f"the run in {_shown(run_dir)} is complete; add {more} to go on")
    figures.write_curves(run_dir)  # it doesn't have these yet if it was killed right after its last checkpoint
    images.write_run_animation(run_dir)
    _say_goodbye(resume.progress.step, run_dir, more)
    return Outcome(resume.progress.step, resume.progress.seconds, (read_metrics(run_dir) or [{}])[-1], None)


def _say_goodbye(step: int, run_dir: Path, more: str | None) -> None:
    """The three lines at the end: where things are, how to sample, how to go on."""
    shown = _shown(run_dir)
    pictures = [name for name in ("curves.png", "training.webp", "training.gif") if (run_dir / name).is_file()]
    names = ["samples/", "checkpoints/", *pictures]
    tell(f"step {step:,}: {', '.join(names[:-1])} and {names[-1]} are in {shown}")
    tell(f"to sample: {shlex.join(['gan-sample', f'ckpt={_quoted(shown)}', 'n=64'])}")
    tell(f"to go on:  {shlex.join(['gan-train', f'resume={_quoted(shown)}', *([more] if more else [])])}")


def _shown(folder: Path) -> str:
    """``folder`` as short as it can be typed here."""
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)


def _quoted(value: str) -> str:
    """``value`` as Hydra's grammar reads it back: quoted where it holds more than plain path characters."""
    plain = all(c.isalnum() or c in "/-_.+:" for c in value)
    if plain:
        return value
    doubled = re.sub(r'(\\+)(?="|$)', r"\1\1", value)  # backslashes are plain ones but before a quote
    return '"' + doubled.replace('"', '\\"') + '"'
