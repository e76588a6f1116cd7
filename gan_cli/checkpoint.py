"""Checkpoints: one safetensors file with everything a run needs to go on, bit for bit. Never pickle.

Tensors: ``generator.*``, ``discriminator.*``, ``ema.*`` (weights and buffers), ``rng.*`` (states of the random
generators), ``optimizer.<network>.<parameter>.<name>`` (optimizer state) and ``window.*`` (what the next tick will
average). The metadata holds one JSON document, ``gan_cli``: a digest of the whole file, the format version, the run's
progress, the resolved configuration and the optimizers' settings. All of it is data: reading a checkpoint runs none of
its words, and allocates no more than the file has.
"""

import copy
import dataclasses
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from gan_cli import files, pickled, tensorfile
from gan_cli.errors import TrainingDiverged, UserError, one_line

FORMAT = 2
UNSEALED = 1  # the format before, which had no digest
PICKLED = {".pt", ".pth", ".pkl", ".ckpt", ".bin"}
VALUE_LIMIT = 20_000  # in the metadata: configurations have a hundred, optimizers one for each parameter
LAST, BEST = "last.safetensors", "best.safetensors"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where a run stands: G steps done, training images drawn, seconds of training, and what became of it on the way.

    ``lr_scale`` multiplies the learning rates: 1, and less once the run has gone back after a step that was not finite.
    ``best`` is the lowest score so far, null before the first.
    """

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    lr_scale: float = 1.0
    best: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: where it is, the run's progress and configuration, the optimizers' settings, the shapes."""

    path: Path
    progress: Progress
    config: dict[str, Any]
    param_groups: dict[str, list[dict[str, Any]]]
    shapes: dict[str, tuple[int, ...]]
    loaded: Mapping[str, Tensor] | None = None  # the tensors, where the file could only be read as a whole

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors below ``name``, named by what follows it; the rest of the file isn't read."""
        prefix = f"{name}."
        if self.loaded is not None:
            return {key[len(prefix) :]: value for key, value in self.loaded.items() if key.startswith(prefix)}
        try:
            with safe_open(self.path, "pt") as file:
                return {key[len(prefix) :]: file.get_tensor(key) for key in self.shapes if key.startswith(prefix)}
        except (SafetensorError, OSError) as error:
            raise UserError(f"{self.path} can't be read: {one_line(error)}") from error

    def shapes_of(self, name: str) -> dict[str, tuple[int, ...]]:
        """The shapes of what :meth:`tensors` would give, without reading it."""
        prefix = f"{name}."
        return {key[len(prefix) :]: shape for key, shape in self.shapes.items() if key.startswith(prefix)}


def numbered(folder: Path, step: int) -> Path:
    """``folder/00001000.safetensors`` for step 1000."""
    return folder / f"{step:08d}.safetensors"


def in_order(folder: Path) -> list[Path]:
    """The numbered checkpoints in ``folder``, the newest first."""
    paths = (path for path in folder.glob("*.safetensors") if re.fullmatch("[0-9]{8,18}", path.stem) and path.is_file())
    return sorted(paths, key=lambda path: int(path.stem), reverse=True)


def of_run(run_dir: Path) -> list[Path]:
    """The checkpoints that a run can go on from, in the order of preference: ``last``, then the newest first."""
    folder = run_dir / "checkpoints"
    last = folder / LAST
    # A second name of the same file is no second chance.
    others = [path for path in in_order(folder) if not (last.is_file() and os.path.samefile(path, last))]
    return [last, *others] if last.is_file() else others


def run_folder(path: Path) -> Path:
    """The run folder of the checkpoint file ``path``; the folder it lies in where it is elsewhere."""
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


def save(
    folder: Path,
    progress: Progress,
    config: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    device: torch.device,
    *,
    window: Mapping[str, Tensor] | None = None,
    keep: int | None = None,
    best: bool = False,
) -> Path:
    """Write ``folder/<step>.safetensors`` and make ``last.safetensors`` the same file. Both appear whole or not at all.

    Of the numbered files only the newest ``keep`` stay, if that is given; the ``best`` is kept under that name as well.
    Raises TrainingDiverged, and writes nothing, if a weight or an optimizer's state is not finite; UserError if
    ``config`` is more than :func:`read` takes; OSError if the disk won't take it, with all that was there as it was.
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
    tensors |= {f"window.{name}": value for name, value in (window or {}).items()}
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise TrainingDiverged(f"step {progress.step:,}: no longer finite: {_described(key, modules)}")
    tensors["rng.cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        tensors["rng.mps"] = torch.mps.get_rng_state()
    facts = {
        "sha256": tensorfile.BLANK_DIGEST,  # first, so that no other word of the file can be taken for it
        "format": FORMAT,
        **dataclasses.asdict(progress),
        "config": dict(config),
        "param_groups": param_groups,
    }
    try:
        metadata = json.dumps(facts, allow_nan=False)
        tensorfile.strict_json(metadata, most=VALUE_LIMIT)
    except ValueError as error:
        raise UserError(f"this configuration can't be saved: {error}") from error
    # Copies: safetensors takes contiguous tensors only, and none that share memory, as tied weights do.
    copies = {name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    content = tensorfile.sealed(safetensors.torch.save(copies, {"gan_cli": metadata}))
    path = numbered(folder, progress.step)
    files.write_atomic(path, content)
    files.link(path, LAST)
    if best:
        files.link(path, BEST)
    # Later ones are damaged (the run would have gone on from them otherwise) and don't count.
    until_now = [other for other in in_order(folder) if int(other.stem) <= progress.step]
    for old in until_now[keep:] if keep else []:
        old.unlink(missing_ok=True)
    return path


def save_config(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Write ``config`` to ``run_dir/config.yaml``, for people to read."""
    files.write_atomic(run_dir / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode())


def _described(key: str, modules: Mapping[str, nn.Module]) -> str:
    """A tensor's name for a person: with that of the parameter that an optimizer's state belongs to."""
    if not key.startswith("optimizer."):
        return key
    _, network, index, entry = key.split(".")
    return f"{entry} of {network}.{[name for name, _ in modules[network].named_parameters()][int(index)]}"


def read(location: str | Path) -> Checkpoint:
    """Open the checkpoint at ``location``: that file, or the newest sound one of a run folder.

    UserError if it is none of ours, or damaged. In a run folder a damaged one is named in a warning, and the one before
    it is taken.
    """
    path = Path(os.path.expanduser(location))
    if path.is_file():
        return _read(path)
    if not path.is_dir():
        raise UserError(f"no such checkpoint: {location}; give a run folder or a .safetensors file")
    candidates = of_run(path)
    if not candidates:
        raise UserError(f"no checkpoint in {location}: there is no {path / 'checkpoints' / LAST}; give a run folder")
    for candidate in candidates[:-1]:
        try:
            return _read(candidate)
        except UserError as error:
            log.warning("%s; going back to the one before it", error)
    return _read(candidates[-1])


def _read(path: Path) -> Checkpoint:
    return _read_pickled(path) if path.suffix in PICKLED else _read_sealed(path)


def _read_pickled(path: Path) -> Checkpoint:
    """Weights to sample from: ``torch.save({"config": …, "generator": state_dict, "ema": state_dict}, path)``.

    ``config`` is a run's, with ``net`` and ``image_shape``; without ``ema`` the generator's own weights stand in.
    """
    try:
        content = pickled.read(path)
        if not isinstance(content, Mapping):
            raise TypeError(f"a {type(content).__name__}")
        config = tensorfile.strict_json(json.dumps(content["config"], allow_nan=False), most=VALUE_LIMIT)
        parts = {"generator": content["generator"], "ema": content.get("ema", content["generator"])}
        loaded = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        shapes = {name: tuple(value.shape) for name, value in loaded.items()}
        return Checkpoint(path, Progress(), dict(config), {}, shapes, loaded)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} holds no generator and its config ({error}), as torch.save({{'config': …, 'generator': …}}) "
            "would write them"
        ) from error
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} is not a readable checkpoint: {one_line(error)}") from error


def _read_sealed(path: Path) -> Checkpoint:
    try:
        header = tensorfile.read_header(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not a readable checkpoint: {error}") from error
    try:
        facts = tensorfile.strict_json(header.metadata["gan_cli"], most=VALUE_LIMIT)
        version = facts["format"]
        if version not in (FORMAT, UNSEALED):
            raise UserError(
                f"{path} has checkpoint format {version}, this version reads {FORMAT}; use a matching gan-cli"
            )
        if (version != UNSEALED or "sha256" in facts) and not tensorfile.is_sealed(path, facts["sha256"]):
            raise UserError(f"{path} is damaged: its checksum doesn't match")
        return Checkpoint(path, _progress(facts), dict(facts["config"]), dict(facts["param_groups"]), header.shapes)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a checkpoint of gan-train (its metadata lacks or garbles {error})") from error


def _progress(facts: Mapping[str, Any]) -> Progress:
    """The progress that ``facts`` tell of. KeyError or ValueError unless they are numbers a run can come to."""
    counts = {name: facts[name] for name in ("step", "images")}
    if not all(type(count) is int and 0 <= count < 10**17 for count in counts.values()):
        raise ValueError("step or images")
    seconds, lr_scale, best = facts["seconds"], facts.get("lr_scale", 1.0), facts.get("best")
    if not all(type(value) in (int, float) for value in (seconds, lr_scale, 0.0 if best is None else best)):
        raise ValueError("seconds, lr_scale or best")
    if not (0 <= seconds < 10**9 and 0 < lr_scale <= 1):
        raise ValueError("seconds or lr_scale")
    return Progress(**counts, seconds=seconds, lr_scale=lr_scale, best=best)


def load_module(checkpoint: Checkpoint, name: str, module: nn.Module) -> None:
    """Fill ``module`` with the weights and buffers saved as ``name``. UserError unless they fit exactly."""
    try:
        module.load_state_dict(checkpoint.tensors(name))
    except RuntimeError as error:
        raise UserError(f"the {name} in {checkpoint.path} doesn't fit its configuration: {one_line(error)}") from error


def load_optimizer(checkpoint: Checkpoint, name: str, optimizer: Optimizer) -> None:
    """Fill ``optimizer`` with the state and the settings saved as ``name``. UserError where they don't fit."""
    try:
        _load_optimizer(checkpoint, name, optimizer)
    except Exception as error:  # optimizers check nothing: they trip over whatever is wrong
        raise UserError(
            f"the {name}'s optimizer in {checkpoint.path} can't be read ({error!r}); use an older one"
        ) from error


def _load_optimizer(checkpoint: Checkpoint, name: str, optimizer: Optimizer) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in checkpoint.tensors(f"optimizer.{name}").items():
        index, entry = key.split(".")
        parameter = parameters[int(index)]
        fits = value.shape == parameter.shape  # then in the parameter's own memory layout, which fused steps count on
        if not fits and value.numel() != 1:
            raise ValueError(f"{key} has shape {list(value.shape)}")
        state.setdefault(int(index), {})[entry] = torch.empty_like(parameter).copy_(value) if fits else value
    fresh_groups = optimizer.state_dict()["param_groups"]
    groups = []
    for saved, fresh in zip(checkpoint.param_groups[name], fresh_groups, strict=True):
        group = {key: tuple(value) if isinstance(value, list) else value for key, value in dict(saved).items()}
        if wrong := [key for key in group.keys() & fresh.keys() - {"params"} if not _alike(group[key], fresh[key])]:
            raise TypeError(f"{wrong[0]}={group[wrong[0]]}")
        groups.append({**fresh, **group, "params": fresh["params"]})
    saved_state = {"state": state, "param_groups": groups}
    optimizer.load_state_dict(copy.deepcopy(saved_state))
    _try_out(optimizer)
    optimizer.load_state_dict(saved_state)


def _try_out(optimizer: Optimizer) -> None:
    """Take a step with gradients of zero, and take it back: better now than as step 1's traceback."""
    optimizer.zero_grad()
    before = {parameter: parameter.detach().clone() for parameter in optimizer.state}
    for parameter in before:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    with torch.no_grad():
        for parameter, value in before.items():
            parameter.copy_(value)
    optimizer.zero_grad()


def _alike(saved: Any, fresh: Any) -> bool:
    """Whether a ``saved`` setting is of the kind that the optimizer was made with: a number for a number, and so on."""
    if isinstance(fresh, tuple):
        return isinstance(saved, tuple) and len(saved) == len(fresh) and all(map(_alike, saved, fresh))
    interchangeable: tuple[tuple[type, ...], ...] = ((int, float), (bool, type(None)))
    return type(saved) is type(fresh) or any({type(saved), type(fresh)} <= set(kinds) for kinds in interchangeable)


def load_rng(checkpoint: Checkpoint, device: torch.device) -> None:
    """Set the global random generators to where they stood. UserError where the file doesn't say."""
    states = checkpoint.tensors("rng")
    try:
        torch.set_rng_state(states["cpu"])
        if device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], device)
        if device.type == "mps" and "mps" in states:
            torch.mps.set_rng_state(states["mps"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"the random state in {checkpoint.path} can't be read ({error!r}); use an older one") from error
