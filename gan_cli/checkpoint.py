"""Checkpoints: one safetensors file with everything a run needs to go on, bit for bit. Never pickle.

Tensors: ``generator.*``, ``discriminator.*``, ``ema.*`` (weights and buffers), ``rng.*`` (states of the random
generators) and ``optimizer.<network>.<parameter>.<name>`` (optimizer state). The metadata holds one JSON document,
``gan_cli``: the format version, the step, the sampler's position, the training seconds, the resolved configuration and
the optimizers' settings. All of it is data: reading a checkpoint runs none of its words.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from gan_cli.errors import TrainingDiverged, UserError, one_line
from gan_cli.files import write_atomic

FORMAT = 1


@dataclass(frozen=True)
class Progress:
    """Where a run stands: G steps done, training images drawn, seconds of training."""

    step: int = 0
    images: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: its path, its progress, the run's resolved configuration, the optimizers' settings."""

    path: Path
    progress: Progress
    config: dict[str, Any]
    param_groups: dict[str, list[dict[str, Any]]]


def numbered(folder: Path, step: int) -> Path:
    """``folder/00001000.safetensors`` for step 1000."""
    return folder / f"{step:08d}.safetensors"


def find(location: str | Path) -> Path:
    """The checkpoint file that ``location`` means: itself, or ``checkpoints/last.safetensors`` of a run folder."""
    path = Path(location).expanduser()
    if path.is_dir():
        path = path / "checkpoints" / "last.safetensors"
        if not path.is_file():
            raise UserError(f"no checkpoint in {location}: {path} is missing; give a run folder or a .safetensors file")
    elif not path.is_file():
        raise UserError(f"no such checkpoint: {location}; give a run folder or a .safetensors file")
    return path


def save(
    folder: Path,
    progress: Progress,
    config: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    device: torch.device,
) -> Path:
    """Write ``folder/<step>.safetensors`` and make ``last.safetensors`` the same file. Both appear whole or not at all.

    Raises TrainingDiverged, and writes nothing, if a weight or an optimizer's state is not finite; OSError if the disk
    won't take it.
    """
    tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    param_groups = {}
    for name, optimizer in optimizers.items():
        state = optimizer.state_dict()
        param_groups[name] = state["param_groups"]
        for index, entries in state["state"].items():
            for key, value in entries.items():
                if value is not None:  # SGD without momentum keeps a None
                    tensors[f"optimizer.{name}.{index}.{key}"] = torch.as_tensor(value)
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise TrainingDiverged(f"step {progress.step:,}: {key} is not finite")
    tensors["rng.cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        tensors["rng.mps"] = torch.mps.get_rng_state()
    facts = {
        "format": FORMAT,
        "step": progress.step,
        "images": progress.images,
        "seconds": progress.seconds,
        "config": dict(config),
        "param_groups": param_groups,
    }
    # Copies: safetensors takes contiguous tensors only, and none that share memory, as tied weights do.
    copies = {name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    content = safetensors.torch.save(copies, {"gan_cli": json.dumps(facts)})
    path = numbered(folder, progress.step)
    write_atomic(path, content)
    _link_last(path, content)
    return path


def _link_last(path: Path, content: bytes) -> None:
    """Make ``last.safetensors`` a second name of ``path``; a second copy where the file system has no hard links."""
    last, temporary = path.with_name("last.safetensors"), path.with_name(".last.safetensors.link")
    try:
        temporary.unlink(missing_ok=True)
        os.link(path, temporary)
        os.replace(temporary, last)
    except OSError:
        write_atomic(last, content)


def read(location: str | Path) -> Checkpoint:
    """Open the checkpoint at ``location`` (a file or a run folder). UserError if it is none of ours, or damaged."""
    path = find(location)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({error}); give a checkpoint of gan-train"
        ) from error
    try:
        facts = json.loads(metadata["gan_cli"])
        version = facts["format"]
        if version != FORMAT:
            raise UserError(
                f"{path} has checkpoint format {version}, this version reads {FORMAT}; use a matching gan-cli"
            )
        progress = Progress(int(facts["step"]), int(facts["images"]), float(facts["seconds"]))
        return Checkpoint(path, progress, dict(facts["config"]), dict(facts["param_groups"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a checkpoint of gan-train (its metadata lacks or garbles {error})") from error


def _tensors(path: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors below ``prefix``, named by what follows it; the rest of the file isn't read."""
    with safe_open(path, "pt") as file:
        return {key[len(prefix) :]: file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118


def load_module(checkpoint: Checkpoint, name: str, module: nn.Module) -> None:
    """Fill ``module`` with the weights and buffers saved as ``name``. UserError unless they fit exactly."""
    try:
        module.load_state_dict(_tensors(checkpoint.path, f"{name}."))
    except RuntimeError as error:
        raise UserError(f"the {name} in {checkpoint.path} doesn't fit its configuration: {one_line(error)}") from error


def load_optimizer(checkpoint: Checkpoint, name: str, optimizer: Optimizer) -> None:
    """Fill ``optimizer`` with the state and the settings saved as ``name``. UserError where they don't fit."""
    try:
        _load_optimizer(checkpoint, name, optimizer)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the {name}'s optimizer in {checkpoint.path} can't be read ({error!r}); use an older one"
        ) from error


def _load_optimizer(checkpoint: Checkpoint, name: str, optimizer: Optimizer) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _tensors(checkpoint.path, f"optimizer.{name}.").items():
        index, entry = key.split(".")
        parameter = parameters[int(index)]
        fits = value.shape == parameter.shape  # then in the parameter's own memory layout, which fused steps count on
        state.setdefault(int(index), {})[entry] = torch.empty_like(parameter).copy_(value) if fits else value
    groups = [{k: tuple(v) if k == "betas" else v for k, v in g.items()} for g in checkpoint.param_groups[name]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def load_rng(checkpoint: Checkpoint, device: torch.device) -> None:
    """Set the global random generators to where they stood. UserError where the file doesn't say."""
    states = _tensors(checkpoint.path, "rng.")
    try:
        torch.set_rng_state(states["cpu"])
        if device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], device)
        if device.type == "mps" and "mps" in states:
            torch.mps.set_rng_state(states["mps"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"the random state in {checkpoint.path} can't be read ({error!r}); use an older one") from error
