"""``gan-eval``: measures samples with published metrics, and records the origin of each number."""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gan_cli import __version__, files, sampling
from gan_cli.config.display import check_no_own, held_images
from gan_cli.config.saved import SavedRun, Splits, open_run
from gan_cli.config.targets import functions
from gan_cli.data import Points
from gan_cli.errors import UserError
from gan_cli.metrics import parzen, points, suite, translation_suite
from gan_cli.metrics.measurement import FEWEST, Data, Measurement, Pair
from gan_cli.metrics.own import OwnMetric, measured_own
from gan_cli.metrics.pair import read_pair
from gan_cli.metrics.translation_suite import TranslationData
from gan_cli.rundir import layout
from gan_cli.terminal import aligned
from gan_cli.training import device as devices
from gan_cli.translating import mode_for


def run(config: Mapping[str, Any]) -> str:
    """Measure a checkpoint, or two sets of images, as ``config`` says. Write ``eval.json``; return the report, a table.

    Metrics that do not apply to the data are skipped, with a line that gives the reason. UserError if none applies.
    """
    if config["real"] is None:
        saved = open_run(config["ckpt"], config["trust"])
        found = measurements(saved, config)
        path = layout.run_folder(saved.path) / "eval.json"
        title = f"step {saved.checkpoint.progress.step:,}, {config['weights']} weights, seed {config['seed']}"
    else:
        found, title = _of_pair(config)
        path = _free(Path("eval.json"))
    files.write_atomic(path, (json.dumps(found.rows, indent=1) + "\n").encode())
    notes = [*found.notes, *([parzen.WARNING] if "parzen" in found.numbers else [])]
    skipped = [f"skipped {line}" for line in found.skipped]
    return "\n".join([title, table(found.numbers), *skipped, *notes, f"also in {path}"])


def _free(path: Path) -> Path:
    """``path``, or ``eval-2.json``, ``eval-3.json``, … so that nothing is overwritten."""
    others = (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(2))
    return next(free for free in itertools.chain([path], others) if not free.exists())


class Measured(NamedTuple):
    """The numbers by name, a line for each reason why metrics were skipped, other lines, the rows of ``eval.json``."""

    numbers: dict[str, Measurement]
    skipped: list[str]
    notes: list[str]
    rows: dict[str, dict[str, Any]]


def measurements(saved: SavedRun, config: Mapping[str, Any]) -> Measured:
    """Apply the metrics of ``config`` to a run's samples. UserError if no metric applies."""
    device = devices.device(config["device"])
    generator = saved.generator(config["weights"]).to(device)
    facts = {
        "n_held_out": None,
        "seed": config["seed"],
        "precision": "float32",
        "weights": config["weights"],
        "step": saved.checkpoint.progress.step,
        "checkpoint": saved.path.name,
    }
    if saved.translates:
        return _of_translation(saved, generator, config, facts)
    if len(saved.image_shape) == 1:
        return _of_points(saved, generator, config, facts)
    splits = _compared(saved.splits(config["root"]))
    labels = _labels(saved, splits, config)
    data = Data(
        *splits, lambda: _draw(saved, generator, labels, config), config["n"], config["seed"], device,
        config["batch_size"], labels, config["extractor"]["weights"],
    )  # fmt: skip
    measured, skipped = suite.measure(data, suite.METRICS, *_names(config["metrics"], suite.METRICS))
    if own := _own(config):
        fresh = data.fresh if splits.test else None
        measured |= measured_own(own, data.fake, splits.train.images, fresh, split="train")
    facts["n_held_out"] = min(config["n"], len(splits.test)) if splits.test else None
    found = [f"real data: {splits.train.description}"] if splits.train.description else []
    return _recorded(measured, skipped, [*found, *data.notes], facts)


def _of_points(saved: SavedRun, generator: nn.Module, config: Mapping[str, Any], facts: Mapping[str, Any]) -> Measured:
    """The measurements of a run on points."""
    found = saved.dataset(config["root"])
    assert isinstance(found, Points)  # by the shape that dataset() has checked
    data = points.PointData(
        found, generator, saved.discriminator(), saved.noise, config["n"], config["seed"], config["batch_size"]
    )
    measured, skipped = suite.measure(data, points.METRICS, *_names(config["metrics"], points.METRICS))
    if own := _own(config):
        measured |= measured_own(own, data.fake, found.points, split="train", space="points")
    return _recorded(measured, skipped, [], facts)


def _own(config: Mapping[str, Any]) -> dict[str, OwnMetric]:
    """The metrics of the user's own."""
    return functions(config["own_metrics"], "own_metrics")


def _of_translation(
    saved: SavedRun, generator: nn.Module, config: Mapping[str, Any], facts: Mapping[str, Any]
) -> Measured:
    """The measurements of a run that translates, on its held-out images; on its training images if it has none."""
    check_no_own(config)
    own, n = saved.domains(config["root"]), config["n"]
    found = held_images(own, saved.dataset_node(config["root"]))
    mode = mode_for(saved.checkpoint.config.get("batch_size", 1))
    back = None
    if saved.checkpoint.shapes_of("backward_generator"):
        back = saved.generator(config["weights"], backward=True).to(devices.device(config["device"]))
    data = TranslationData(
        generator, found.sources[:n], found.targets[:n], found.paired, found.split, mode, config["seed"], back
    )
    names = _names(config["metrics"], translation_suite.METRICS)
    return _recorded(*suite.measure(data, translation_suite.METRICS, *names), [own.description, *data.notes], facts)


def _of_pair(config: Mapping[str, Any]) -> tuple[Measured, str]:
    """The measurements of two sets of images, and a line that says what was compared."""
    device = devices.device(config["device"])
    real, fake = read_pair(config["real"], config["fake"])
    data = Pair(real, fake, config["n"], config["seed"], device, config["batch_size"], config["extractor"]["weights"])
    measured, skipped = suite.measure(data, suite.METRICS, *_names(config["metrics"], suite.METRICS))
    if own := _own(config):
        measured |= measured_own(own, data.fake, real.images, split=data.split)
    channels, height, width = real.image_shape
    facts = {
        "seed": config["seed"],
        "precision": "float32",
        "real": config["real"],
        "fake": config["fake"],
        "image_shape": [channels, height, width],
    }
    taken = f"{data.n:,} of {len(fake):,}" if data.n < len(fake) else f"{len(fake):,}"
    title = (
        f"{len(real):,} real images ({config['real']}), {taken} fake ({config['fake']}), at {height}x{width} in "
        f"{'grey' if channels == 1 else 'colour'}, seed {config['seed']}"
    )
    return _recorded(measured, skipped, data.notes, facts), title


def _recorded(
    measured: dict[str, Measurement], skipped: list[str], notes: list[str], facts: Mapping[str, Any]
) -> Measured:
    """The measurements with their rows of ``eval.json``. UserError if there are none."""
    if not measured:
        raise UserError(f"nothing to measure: {'; '.join(skipped)}")
    facts = {**facts, "gan_cli": __version__}
    return Measured(measured, skipped, notes, {name: _provenance(found) | facts for name, found in measured.items()})


def _compared(splits: Splits) -> Splits:
    """``splits`` without held-out data if these are too few. UserError if the training data are too few."""
    if len(splits.train) < FEWEST:
        raise UserError(f"{len(splits.train)} training images are too few to compare with: at least {FEWEST}")
    return splits if splits.test is None or len(splits.test) >= FEWEST else splits._replace(test=None)


def _labels(saved: SavedRun, splits: Splits, config: Mapping[str, Any]) -> Tensor | None:
    """The labels for a conditional generator: each class as often as in the data."""
    if not (classes := len(saved.class_names)):
        return None
    if splits.train.labels is None or int(splits.train.labels.max()) >= classes:
        raise UserError(f"{saved.path} draws by {classes} classes, which these data don't have")
    return sampling.labels_like(splits.train.labels, config["n"], config["seed"])


def _draw(saved: SavedRun, generator: nn.Module, labels: Tensor | None, config: Mapping[str, Any]) -> Tensor:
    """The samples, uint8 ``[n, C, H, W]``."""
    z = sampling.latents(saved.noise, config["n"], config["seed"])
    with tqdm(total=config["n"], desc="sampling", leave=False, disable=None) as bar:
        blocks = []
        for block in sampling.generate(generator, z, config["batch_size"], labels=labels):
            blocks.append(block)
            bar.update(len(block))
    return torch.cat(blocks)


def _names(metrics: str | Sequence[str] | None, known: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The requested metrics, each once, and whether each was named. ``all`` or nothing means all that are ``known``."""
    words = [metrics] if isinstance(metrics, str) else metrics or ["all"]
    return (list(known), False) if "all" in words else (list(dict.fromkeys(words)), True)


def _provenance(found: Measurement) -> dict[str, Any]:
    """A measurement as in ``eval.json``: the number and its origin."""
    plain = [f.name for f in dataclasses.fields(found) if f.name not in ("extractor", "details", "space")]
    row, extractor = {name: getattr(found, name) for name in plain}, found.extractor
    row["extractor"] = extractor.name if extractor else found.space
    row["extractor_sha256"] = extractor.sha256 if extractor else None
    return {**row, **found.details}


def table(measured: Mapping[str, Measurement]) -> str:
    """The measurements as text, columns aligned: value ± error, the value for real data, the origin."""
    rows = [["metric", "value", "real data", "measured with"]]
    for name, found in measured.items():
        error = f" ± {found.error:.2g}" if found.error is not None else ""
        real = "-" if found.real_data is None else _number(found.real_data)
        rows.append([name, _number(found.value) + error, real, _measured_with(found)])
    return aligned(rows)


def _measured_with(found: Measurement) -> str:
    space = found.extractor.name if found.extractor else found.space
    numbers = [f"{found.n_real:,} {found.split}"] if found.n_real else []
    numbers += [f"{found.n_fake:,} samples"] if found.n_fake else []
    details = [f"{name} {_shown(value)}" for name, value in found.details.items() if name != "error_is"]
    if "error_is" in found.details:
        details.append(f"±: {found.details['error_is']}")
    return ", ".join([": ".join([space, " / ".join(numbers)]) if numbers else space, *details])


def _number(value: float) -> str:
    return f"{value:.4g}"


def _shown(value: Any) -> str:
    """A detail as shown in the table: ``0.49 to 0.51`` for an interval, numbers shortened."""
    if isinstance(value, list):
        return " to ".join(f"{part:.3f}" for part in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
