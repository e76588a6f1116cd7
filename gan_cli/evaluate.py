"""``gan-eval``: how good a checkpoint's samples are, by the literature's measures, and where each figure is from."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from gan_cli import __version__, build, checkpoint, files, hardware, images
from gan_cli.data import Dataset
from gan_cli.errors import UserError
from gan_cli.metrics import parzen
from gan_cli.metrics.extractor import Extractor, extractor_for
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.metrics.inception_score import inception_score
from gan_cli.metrics.kid import kernel_distance
from gan_cli.metrics.memorisation import copying
from gan_cli.metrics.modes import class_shares, label_modes
from gan_cli.metrics.precision_recall import density_coverage, precision_recall
from gan_cli.metrics.two_sample import classifier_two_sample_test, nearest_neighbour_test
from gan_cli.sample import load_data, load_generator

FEWEST = 16  # images on either side: neighbours, subsets and halves need some
VALIDATION = 1000  # images on which Parzen's sigma is chosen


class Inapplicable(UserError):
    """A metric has no meaning for these data, or what it needs isn't here: it is skipped, and the line says why."""


@dataclass(frozen=True)
class Figure:
    """A measured number, what real data get in the samples' place, and what it was measured with.

    ``n_real`` images of ``split`` were compared with ``n_fake`` samples, by features or, without an extractor, by
    pixels.
    """

    value: float
    n_fake: int
    n_real: int = 0
    split: str | None = None
    extractor: Extractor | None = None
    error: float | None = None
    real_data: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class Data:
    """What the metrics look at. Samples and features are made once, when the first metric asks for them.

    ``train`` is all the training data, ``validation`` what a limit kept out of it, ``fresh`` n of the held-out images
    (all, if they are fewer), ``fake`` the n samples, ``labels`` the classes that a conditional generator was asked for.
    Inapplicable where there is no held-out data, no extractor, or a
    classifier that doesn't know the classes.
    """

    def __init__(
        self,
        train: Dataset,
        validation: Dataset | None,
        held_out: Dataset | None,
        draw: Callable[[], Tensor],
        n: int,
        seed: int,
        device: torch.device,
        batch_size: int,
        labels: Tensor | None = None,
    ) -> None:
        self.train, self.validation, self.n, self.seed, self.labels = train, validation, n, seed, labels
        self._held_out, self._draw, self._device, self._batch_size = held_out, draw, device, batch_size

    @property
    def held_out(self) -> Dataset:
        if self._held_out is None:
            raise Inapplicable("needs held-out data, and this dataset has no test split")
        return self._held_out

    @cached_property
    def fake(self) -> Tensor:
        return self._draw()

    @cached_property
    def fresh(self) -> Tensor:
        return self._some(self.held_out.images)

    @cached_property
    def _extractor(self) -> Extractor | Inapplicable:
        try:
            return extractor_for(self.train.image_shape, self._device, self.train.class_names)
        except UserError as error:
            return Inapplicable(str(error))  # kept: a download isn't tried again for every metric

    @property
    def extractor(self) -> Extractor:
        if isinstance(self._extractor, Inapplicable):
            raise self._extractor
        return self._extractor

    @cached_property
    def train_features(self) -> Tensor:
        return self.extractor.features(self.train.images, self._batch_size, "training data")

    @cached_property
    def some_train_features(self) -> Tensor:
        """Of n training images."""
        return self._some(self.train_features)

    @cached_property
    def fresh_features(self) -> Tensor:
        return self.extractor.features(self.fresh, self._batch_size, "held-out data")

    @cached_property
    def fake_features(self) -> Tensor:
        return self.extractor.features(self.fake, self._batch_size, "samples")

    @cached_property
    def classify(self) -> Callable[[Tensor], Tensor]:
        """Features -> class logits; Inapplicable unless the classifier names nine in ten of the training data right."""
        if self.extractor.classify is None or self.train.labels is None:
            raise Inapplicable("needs labelled data, and a classifier for them")
        classify = torch.inference_mode()(self.extractor.classify)
        right = (classify(self.train_features).argmax(dim=1) == self.train.labels).double().mean().item()
        if right < 0.9:
            raise Inapplicable(f"the {self.extractor.name} names only {right:.0%} of the training images right")
        return classify

    def compared(self) -> tuple[Tensor, Tensor, Extractor | None]:
        """As many held-out as generated rows for a two-sample test: features, or pixels where there is no extractor."""
        m = min(len(self.fresh), self.n)
        try:
            return self.fresh_features[:m], self.fake_features[:m], self.extractor
        except Inapplicable:
            return unit_pixels(self.fresh[:m]), unit_pixels(self.fake[:m]), None

    def with_real(self, measure: Callable[[Tensor], Any]) -> tuple[Any, Any]:
        """``measure`` of the samples' features, and of the held-out data's: None where there are none."""
        return measure(self.fake_features), None if self._held_out is None else measure(self.fresh_features)

    def against_train(self, value: float, **more: Any) -> Figure:
        """A figure by features, of all the training images and the samples where ``more`` doesn't say otherwise."""
        about = {"n_fake": self.n, "n_real": len(self.train), "split": "train", "extractor": self.extractor}
        return Figure(value, **{**about, **more})

    def _some(self, rows: Tensor) -> Tensor:
        rng = torch.Generator().manual_seed(self.seed)
        return rows[torch.randperm(len(rows), generator=rng)[: self.n]]


def unit_pixels(pictures: Tensor) -> Tensor:
    """uint8 images ``[N, C, H, W]`` as float32 rows ``[N, C * H * W]`` in [0, 1]."""
    return pictures.flatten(1).float() / 255


def frechet(data: Data) -> dict[str, Figure]:
    value, real = data.with_real(lambda fake: frechet_distance(data.train_features, fake))
    return {"frechet": data.against_train(value, real_data=real)}


def kid(data: Data) -> dict[str, Figure]:
    size = min(1000, data.n, len(data.train))
    (value, error), real = data.with_real(
        lambda fake: kernel_distance(data.train_features, fake, subsets=100, subset_size=size, seed=data.seed)
    )
    details = {"error_is": f"std over 100 subsets of {size:,}"}
    return {"kid": data.against_train(value, error=error, real_data=real and real[0], details=details)}


def precision_and_recall(data: Data) -> dict[str, Figure]:
    return _pair(data, precision_recall, ("precision", "recall"), k=3)


def density_and_coverage(data: Data) -> dict[str, Figure]:
    return _pair(data, density_coverage, ("density", "coverage"), k=5)


def _pair(data: Data, measure: Callable[..., tuple[float, float]], names: tuple[str, str], k: int) -> dict[str, Figure]:
    """The two figures of a ``measure`` by k neighbours, of as many training images as samples."""
    train = data.some_train_features
    values, real = data.with_real(lambda fake: measure(train, fake, k=k))
    return {
        name: data.against_train(values[i], n_real=len(train), real_data=real and real[i], details={"k": k})
        for i, name in enumerate(names)
    }


def inception_style_score(data: Data) -> dict[str, Figure]:
    classify = data.classify
    (value, error), real = data.with_real(lambda fake: inception_score(classify(fake).softmax(dim=1)))
    details = {"error_is": "std over 10 splits"}
    found = Figure(value, data.n, extractor=data.extractor, error=error, real_data=real and real[0], details=details)
    return {"inception_score": found}


def modes(data: Data) -> dict[str, Figure]:
    classify, shares = data.classify, class_shares(data.train)
    values, real = data.with_real(lambda fake: label_modes(classify(fake).argmax(dim=1), shares))
    return {
        "classes_hit": data.against_train(values[0], real_data=real and real[0], details={"of": len(shares)}),
        "class_kl": data.against_train(values[1], real_data=real and real[1], details={"unit": "nats"}),
    }


def label_accuracy(data: Data) -> dict[str, Figure]:
    """How many samples of a conditional generator the classifier takes for the class that was asked for."""
    if data.labels is None:
        raise Inapplicable("needs a conditional generator")
    value = (data.classify(data.fake_features).argmax(dim=1).cpu() == data.labels).double().mean().item()
    return {"label_accuracy": Figure(value, data.n, extractor=data.extractor)}


def parzen_log_likelihood(data: Data) -> dict[str, Figure]:
    test = unit_pixels(data.held_out.images)
    # Of MNIST's 60,000 the paper trains on 50,000 and chooses sigma on the first 1,000 of the others; where a run was
    # trained on all, sigma is chosen on the same images, which it has seen.
    others = data.validation.images if data.validation else data.train.images[len(data.train) * 5 // 6 :]
    validation = unit_pixels(others[:VALIDATION])
    found = parzen.parzen_window(unit_pixels(data.fake), validation, test)
    real = parzen.parzen_window(unit_pixels(data.train.images[: data.n]), validation, test)
    chosen = {"sigma": found.sigma, "n_validation": len(validation)}
    details = {**chosen, "unit": "nats", "error_is": "standard error over the test images"}
    return {"parzen": Figure(found.mean, data.n, len(test), "test", None, found.standard_error, real.mean, details)}


def c2st(data: Data) -> dict[str, Figure]:
    real, fake, extractor = data.compared()
    found = classifier_two_sample_test(real, fake, seed=data.seed)
    details = {"null_interval": [0.5 - found.margin, 0.5 + found.margin], "p": found.p_value, "n_test": found.n_test}
    return {
        "c2st_accuracy": Figure(found.accuracy, len(fake), len(real), "test", extractor, real_data=0.5, details=details)
    }


def one_nn(data: Data) -> dict[str, Figure]:
    real, fake, extractor = data.compared()
    found = nearest_neighbour_test(real, fake)
    details = {"of_real": found.real, "of_fake": found.fake}
    return {
        "one_nn_accuracy": Figure(
            found.accuracy, len(fake), len(real), "test", extractor, real_data=0.5, details=details
        )
    }


def memorisation(data: Data) -> dict[str, Figure]:
    train, fresh = data.train.images.flatten(1), data.fresh.flatten(1)
    value = copying(train, fresh, data.fake.flatten(1))
    return {"copying": Figure(value, data.n, len(train), "train", real_data=0.5)}


# The names are also schema.METRICS, which answers a mistyped one without torch.
METRICS: dict[str, Callable[[Data], dict[str, Figure]]] = {
    "frechet": frechet,
    "kid": kid,
    "precision_recall": precision_and_recall,
    "density_coverage": density_and_coverage,
    "inception_score": inception_style_score,
    "modes": modes,
    "label_accuracy": label_accuracy,
    "parzen": parzen_log_likelihood,
    "c2st": c2st,
    "one_nn": one_nn,
    "memorisation": memorisation,
}


def run(config: Mapping[str, Any]) -> str:
    """Measure a checkpoint as ``config`` says and write ``eval.json``; gives the report, a table.

    Metrics that don't apply to the data are skipped, with a line that says why; UserError if none does.
    """
    opened = checkpoint.read(config["ckpt"])
    device = hardware.device(config["device"])
    generator = load_generator(opened, config["weights"], config["trust"]).to(device)
    train, validation, held_out = load_data(opened, config["root"], config["trust"])
    if len(train) < FEWEST:
        raise UserError(f"{len(train)} training images are too few to compare with: at least {FEWEST}")
    if held_out is not None and len(held_out) < FEWEST:
        held_out = None
    prior, z_dim = build.noise(opened.config["net"])
    labels = None
    if classes := build.saved_classes(opened.config, opened.path):
        if train.labels is None or int(train.labels.max()) >= classes:
            raise UserError(f"{opened.path} draws by {classes} classes, which these data don't have")
        labels = images.labels_like(train.labels, config["n"], config["seed"])

    def draw() -> Tensor:
        latents = images.latents(prior, config["n"], z_dim, config["seed"])
        with tqdm(total=config["n"], desc="sampling", leave=False, disable=None) as bar:
            blocks = []
            for block in images.generate(generator, latents, config["batch_size"], labels=labels):
                blocks.append(block)
                bar.update(len(block))
        return torch.cat(blocks)

    data = Data(train, validation, held_out, draw, config["n"], config["seed"], device, config["batch_size"], labels)
    figures, skipped = measure(data, _names(config["metrics"]))
    if not figures:
        raise UserError(f"nothing to measure: {'; '.join(skipped)}")
    facts = {
        "n_held_out": min(config["n"], len(held_out)) if held_out else None,
        "seed": config["seed"],
        "precision": "float32",
        "weights": config["weights"],
        "step": opened.progress.step,
        "checkpoint": opened.path.name,
        "gan_cli": __version__,
    }
    content = {name: _provenance(figure) | facts for name, figure in figures.items()}
    path = checkpoint.run_folder(opened.path) / "eval.json"
    files.write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())
    title = f"step {opened.progress.step:,}, {config['weights']} weights, seed {config['seed']}"
    warnings = [parzen.WARNING] if "parzen" in figures else []
    return "\n".join([title, table(figures), *(f"skipped {line}" for line in skipped), *warnings, f"also in {path}"])


def measure(data: Data, names: Sequence[str]) -> tuple[dict[str, Figure], list[str]]:
    """The figures of the metrics ``names``, and a line for each reason why others don't apply."""
    figures: dict[str, Figure] = {}
    skipped: dict[str, list[str]] = {}
    bar = tqdm(names, leave=False, disable=None)
    for name in bar:
        bar.set_description(name)
        try:
            figures |= METRICS[name](data)
        except Inapplicable as reason:
            skipped.setdefault(str(reason), []).append(name)
    return figures, [f"{', '.join(names)}: {reason}" for reason, names in skipped.items()]


def _names(metrics: str | Sequence[str] | None) -> list[str]:
    """The metrics asked for, each once; ``all``, or none, stands for all of them."""
    words = [metrics] if isinstance(metrics, str) else metrics or ["all"]
    return list(METRICS) if "all" in words else list(dict.fromkeys(words))


def _provenance(figure: Figure) -> dict[str, Any]:
    """A figure as it stands in ``eval.json``."""
    row = {
        f.name: getattr(figure, f.name) for f in dataclasses.fields(figure) if f.name not in ("extractor", "details")
    }
    extractor = figure.extractor
    row["extractor"] = extractor.name if extractor else "pixels"
    row["extractor_sha256"] = extractor.sha256 if extractor else None
    return {**row, **figure.details}


def table(figures: Mapping[str, Figure]) -> str:
    """The figures as text, columns aligned: value ± error, what real data get, and what it was measured with."""
    rows = [["metric", "value", "real data", "measured with"]]
    for name, figure in figures.items():
        error = f" ± {figure.error:.2g}" if figure.error is not None else ""
        real = "-" if figure.real_data is None else _number(figure.real_data)
        rows.append([name, _number(figure.value) + error, real, _measured_with(figure)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _measured_with(figure: Figure) -> str:
    space = figure.extractor.name if figure.extractor else "pixels"
    real = f"{figure.n_real:,} {figure.split} / " if figure.n_real else ""
    details = [f"{name} {_shown(value)}" for name, value in figure.details.items() if name != "error_is"]
    if "error_is" in figure.details:
        details.append(f"±: {figure.details['error_is']}")
    return ", ".join([f"{space}: {real}{figure.n_fake:,} samples", *details])


def _number(value: float) -> str:
    return f"{value:.4g}"


def _shown(value: Any) -> str:
    """A detail as the table has it: ``0.49 to 0.51`` for an interval, numbers short."""
    if isinstance(value, list):
        return " to ".join(f"{part:.3f}" for part in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
