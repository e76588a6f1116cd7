"""The suite of gan-eval on images: one function per family of metrics. Each maps the data to the numbers of its family.

The functions have the names in :data:`gan_cli.metrics.catalogue.FAMILIES`. Those for points are in
:mod:`gan_cli.metrics.points`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from torch import Tensor
from tqdm import tqdm

from gan_cli.errors import UserError
from gan_cli.metrics import face_classifier
from gan_cli.metrics.catalogue import FAMILIES
from gan_cli.metrics.extractor import face_extractor, random_extractor, unit_pixels
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.metrics.inception_score import inception_score as score_of
from gan_cli.metrics.kid import kernel_distance
from gan_cli.metrics.measurement import Data, Inapplicable, Measurement, Unavailable, measured_c2st, measured_one_nn
from gan_cli.metrics.modes import class_shares, label_modes, label_shares
from gan_cli.metrics.parzen import parzen_window
from gan_cli.metrics.points import PointData
from gan_cli.metrics.precision_recall import density_coverage as density_coverage_by_neighbours
from gan_cli.metrics.precision_recall import precision_recall as precision_recall_by_neighbours
from gan_cli.metrics.translation_suite import TranslationData

VALIDATION = 1000  # images on which Parzen's sigma is chosen


def frechet(data: Data) -> dict[str, Measurement]:
    data.check_trained()
    value, real = data.with_real(lambda fake: frechet_distance(data.train_features, fake))
    return {"frechet": data.against_train(value, real_data=real)}


def frechet_random(data: Data) -> dict[str, Measurement]:
    """The distance by a network with random weights: for images of every kind, and no FID."""
    found = data.features_by(random_extractor)
    real = None if found.fresh is None else frechet_distance(found.train, found.fresh)
    value = frechet_distance(found.train, found.fake)
    return {
        "frechet_random": data.against_train(value, n_real=len(found.train), extractor=found.extractor, real_data=real)
    }


def kid(data: Data) -> dict[str, Measurement]:
    data.check_trained()
    size = min(1000, data.n, len(data.train))
    error: float | None
    (value, error), real = data.with_real(
        lambda fake: kernel_distance(data.train_features, fake, subsets=100, subset_size=size, seed=data.seed)
    )
    details = {"error_is": f"std over 100 subsets of {size:,}"}
    if size == data.n == len(data.train):  # every subset is the whole
        error, details = None, {}
    return {"kid": data.against_train(value, error=error, real_data=real and real[0], details=details)}


def precision_recall(data: Data) -> dict[str, Measurement]:
    return _pair(data, precision_recall_by_neighbours, ("precision", "recall"), k=3)


def density_coverage(data: Data) -> dict[str, Measurement]:
    return _pair(data, density_coverage_by_neighbours, ("density", "coverage"), k=5)


def _pair(
    data: Data, measure: Callable[..., tuple[float, float]], names: tuple[str, str], k: int
) -> dict[str, Measurement]:
    """The two numbers of a ``measure`` with k neighbours. It compares the n samples with n training images."""
    train = data.some_train_features
    values, real = data.with_real(lambda fake: measure(train, fake, k=k))
    return {
        name: data.against_train(values[i], n_real=len(train), real_data=real and real[i], details={"k": k})
        for i, name in enumerate(names)
    }


def inception_score(data: Data) -> dict[str, Measurement]:
    classify = data.classify
    (value, error), real = data.with_real(lambda fake: score_of(classify(fake).softmax(dim=1)))
    details = {"error_is": "std over 10 splits"}
    found = Measurement(
        value, data.n, extractor=data.extractor, error=error, real_data=real and real[0], details=details
    )
    return {"inception_score": found}


def modes(data: Data) -> dict[str, Measurement]:
    classify, shares = data.classify, class_shares(data.train)
    values, real = data.with_real(lambda fake: label_modes(classify(fake).argmax(dim=1), shares))
    return {
        "classes_hit": data.against_train(values[0], real_data=real and real[0], details={"of": len(shares)}),
        "class_kl": data.against_train(values[1], real_data=real and real[1], details={"unit": "nats"}),
    }


def attributes(data: Data) -> dict[str, Measurement]:
    """Of drawn faces, by the classifier of their attributes: a distance of its features, and the shares of values."""
    known = data.train.attributes
    if known is None or not face_classifier.knows(known.values):
        raise Inapplicable("needs drawn faces of style=adventurer")
    found = data.features_by(face_extractor)
    shares = [label_shares(known.indices[:, i].long(), len(words)) for i, words in enumerate(known.values.values())]

    def counted(features: Tensor) -> list[tuple[int, float]]:
        """The number of values that appear, and their KL from the data's shares, for each attribute."""
        assert found.extractor.classify
        picked = face_classifier.likeliest(found.extractor.classify(features), list(map(len, shares)))
        return [label_modes(column, share) for column, share in zip(picked.unbind(dim=1), shares, strict=True)]

    hits, divergences = zip(*counted(found.fake), strict=True)
    real_hits, real_divergences = zip(*counted(found.fresh), strict=True) if found.fresh is not None else ((), ())
    real_distance = None if found.fresh is None else frechet_distance(found.train, found.fresh)
    values = {
        "frechet_attributes": (frechet_distance(found.train, found.fake), real_distance, {}),
        "attribute_kl": (
            sum(divergences) / len(shares),
            sum(real_divergences) / len(shares) if real_hits else None,
            {"unit": "nats, mean over attributes", **dict(zip(known.values, divergences, strict=True))},
        ),
        "values_hit": (sum(hits), sum(real_hits) or None, {"of": sum(int((share > 0).sum()) for share in shares)}),
    }
    return {
        name: data.against_train(
            value, n_real=len(found.train), extractor=found.extractor, real_data=real, details=details
        )
        for name, (value, real, details) in values.items()
    }


def label_accuracy(data: Data) -> dict[str, Measurement]:
    """The share of a conditional generator's samples that the classifier assigns to their label."""
    if data.labels is None:
        raise Inapplicable("needs a conditional generator")
    value = (data.classify(data.fake_features).argmax(dim=1).cpu() == data.labels).double().mean().item()
    return {"label_accuracy": Measurement(value, data.n, extractor=data.extractor)}


def parzen(data: Data) -> dict[str, Measurement]:
    test = unit_pixels(data.held_out.images)
    # The paper trains on 50,000 of MNIST's 60,000 images and chooses sigma on the first 1,000 of the others. A run on
    # all 60,000 images chooses sigma on the same 1,000, although it was trained on them.
    others = data.validation.images if data.validation else data.train.images[len(data.train) * 5 // 6 :]
    validation = unit_pixels(others[:VALIDATION])
    found = parzen_window(unit_pixels(data.fake), validation, test)
    real = parzen_window(unit_pixels(data.train.images[: data.n]), validation, test)
    chosen = {"sigma": found.sigma, "n_validation": len(validation)}
    details = {**chosen, "unit": "nats", "error_is": "standard error over the test images"}
    return {
        "parzen": Measurement(found.mean, data.n, len(test), "test", None, found.standard_error, real.mean, details)
    }


def c2st(data: Data) -> dict[str, Measurement]:
    return measured_c2st(*data.compared(), data.seed, split=data.fresh_split, extractor=data.extractor)


def one_nn(data: Data) -> dict[str, Measurement]:
    return measured_one_nn(*data.compared(), split=data.fresh_split, extractor=data.extractor)


def memorisation(data: Data) -> dict[str, Measurement]:
    value, details = data.copying()
    return {"copying": Measurement(value, data.n, len(data.train), data.split, real_data=0.5, details=details)}


METRICS: dict[str, Callable[[Data], dict[str, Measurement]]] = {
    name: globals()[name] for name in FAMILIES if name not in ("jsd", "paired", "lpips", "cycle")
}

# The input of a suite: images, the points of gan_cli.metrics.points, or gan_cli.metrics.translation_suite's.
Input = TypeVar("Input", Data, PointData, TranslationData)


def measure(
    data: Input,
    metrics: Mapping[str, Callable[[Input], dict[str, Measurement]]],
    names: Sequence[str],
    by_name: bool = False,
) -> tuple[dict[str, Measurement], list[str]]:
    """The numbers of the metrics ``names``, and one line per reason for which metrics were skipped.

    If they were asked for ``by_name``, UserError for a metric whose network is not there.
    """
    measured: dict[str, Measurement] = {}
    skipped: dict[str, list[str]] = {}
    bar = tqdm(names, leave=False, disable=None)
    for name in bar:
        bar.set_description(name)
        try:
            if name not in metrics:
                raise Inapplicable(f"not measured on {data.kind}")
            measured |= metrics[name](data)
        except Inapplicable as reason:
            if by_name and isinstance(reason, Unavailable):
                raise UserError(f"{name}: {reason}") from reason
            skipped.setdefault(str(reason), []).append(name)
    return measured, [f"{', '.join(names)}: {reason}" for reason, names in skipped.items()]
