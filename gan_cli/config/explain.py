"""Translate an error of Hydra, omegaconf, the system or this package into one line for a person."""

import dataclasses
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gan_cli.config.schema import COMMANDS
from gan_cli.errors import UserError, did_you_mean

# What other trainers call a key of gan-train, and what to write here.
SLIPS = {
    "lr": "optimizer.lr=…", "learning_rate": "optimizer.lr=…", "betas": "optimizer.betas=[…,…]",
    "epochs": "steps=…, where an epoch is (images / batch_size) steps", "num_epochs": "steps=…",
    "iterations": "steps=…",
    "z_dim": "net.z_dim=…", "latent_dim": "net.z_dim=…", "nz": "net.z_dim=…", "size": "dataset.size=…",
    "image_size": "dataset.size=…", "img_size": "dataset.size=…", "root": "dataset=folder dataset.root=…",
    "data": "dataset=folder dataset.root=…", "dataroot": "dataset=folder dataset.root=…", "outdir": "run_dir=…",
    "output": "run_dir=…", "gpu": "device=cuda", "gpus": "device=cuda", "gamma": "penalty.gamma=…",
    "ckpt": "resume=…, or init=… for a new run",
}  # fmt: skip
# A run folder is run= to the commands that read the whole of it, and ckpt= to those that read its networks.
RUN_KEYS = {"run": "ckpt", "ckpt": "run"}

# Hydra's plugins that come with gan-cli[sweep], as choices of hydra/launcher and hydra/sweeper.
PLUGINS = ("hydra/launcher/joblib", "hydra/launcher/ray", "hydra/launcher/submitit_local",
           "hydra/launcher/submitit_slurm", "hydra/sweeper/optuna")  # fmt: skip


def config_groups() -> list[str]:
    """The shipped config groups: dataset, net, net/generator, …"""
    top = Path(str(resources.files("gan_cli.configs")))
    return sorted({file.parent.relative_to(top).as_posix() for file in top.rglob("*.yaml")} - {"."})


def _choices(group: str) -> list[str]:
    """The shipped choices of a config group."""
    return [file.stem for file in (Path(str(resources.files("gan_cli.configs"))) / group).glob("*.yaml")]


def _unknown_choice(name: str, options: Iterable[str]) -> str:
    """The line for a choice, ``group/word``, that is not among the ``options``."""
    parent, _, wanted = name.rpartition("/")
    if name in PLUGINS:
        return f"{parent}={wanted} is a plugin that is not installed: pip install 'gan-cli[sweep]'"
    return f"no {parent} {wanted!r}" + did_you_mean(wanted, options)


def explain(error: BaseException, command: str) -> str | None:
    """One line that says what was wrong with the input; None if the input did not cause ``error``."""
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return str(cause)
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _unknown_choice(error.missing_cfg_file or "", error.options)
    if isinstance(error, MissingConfigException) and (
        absent := re.search(r"Could not load '([^']+/[^']+)'", str(error))
    ):
        return _unknown_choice(absent.group(1), _choices(absent.group(1).rpartition("/")[0]))  # in a list of choices
    if _raised_by_hydra(error):
        return f"{str(error).splitlines()[0]}; `gan-{command} --help` lists each group's choices"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_syntax(error) or _explain_composition(error, command)
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "t allocate memory" in str(error)
    ):
        return "not enough memory: lower batch_size, samples, dataset.size or the networks' width"
    if "deterministic" in str(error) and isinstance(error, RuntimeError):
        return f"deterministic=true: {str(error).split('.')[0]}; leave deterministic out, or choose another network"
    if isinstance(error, ValueError) and "No trials are completed" in str(error):  # of Optuna, at the end of a sweep
        return "no run of this search is complete, so that there are no best values"
    if type(error).__name__ == "TerminatedWorkerError":  # of joblib, which then ends its other processes
        return "a process of this sweep was killed, perhaps for want of memory; the same line with resume=auto goes on"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}; choose another place, or make room or rights there"
    return None


def _raised_by_hydra(error: BaseException) -> bool:
    """Whether Hydra's own code raised ``error`` while it composed the configuration: a fault of the input."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module = frame.tb_frame.f_globals.get("__name__", "") if frame is not None else ""
    return isinstance(error, ValueError | TypeError | AssertionError) and module.startswith(("hydra.", "omegaconf."))


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain


def _explain_composition(error: BaseException, command: str) -> str:
    """The line for an unknown key, an unknown group, or a value of the wrong type."""
    for cause in _chain(error):
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            name = str(cause.full_key)
            if "not in" in str(cause):
                return _unknown_key(name, cause.parent_node, command)
            if name == "own_metrics":  # a group of which this package has no choice
                return "own_metrics are a list of files own_metrics/NAME.yaml of yours: add --config-dir FOLDER"
            _, within, line = str(cause).partition("UserError raised while resolving interpolation: ")
            return line.splitlines()[0] if within else f"{name}: {str(cause).splitlines()[0]}"
    text = str(error).splitlines()[0]
    if unmatched := re.match(r"Could not override '([^']+)'", text):
        return _unknown_key(unmatched.group(1), None, command)
    return text


def _unknown_key(name: str, parent: Any, command: str) -> str:
    prefix, _, last = name.rpartition(".")
    if command == "train" and name in SLIPS:
        return f"no key {name!r}: write {SLIPS[name]}"
    if "/" in name or not prefix:
        fields = [f.name for f in dataclasses.fields(COMMANDS[command])]
        if RUN_KEYS.get(name) in fields:
            return f"no key {name!r}: write {RUN_KEYS[name]}=…"
        groups = [*config_groups(), "experiment"] if command == "train" else []
        return f"no key {name!r}" + did_you_mean(name, {*fields, *groups})
    if name == "dataset.root":
        return "this dataset has no root; for a folder of images add dataset=folder"
    siblings = [str(k) for k in parent] if isinstance(parent, DictConfig) else []
    near = did_you_mean(last, siblings) if siblings else ""
    return f"no key {last!r} in {prefix}{near}"


def _explain_syntax(error: BaseException) -> str | None:
    """The line for an override that Hydra cannot parse."""
    if several := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'", str(error)):
        return f"{several.group(1)} means several runs: add -m to do them all (a list is written key=[a,b])"
    if isinstance(error, OverrideParseException):
        return f"can't read {error.override!r}: write key=value, and 'key=\"value\"' round special characters"
    return None
