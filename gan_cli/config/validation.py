"""Check a configuration against the keys of :mod:`gan_cli.config.schema`: names, types and ranges. Imports no torch."""

import dataclasses
import math
import re
import shutil
from typing import Any

from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf

from gan_cli.config.keys import Cluster
from gan_cli.config.schema import COMMANDS, TrainConfig
from gan_cli.config.selection import latents, seeds
from gan_cli.errors import UserError, did_you_mean

MOST_THREADS = 1024
DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


def validate(config: DictConfig, command: str) -> None:
    """Check the values' ranges. The UserError names the first key out of range, and the range."""
    _validate(config, COMMANDS[command], "")
    if command == "sample":
        seeds(OmegaConf.to_container(config)["seed"])  # type: ignore[call-overload, index]
        latents(config["latents"])
    if command == "eval":
        _check_what_is_measured(config)
    if command == "train":
        check_resume(config)
        check_threads(config["threads"])
        check_decay(OmegaConf.to_container(config)["lr_decay_after"])  # type: ignore[call-overload, index]
        check_schedule(OmegaConf.to_container(config)["schedule"])  # type: ignore[call-overload, index, arg-type]
        for f in dataclasses.fields(TrainConfig):
            value = config[f.name]
            if "${" in str(OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value):
                raise UserError(f"{f.name} holds a literal ${{, which is refused in a checkpoint: use another name")


def check_resume(config: DictConfig) -> None:
    """UserError for resume=auto without a run_dir, which is a new folder by default, and for freeze_d without init."""
    typed = OmegaConf.to_container(config, resolve=False)
    if config.resume == "auto" and "${now:" in str(typed["run_dir"]):  # type: ignore[index, call-overload]
        raise UserError("resume=auto needs the folder of the run: add run_dir=PATH")
    if config.freeze_d and config.init is None:
        raise UserError(f"freeze_d={config.freeze_d} keeps weights that init brings: add init=RUN, or leave it out")


def check_threads(threads: Any) -> None:
    """UserError unless ``threads`` is ``auto`` or a whole number from 1 to MOST_THREADS."""
    if threads != "auto" and not (type(threads) is int and 1 <= threads <= MOST_THREADS):
        raise UserError(f"threads={threads} should be auto, or a whole number from 1 to {MOST_THREADS}")


def check_decay(decay: Any) -> None:
    """UserError unless ``decay`` is null, a number above 0, or two rising numbers from 0 up."""
    pair = isinstance(decay, list)
    numbers = decay if pair else [decay]
    sound = all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in numbers)
    if decay is None or (sound and (len(numbers) == 2 and 0 <= decay[0] < decay[1] if pair else decay > 0)):
        return
    shown = str(decay).replace(" ", "")
    raise UserError(f"lr_decay_after={shown} should be a number of images above 0, or two, [start,end], or null")


def check_schedule(schedule: dict[str, Any]) -> None:
    """UserError unless each value of ``schedule`` is null or two numbers in its range, and has a length to move on."""
    for name, pair in schedule.items():
        if name == "images" or pair is None:
            continue
        most = 1.0 if name in ("beta2", "augment_p") else math.inf
        sound = isinstance(pair, list) and len(pair) == 2
        if not (sound and all(type(n) in (int, float) and 0 <= n <= most and math.isfinite(n) for n in pair)):
            raise UserError(
                f"schedule.{name}={str(pair).replace(' ', '')} should be two numbers from 0 up, [first,last]"
                + (", up to 1" if most == 1 else "")
            )
        if name == "beta2" and max(pair) == 1:
            raise UserError("schedule.beta2 should stay below 1")
        if schedule["images"] is None:
            raise UserError(f"schedule.{name} needs the length of its way: add schedule.images=N")


def check_cluster(config: DictConfig, sweep: bool) -> None:
    """UserError for a ``cluster`` that can't act, as without -m. ``config`` holds Hydra's own part, too."""
    choice, jobs = config.hydra.runtime.choices.get("cluster"), config.cluster.jobs
    chosen = choice not in (None, "null")
    if not sweep and (chosen or jobs is not None):
        raise UserError("cluster is for the runs of a sweep: add -m, or leave cluster out")
    if chosen != (jobs is not None):
        raise UserError(
            f"cluster={choice} needs cluster.jobs=N, the runs at a time" if chosen else
            "cluster.jobs needs a cluster: add cluster=local, ray or slurm"
        )  # fmt: skip
    _validate(config.cluster, Cluster, "cluster.")
    if config.hydra.launcher._target_.endswith(".SlurmLauncher") and shutil.which("srun") is None:
        raise UserError("there is no Slurm on this machine: start the sweep where srun is, or take cluster=local")


def checked(config: dict[str, Any], command: str) -> dict[str, Any]:
    """A configuration from a file, with each value checked for its key's type. Raises Hydra's errors or ours."""
    merged = OmegaConf.merge(OmegaConf.structured(COMMANDS[command]), config)
    validate(merged, command)  # type: ignore[arg-type]
    return OmegaConf.to_container(merged, throw_on_missing=True)  # type: ignore[return-value]


def _check_what_is_measured(config: DictConfig) -> None:
    """gan-eval measures either a run or two sets of images."""
    sets = [name for name in ("real", "fake") if config[name] is not None]
    if sets and config.ckpt is not None:
        raise UserError(f"ckpt= measures a run, real= and fake= compare two sets of images: leave {sets[0]} out")
    if len(sets) == 1:
        raise UserError("two sets of images are compared: real=FOLDER fake=FOLDER, or fake=FILE.npz")
    if not sets and config.ckpt is None:
        raise UserError("ckpt is needed: ckpt=PATH, a run folder or a checkpoint file; or real=FOLDER fake=FOLDER")


def _validate(config: DictConfig, node: type, prefix: str) -> None:
    known = {f.name for f in dataclasses.fields(node)}
    for name in config:  # Hydra itself does not reject +name=value
        if name not in known and (prefix or name != "hydra"):
            raise UserError(f"no key {prefix + str(name)!r}" + did_you_mean(str(name), known))
    for f in dataclasses.fields(node):
        name, limits = prefix + f.name, f.metadata
        if f.name not in set(config):  # "in config" is False for a value that is still missing
            raise UserError(f"{name} can't be removed: leave ~{name} out")
        if f.default == MISSING and OmegaConf.is_missing(config, f.name):
            raise UserError(f"{name} is needed: {name}={'NAME' if limits.get('group') else 'PATH'}, {limits['help']}")
        value = config[f.name]
        if limits.get("group") and not isinstance(value, DictConfig):
            raise UserError(f"{name}={value} is no configuration: choose one of its names")
        if dataclasses.is_dataclass(f.type) and isinstance(f.type, type):
            _validate(value, f.type, f"{name}.")
        elif value is None:
            continue
        elif "at_least" in limits and not value >= limits["at_least"]:
            raise UserError(f"{name}={value} is too small: at least {limits['at_least']}")
        elif "at_most" in limits and not value <= limits["at_most"]:
            raise UserError(f"{name}={value} is too large: at most {limits['at_most']}")
        elif "above" in limits and not value > limits["above"]:
            raise UserError(f"{name}={value} is too small: more than {limits['above']}")
        elif "choices" in limits:
            for word in value if isinstance(value, ListConfig) else [value]:
                if word not in limits["choices"]:
                    raise UserError(f"no {name} {word!r}" + did_you_mean(str(word), limits["choices"]))
        elif f.name == "device" and not DEVICE.fullmatch(value):
            raise UserError(f"no device {value!r}; choose from auto, cpu, cuda, cuda:N, mps")
