"""The input of gan-eval's metrics on images, and their output: a number with its origin."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from gan_cli.data import Dataset
from gan_cli.errors import UserError
from gan_cli.metrics.extractor import Extractor, extractor_for, random_extractor
from gan_cli.metrics.memorisation import copying, copying_of, identical
from gan_cli.metrics.two_sample import classifier_two_sample_test, nearest_neighbour_test

MOST_REAL = 10_000  # training images that a network of one metric alone looks at
FEWEST = 16  # least number of real and of generated images: neighbours, subsets and halves need several


class Inapplicable(UserError):
    """A metric has no meaning for these data, or lacks what it needs. It is skipped; the message says why."""


class Unavailable(Inapplicable):
    """A metric lacks a network that can be had. A metric that was asked for by name then ends the command."""


@dataclass(frozen=True)
class Measurement:
    """A measured ``value``, how it was measured, and ``real_data``: the value for real data in place of the samples.

    ``n_real`` images of ``split`` were compared with ``n_fake`` samples, by the extractor's features, or in ``space``
    if there is no extractor.
    """

    value: float
    n_fake: int
    n_real: int = 0
    split: str | None = None
    extractor: Extractor | None = None
    error: float | None = None
    real_data: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    space: str = "pixels"


class Features(NamedTuple):
    """Features by an ``extractor``, ``[N, F]``: of training, generated and, if any, held-out images."""

    extractor: Extractor
    train: Tensor
    fake: Tensor
    fresh: Tensor | None


class Data:
    """The input of the metrics. Samples and features are computed once, when the first metric needs them.

    ``train`` is all the training data. ``validation`` is the part that a limit kept out of the training data. ``fresh``
    is n of the held-out images (all, if there are fewer). ``fake`` is the n samples. ``labels`` are the classes given
    to a conditional generator. ``weights`` is a file of Inception's. An attribute raises Inapplicable if its held-out
    data or a classifier of the classes is missing. ``notes`` has a line if random features stand in for trained ones.
    """

    kind: ClassVar[str] = "images"
    split: ClassVar[str] = "train"  # the name of ``train``
    fresh_split: ClassVar[str] = "test"

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
        weights: str | None = None,
    ) -> None:
        self.train, self.validation, self.n, self.seed, self.labels = train, validation, n, seed, labels
        self._held_out, self._draw, self._device, self._batch_size = held_out, draw, device, batch_size
        self._weights, self._lacking = weights, ""
        self.notes: list[str] = []

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
    def extractor(self) -> Extractor:
        """The extractor for such images; if it is unavailable, or does not know their classes, the random network."""
        try:
            found = extractor_for(self.train.image_shape, self._device, self.train.class_names, self._weights)
            self._check_that_it_knows(found)
            return found
        except UserError as error:
            self._lacking, found = str(error), random_extractor(self._device)
            self.notes.append(f"{error}; here images are compared by the features of a {found.name}")
            return found

    def check_trained(self) -> None:
        """Unavailable if no network that was trained on images gives the features."""
        assert self.extractor  # which is looked for here
        if self._lacking:
            raise Unavailable(self._lacking)

    def _check_that_it_knows(self, found: Extractor) -> None:
        """UserError if a classifier names under 90% of the data right: KMNIST has MNIST's class names as well."""
        if found.classify is None or self.train.labels is None:
            return
        asked = some(len(self.train), 1000, self.seed)
        named = found.labels(self.train.images[asked]).cpu()
        right = (named == self.train.labels[asked]).double().mean().item()
        if right < 0.9:
            raise UserError(f"the {found.name} names only {right:.0%} of the training images right")

    @cached_property
    def train_features(self) -> Tensor:
        return self.extractor.features(self.train.images, self._batch_size, "training data")

    @cached_property
    def some_train_features(self) -> Tensor:
        """The features of n training images."""
        if self.extractor and self._lacking:  # then no metric needs the features of all
            return self.extractor.features(self._some(self.train.images), self._batch_size, "training data")
        return self._some(self.train_features)

    @cached_property
    def fresh_features(self) -> Tensor:
        return self.extractor.features(self.fresh, self._batch_size, "held-out data")

    @cached_property
    def fake_features(self) -> Tensor:
        return self.extractor.features(self.fake, self._batch_size, "samples")

    @cached_property
    def classify(self) -> Callable[[Tensor], Tensor]:
        """Features -> class logits. Inapplicable without a classifier that knows the data's classes."""
        if self.extractor.classify is None or self.train.labels is None:
            raise Inapplicable("needs labelled data, and a classifier for them")
        return torch.inference_mode()(self.extractor.classify)

    def features_by(self, network: Callable[[torch.device], Extractor]) -> Features:
        """The features, by another ``network``, of at most :data:`MOST_REAL` training images and of the others."""
        extractor = network(self._device)
        real = self.train.images[some(len(self.train), MOST_REAL, self.seed)]
        held = None if self._held_out is None else extractor.features(self.fresh, self._batch_size, "held-out data")
        return Features(
            extractor,
            extractor.features(real, self._batch_size, "training data"),
            extractor.features(self.fake, self._batch_size, "samples"),
            held,
        )

    def compared(self) -> tuple[Tensor, Tensor]:
        """Features of equally many held-out and generated images, for a two-sample test."""
        m = min(len(self.fresh), self.n)
        return self.fresh_features[:m], self.fake_features[:m]

    def copying(self) -> tuple[float, Mapping[str, Any]]:
        """The score of memorisation, and details."""
        fresh = self.fresh.flatten(1)  # first: without held-out data no sample is drawn
        return copying(self.train.images.flatten(1), fresh, self.fake.flatten(1)), {}

    def with_real(self, measure: Callable[[Tensor], Any]) -> tuple[Any, Any]:
        """``measure`` of the samples' features and of the held-out data's; the latter is None without held-out data."""
        return measure(self.fake_features), None if self._held_out is None else measure(self.fresh_features)

    def against_train(self, value: float, **more: Any) -> Measurement:
        """A number by features of all training images and of the samples; ``more`` overrides single fields."""
        if "extractor" not in more:  # which is looked for here
            more["extractor"] = self.extractor
        about = {"n_fake": self.n, "n_real": len(self.train), "split": self.split}
        return Measurement(value, **{**about, **more})

    def _some(self, rows: Tensor) -> Tensor:
        return rows[some(len(rows), self.n, self.seed)]


class Pair(Data):
    """Two sets of images, ``real`` and ``fake``, of no run: the real images take the place of held-out data as well.

    n of the fake images are compared; all, if there are fewer.
    """

    split = fresh_split = "real"

    def __init__(
        self,
        real: Dataset,
        fake: Tensor,
        n: int,
        seed: int,
        device: torch.device,
        batch_size: int,
        weights: str | None = None,
    ) -> None:
        chosen = fake[some(len(fake), n, seed)] if len(fake) > n else fake
        super().__init__(real, None, None, lambda: chosen, len(chosen), seed, device, batch_size, weights=weights)

    @cached_property
    def fresh(self) -> Tensor:
        return self._some(self.train.images)

    @cached_property
    def fresh_features(self) -> Tensor:
        return self.some_train_features

    def copying(self) -> tuple[float, Mapping[str, Any]]:
        real, fake = self.train.images.flatten(1), self.fake.flatten(1)
        value = copying_of(real, some(len(real), self.n, self.seed), fake)
        return value, {"identical": identical(real, fake)}


def some(total: int, n: int, seed: int) -> Tensor:
    """n of ``total`` indices at random, without replacement; all, in random order, if there are fewer."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:n]


def measured_c2st(real: Tensor, fake: Tensor, seed: int, **about: Any) -> dict[str, Measurement]:
    """The two-sample test by a classifier on rows ``[N, D]`` each; ``about`` are further fields."""
    found = classifier_two_sample_test(real, fake, seed=seed)
    details = {"null_interval": [0.5 - found.margin, 0.5 + found.margin], "p": found.p_value, "n_test": found.n_test}
    return {"c2st_accuracy": Measurement(found.accuracy, len(fake), len(real), real_data=0.5, details=details, **about)}


def measured_one_nn(real: Tensor, fake: Tensor, **about: Any) -> dict[str, Measurement]:
    """The two-sample test by the nearest neighbour on rows ``[N, D]`` each; ``about`` are further fields."""
    found = nearest_neighbour_test(real, fake)
    details = {"of_real": found.real, "of_fake": found.fake}
    return {
        "one_nn_accuracy": Measurement(found.accuracy, len(fake), len(real), real_data=0.5, details=details, **about)
    }
