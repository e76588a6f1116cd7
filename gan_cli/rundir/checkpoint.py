"""Checkpoints: one safetensors file with the complete state of a run, bit for bit. Pickle is never used.

Tensors: the weights and buffers of each network of the game, ``NETWORK.*`` (``generator.*``, ``discriminator.*`` and
``ema.*`` in an adversarial game); ``rng.*`` (states of the random generators); ``optimizer.SIDE.PARAMETER.NAME``
(optimizer state); ``terms.*`` (sum and count of each term that the next tick averages). The metadata holds one JSON
document, ``gan_cli``: a digest of the whole file, the format version, the run's progress, the resolved configuration
and the optimizers' settings. All of it is data: reading a checkpoint runs no code from it, and allocates no more
memory than the file's size.
"""

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gan_cli import files
from gan_cli.errors import TrainingDiverged, UserError, one_line
from gan_cli.rundir import layout
from gan_cli.untrusted import safetensors_header

FORMAT = 2
PICKLED = {".pt", ".pth", ".pkl", ".ckpt", ".bin"}
VALUE_LIMIT = 20_000  # values in the metadata; a configuration has a hundred, an optimizer one for each parameter

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """The progress of a run: generator steps done, training images drawn, seconds of training, rollback and best score.

    ``lr_scale`` multiplies the learning rates: it is 1, and less after a rollback from a non-finite step. ``best`` is
    the lowest score so far, null before the first evaluation.
    """

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    lr_scale: float = 1.0
    best: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: its path, the run's progress and configuration, the optimizers' settings, the shapes.

    ``digest`` is the SHA-256 that the file has in its metadata; :func:`read` has compared it with the content.
    """

    path: Path
    progress: Progress
    config: dict[str, Any]
    param_groups: dict[str, list[dict[str, Any]]]
    shapes: dict[str, tuple[int, ...]]
    digest: str = ""

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``name`` and a dot, keyed without this prefix. Others are not read."""
        prefix = f"{name}."
        try:
            with safe_open(self.path, "pt") as file:
                return {key[len(prefix) :]: file.get_tensor(key) for key in self.shapes if key.startswith(prefix)}
        except (SafetensorError, OSError) as error:
            raise UserError(f"{self.path} can't be read: {one_line(error)}") from error

    def shapes_of(self, name: str) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors that :meth:`tensors` would return. No tensor is read."""
        prefix = f"{name}."
        return {key[len(prefix) :]: shape for key, shape in self.shapes.items() if key.startswith(prefix)}


def save(
    folder: Path,
    progress: Progress,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    param_groups: Mapping[str, list[dict[str, Any]]] | None = None,
    *,
    describe: Callable[[str], str] = str,
    keep: int | None = None,
    best: bool = False,
) -> Path:
    """Write ``folder/<step>.safetensors`` and make ``last.safetensors`` the same file. Both appear whole or not at all.

    With ``keep``, only the newest ``keep`` numbered files stay. The ``best`` checkpoint is also kept under that name.
    Raises TrainingDiverged, and writes nothing, if a tensor is non-finite (``describe`` turns its name into a readable
    one). Raises UserError if ``config`` exceeds the limits of :func:`read`. Raises OSError if the disk refuses the
    file; older files then stay unchanged.
    """
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise TrainingDiverged(f"step {progress.step:,}: no longer finite: {describe(key)}")
    # Copy, because safetensors takes contiguous tensors only, and refuses shared memory such as tied weights.
    copies = {name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    metadata = {"gan_cli": _metadata(progress, config, param_groups or {})}
    content = safetensors_header.sealed(safetensors.torch.save(copies, metadata))
    path = layout.numbered(folder, progress.step)
    files.write_atomic(path, content)
    files.link(path, layout.LAST)
    if best:
        files.link(path, layout.BEST)
    # Later checkpoints are damaged, else the run would have resumed from one of them. They do not count.
    until_now = [other for other in layout.in_order(folder) if int(other.stem) <= progress.step]
    for old in until_now[keep:] if keep else []:
        old.unlink(missing_ok=True)
    return path


def _metadata(progress: Progress, config: Mapping[str, Any], param_groups: Mapping[str, Any]) -> str:
    """The metadata of a checkpoint, as JSON. UserError if they exceed the limits of :func:`read`."""
    facts = {
        "sha256": safetensors_header.BLANK_DIGEST,  # first, so that no other text of the file is taken for the digest
        "format": FORMAT,
        **dataclasses.asdict(progress),
        "config": dict(config),
        "param_groups": dict(param_groups),
    }
    try:
        metadata = json.dumps(facts, allow_nan=False)
        safetensors_header.strict_json(metadata, most=VALUE_LIMIT)
    except ValueError as error:
        raise UserError(f"this configuration can't be saved: {error}") from error
    return metadata


def save_config(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Write ``config`` to ``run_dir/config.yaml``, for people to read."""
    files.write_atomic(
        run_dir / layout.CONFIG, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True).encode()
    )


def read(location: str | Path) -> Checkpoint:
    """Open the checkpoint at ``location``: a file, or the newest valid checkpoint of a run folder.

    UserError if the file is damaged or not from gan-cli. In a run folder, a warning names each damaged checkpoint, and
    the one before it is used.
    """
    path = Path(os.path.expanduser(location))
    if path.is_file():
        return _read(path)
    if not path.is_dir():
        raise UserError(f"no such checkpoint: {location}; give a run folder or a .safetensors file")
    candidates = layout.of_run(path)
    if not candidates:
        raise UserError(
            f"no checkpoint in {location}: there is no {path / 'checkpoints' / layout.LAST}; give a run folder"
        )
    for candidate in candidates[:-1]:
        try:
            return _read(candidate)
        except UserError as error:
            log.warning("%s; going back to the one before it", error)
    return _read(candidates[-1])


def _read(path: Path) -> Checkpoint:
    if path.suffix in PICKLED:
        raise UserError(
            f"{path} is a {path.suffix} file, which can hold code and is not opened; give a run folder or a "
            ".safetensors file of gan-train"
        )
    try:
        header = safetensors_header.read_header(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not a readable checkpoint: {error}") from error
    try:
        facts = safetensors_header.strict_json(header.metadata["gan_cli"], most=VALUE_LIMIT)
        if facts["format"] != FORMAT:
            raise UserError(
                f"{path} has checkpoint format {facts['format']}, this version reads {FORMAT}; use a matching gan-cli"
            )
        if not safetensors_header.is_sealed(path, facts["sha256"]):
            raise UserError(f"{path} is damaged: its checksum doesn't match")
        return Checkpoint(
            path, _progress(facts), dict(facts["config"]), dict(facts["param_groups"]), header.shapes, facts["sha256"]
        )
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a checkpoint of gan-train (its metadata lacks or garbles {error})") from error


def _progress(facts: Mapping[str, Any]) -> Progress:
    """The progress from ``facts``. KeyError or ValueError unless all values are possible for a run."""
    counts = {name: facts[name] for name in ("step", "images")}
    if not all(type(count) is int and 0 <= count < 10**17 for count in counts.values()):
        raise ValueError("step or images")
    seconds, lr_scale, best = facts["seconds"], facts.get("lr_scale", 1.0), facts.get("best")
    if not all(type(value) in (int, float) for value in (seconds, lr_scale, 0.0 if best is None else best)):
        raise ValueError("seconds, lr_scale or best")
    if not (0 <= seconds < 10**9 and 0 < lr_scale <= 1):
        raise ValueError("seconds or lr_scale")
    return Progress(**counts, seconds=seconds, lr_scale=lr_scale, best=best)
