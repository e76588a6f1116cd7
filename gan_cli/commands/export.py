"""``gan-export``: a trained generator as ONNX, as a program of torch.export, as a folder for the Hub, as a page."""

import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gan_cli import __version__, sampling
from gan_cli.config.networks import does
from gan_cli.config.saved import SavedRun, open_run
from gan_cli.config.targets import facts_wanted
from gan_cli.config.translation import reversed_facts
from gan_cli.errors import UserError, printable
from gan_cli.exports import hub, onnx, play, program, subject
from gan_cli.exports.program import Checked
from gan_cli.exports.subject import Subject
from gan_cli.files import write_atomic
from gan_cli.pictures.grids import grid, write_png
from gan_cli.reports.facts import evaluated, words_of
from gan_cli.rundir import layout, status
from gan_cli.translating import mode_for
from gan_cli.typed import line

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
PICTURED = 36  # images in the grid of a folder


def run(config: Mapping[str, Any]) -> str:
    """Write the generator of ``ckpt`` to ``out``, after it was compared with torch. Return what was written, in lines.

    The suffix of ``out`` says the form. UserError if the comparison fails; no file is written then.
    """
    saved = open_run(config["ckpt"], config["trust"])
    out = Path(os.path.expanduser(config["out"]))
    write = _writer(out)
    if config["backward"] and not saved.translates:
        raise UserError("backward= is for CycleGAN's second generator: leave it out here")
    if config["opset"] is not None and out.suffix.lower() != ".onnx":
        raise UserError("opset= is for .onnx files: leave it out here")
    generator = saved.generator(config["weights"], config["backward"])
    found = write(saved, generator, out, config)
    errors = ", ".join(f"{'x'.join(map(str, one.shape))}: {one.error:.2g}" for one in found)
    return f"{out}: {_size(out)}\nlargest differences from torch, by the shape of the input: {errors}"


def _writer(out: Path) -> Callable[[SavedRun, nn.Module, Path, Mapping[str, Any]], list[Checked]]:
    """The function that writes such an ``out``. UserError for a name that promises another form."""
    suffix = out.suffix.lower()
    found = {".onnx": _write_program, ".pt2": _write_program, ".html": _write_page, ".htm": _write_page}.get(suffix)
    if found and out.is_dir():
        raise UserError(f"out={out} is a folder; choose another name")
    if not found and (out.is_file() or (suffix and not out.is_dir())):
        raise UserError(f"out={out}: gan-export writes .onnx, .pt2, .html, or a folder (a name without a suffix)")
    return found or _write_folder


def _size(out: Path) -> str:
    files = [path for path in out.iterdir() if path.is_file()] if out.is_dir() else [out]
    return f"{sum(path.stat().st_size for path in files) / 1e6:.2f} MB"


def _dtype(config: Mapping[str, Any], default: str = "fp32") -> torch.dtype:
    return DTYPES[config["dtype"] or default]


def _subject(saved: SavedRun, generator: nn.Module, backward: bool, mode: str | None = None) -> Subject:
    """The subject of a run's generator. Its notes are shown."""
    shape = saved.image_shape
    if not saved.translates:
        return subject.drawing(generator, saved.noise, len(saved.class_names), len(shape) == 1)
    mode = mode or mode_for(saved.checkpoint.config.get("batch_size", 1))
    found = subject.translating(generator, shape[0] if backward else saved.source_channels, shape[1:], mode)
    for note in found.notes:
        log.warning("%s", note)
    return found


def _write_program(saved: SavedRun, generator: nn.Module, out: Path, config: Mapping[str, Any]) -> list[Checked]:
    """A ``.pt2`` file, or an ``.onnx`` file: both are made from the same trace."""
    converts = out.suffix.lower() == ".onnx"
    if converts:
        onnx.check_installed()
    of, dtype = _subject(saved, generator, config["backward"]), _dtype(config)
    of.network.to(dtype)
    trace = program.traced(of)
    content = onnx.converted(trace, of, config["opset"], _facts(saved, config)) if converts else program.saved(trace)
    found = program.check(of, (onnx if converts else program).loaded(content), dtype)
    write_atomic(out, content)
    return found


def _facts(saved: SavedRun, config: Mapping[str, Any]) -> dict[str, str]:
    """What an ONNX file tells of its origin."""
    facts = {"gan-cli": __version__, "step": str(saved.checkpoint.progress.step), "weights": config["weights"]}
    facts |= {"classes": json.dumps(saved.class_names)} if saved.class_names else {}
    facts |= {} if saved.translates else {"prior": saved.noise.prior}
    return facts | ({"licence of the data": known} if (known := _licence(saved)) else {})


def _licence(saved: SavedRun) -> str:
    """The licence of the training data, as the run has it; empty if it has none."""
    known = saved.checkpoint.config.get("licence")
    return printable(known) if isinstance(known, str) else ""


def _name(saved: SavedRun) -> str:
    return layout.run_folder(saved.path).absolute().name


def _write_page(saved: SavedRun, generator: nn.Module, out: Path, config: Mapping[str, Any]) -> list[Checked]:
    """A page to play with, ``.html``."""
    if saved.translates or len(saved.image_shape) == 1:
        raise UserError("the page draws images from noise, and this generator doesn't: choose out=FILE.onnx")
    directions = saved.directions(config["weights"])
    found, checked = play.graph(generator, saved.noise, len(saved.class_names), _dtype(config, "fp16"))
    channels, height, width = saved.image_shape
    facts = {
        "name": _name(saved),
        "about": f"{'Averaged weights' if config['weights'] == 'ema' else 'Weights'} of step "
        f"{saved.checkpoint.progress.step:,}, images of {height}x{width}{'' if channels == 1 else ' in colour'}.",
        "trained_on": _licence(saved),
    }
    page = play.rendered(found, generator, saved.noise, saved.image_shape, saved.class_names, directions, facts)
    write_atomic(out, page)
    return checked


def _write_folder(saved: SavedRun, generator: nn.Module, out: Path, config: Mapping[str, Any]) -> list[Checked]:
    """A folder in the form of a repository of the Hub. Files of an earlier export are replaced, and no others."""
    if out.is_dir() and any(out.iterdir()) and not (out / hub.CONFIG).is_file():
        raise UserError(f"out={out} holds other files; choose another name, or empty it")
    of, dtype = _plain(saved, generator, config["backward"]), _dtype(config)
    content, described = hub.weights(generator, dtype), _described(saved, config)
    text = json.dumps(described, indent=2).encode() + b"\n"
    found = program.check(of, hub.loaded(content, text), dtype)
    run_dir = layout.run_folder(saved.path)
    begun, of_weights = status.read(run_dir), (saved.checkpoint.progress.step, config["weights"])
    model = hub.Model(
        name=_name(saved),
        config=described,
        usage=_usage(saved),
        imported=["from gan_cli.translating import translate"] if saved.translates else [],
        licence=config["licence"] or "unknown",
        data=_data(saved),
        trained_by=line("gan-train", words_of(begun)) if begun else None,
        scores=[row for row in evaluated(run_dir) if (row["step"], row["weights"]) == of_weights],
        pictured=_picture(saved, generator, out),
    )
    write_atomic(out / hub.WEIGHTS, content)
    write_atomic(out / hub.CONFIG, text)
    write_atomic(out / hub.CARD, hub.card(model).encode())
    return found


def _plain(saved: SavedRun, generator: nn.Module, backward: bool) -> Subject:
    """The subject of the generator as its class has it: without truncation, and translations in eval mode."""
    if saved.translates:
        return _subject(saved, generator, backward, "eval")
    return subject.drawing(generator, saved.noise, len(saved.class_names), len(saved.image_shape) == 1, of_w=())


def _described(saved: SavedRun, config: Mapping[str, Any]) -> dict[str, Any]:
    """``config.json``."""
    net = saved.group("net")
    node, noise = net["generator"], {} if saved.translates else saved.noise._asdict()
    of_data = reversed_facts(saved.facts) if config["backward"] else saved.facts
    facts = facts_wanted(node, {**of_data, **noise}, "net.generator")
    options = {name: value for name, value in node.items() if not name.startswith("_")}
    return {
        "library_name": "gan-cli", "gan_cli": __version__, "network": node["_target_"],
        "arguments": {**options, **facts}, **noise, "does": does(net), "image_shape": list(saved.image_shape),
        "class_names": saved.class_names, "range": [-1, 1], "weights": config["weights"], "dtype": config["dtype"]
        or "fp32", "step": saved.checkpoint.progress.step,
        "checkpoint_sha256": saved.checkpoint.digest,
    }  # fmt: skip


def _usage(saved: SavedRun) -> list[str]:
    """The lines of the card that call the generator."""
    shape = ", ".join(map(str, saved.image_shape))
    if saved.translates:
        mode = mode_for(saved.checkpoint.config.get("batch_size", 1))
        sources = f"8, {saved.source_channels}, {', '.join(map(str, saved.image_shape[1:]))}"
        return [
            "", f"sources = torch.randint(0, 256, ({sources}), dtype=torch.uint8)  # images, 0 to 255",
            f'images = translate(generator, sources, mode="{mode}")  # uint8 [8, {shape}]',
        ]  # fmt: skip
    z_dim, classes = saved.noise.z_dim, len(saved.class_names)
    uniform = saved.noise.prior == "uniform"
    z = f"(2 * torch.rand(16, {z_dim}) - 1) * 3**0.5" if uniform else f"torch.randn(16, {z_dim})"
    labels = f", torch.arange(16) % {classes}" if classes else ""
    what = "points" if len(saved.image_shape) == 1 else "images in [-1, 1]"
    return ["", "with torch.no_grad():", f"    images = generator({z}{labels})  # {what}, [16, {shape}]"]


def _data(saved: SavedRun) -> str:
    """What the card says of the data."""
    config = saved.checkpoint.config
    node, examples = config.get("dataset"), config.get("examples")
    name = str(node.get("_target_", "")).split(".")[-1] if isinstance(node, Mapping) else ""
    parts = [
        f"`{printable(name)}`, {examples:,} examples." if name and isinstance(examples, int) else "Data of one's own."
    ]
    parts += [f"Licence of the data: {_licence(saved)}."] if _licence(saved) else []
    parts += [f"Classes: {printable(', '.join(saved.class_names))}."] if saved.class_names else []
    return " ".join(parts)


def _picture(saved: SavedRun, generator: nn.Module, out: Path) -> bool:
    """Write the grid of the folder: new samples, or of translations and points the run's last one. Whether it is."""
    if saved.translates or len(saved.image_shape) == 1:
        last = layout.sample_grids(layout.run_folder(saved.path))[-1:]
        for path in last:
            write_atomic(out / hub.GRID, path.read_bytes())
        return bool(last)
    classes = len(saved.class_names)
    labels = sampling.class_rows(range(classes), PICTURED) if classes else None
    z = sampling.latents(saved.noise, PICTURED if labels is None else len(labels), seed=0)
    blocks = list(sampling.generate(generator, z, labels=labels))
    write_png(grid(torch.cat(blocks), sampling.columns_of(labels)), out / hub.GRID)
    return True
