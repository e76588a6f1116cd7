"""The input of gan-eval's metrics, and their output: a number with its origin."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gan_cli.data import Dataset
from gan_cli.errors import UserError
from gan_cli.metrics.extractor import Extractor, extractor_for

FEWEST = 16  # least number of real and of generated images: neighbours, subsets and halves need several


class Inapplicable(UserError):
    """A metric has no meaning for these data, or lacks what it needs. It is skipped; the message says why."""


@dataclass(frozen=True)
class Measurement:
    """A measured ``value``, how it was measured, and ``real_data``: the value for real data in place of the samples.

    ``n_real`` images of ``split`` were compared with ``n_fake`` samples, by the extractor's features, or by pixels if
    there is no extractor.
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
    """The input of the metrics. Samples and features are computed once, when the first metric needs them.

    ``train`` is all the training data. ``validation`` is the part that a limit kept out of the training data. ``fresh``
    is n of the held-out images (all, if there are fewer). ``fake`` is the n samples. ``labels`` are the classes given
    to a conditional generator. An attribute raises Inapplicable if its held-out data, its extractor or a classifier of
    the classes is missing.
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
            return Inapplicable(str(error))  # cached, so that a failed download is not repeated for every metric

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
        """The features of n training images."""
        return self._some(self.train_features)

    @cached_property
    def fresh_features(self) -> Tensor:
        return self.extractor.features(self.fresh, self._batch_size, "held-out data")

    @cached_property
    def fake_features(self) -> Tensor:
        return self.extractor.features(self.fake, self._batch_size, "samples")

    @cached_property
    def classify(self) -> Callable[[Tensor], Tensor]:
        """Features -> class logits. Inapplicable unless the classifier is right on 90% of the training data."""
        if self.extractor.classify is None or self.train.labels is None:
            raise Inapplicable("needs labelled data, and a classifier for them")
        classify = torch.inference_mode()(self.extractor.classify)
        right = (classify(self.train_features).argmax(dim=1) == self.train.labels).double().mean().item()
        if right < 0.9:
            raise Inapplicable(f"the {self.extractor.name} names only {right:.0%} of the training images right")
        return classify

    def compared(self) -> tuple[Tensor, Tensor, Extractor | None]:
        """Equally many held-out and generated rows for a two-sample test: features, or pixels without an extractor."""
        m = min(len(self.fresh), self.n)
        try:
            return self.fresh_features[:m], self.fake_features[:m], self.extractor
        except Inapplicable:
            return unit_pixels(self.fresh[:m]), unit_pixels(self.fake[:m]), None

    def with_real(self, measure: Callable[[Tensor], Any]) -> tuple[Any, Any]:
        """``measure`` of the samples' features and of the held-out data's; the latter is None without held-out data."""
        return measure(self.fake_features), None if self._held_out is None else measure(self.fresh_features)

    def against_train(self, value: float, **more: Any) -> Measurement:
        """A number by features of all training images and of the samples; ``more`` overrides single fields."""
        about = {"n_fake": self.n, "n_real": len(self.train), "split": "train", "extractor": self.extractor}
        return Measurement(value, **{**about, **more})

    def _some(self, rows: Tensor) -> Tensor:
        rng = torch.Generator().manual_seed(self.seed)
        return rows[torch.randperm(len(rows), generator=rng)[: self.n]]


def unit_pixels(pictures: Tensor) -> Tensor:
    """uint8 images ``[N, C, H, W]`` as float32 rows ``[N, C * H * W]`` in [0, 1]."""
    return pictures.flatten(1).float() / 255
