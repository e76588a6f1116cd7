"""The suite of gan-eval on translations: one function per family of metrics, as in :mod:`gan_cli.metrics.suite`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_cli.errors import UserError, one_line
from gan_cli.metrics import translation
from gan_cli.metrics.extractor import Extractor, extractor_for, pixel_extractor
from gan_cli.metrics.measurement import Inapplicable, Measurement
from gan_cli.sampling import over_white
from gan_cli.translating import translate


@dataclass
class TranslationData:
    """Images uint8 ``[N, C, H, W]``, sources and targets of a ``split``, and the networks that translate them.

    ``pairs`` says whether source and target of a row belong together. ``backward`` translates back, if there is such a
    network. ``mode`` and ``seed`` are those of :func:`gan_cli.translating.translate`.
    """

    kind: ClassVar[str] = "translations"
    generator: nn.Module
    sources: Tensor
    targets: Tensor
    pairs: bool
    split: str
    mode: str
    seed: int = 0
    backward: nn.Module | None = None
    notes: list[str] = field(default_factory=list)

    @cached_property
    def outputs(self) -> Tensor:
        return translate(self.generator, self.sources, self.mode, self.seed)

    @property
    def untouched(self) -> Tensor | None:
        """The sources, if they have the channels of the targets: what a generator that does nothing gives."""
        return self.sources if self.sources.shape[1] == self.targets.shape[1] else None

    @cached_property
    def extractor(self) -> Extractor:
        """Inception's features, or pixels without Inception."""
        shape = self.targets.shape[1], self.targets.shape[2], self.targets.shape[3]
        try:
            return extractor_for(shape, next(self.generator.parameters()).device)
        except UserError as error:
            found = pixel_extractor(shape)
            self.notes.append(f"{error}; here images are compared in {found.name}")
            return found

    def need_pairs(self) -> None:
        if not self.pairs:
            raise Inapplicable("needs pairs, and the held-out images are none")

    def measured(self, value: float, untouched: float | None, **about: object) -> Measurement:
        """A number, beside what the untouched sources get."""
        details = {"mode": self.mode, **({} if untouched is None else {"untouched": untouched})}
        n = len(self.targets)
        return Measurement(value, len(self.outputs), n, self.split, details=details, **about)  # type: ignore[arg-type]


def paired(data: TranslationData) -> dict[str, Measurement]:
    data.need_pairs()
    values = translation.paired(data.outputs, data.targets)
    before = {} if data.untouched is None else translation.paired(data.untouched, data.targets)
    return {name: data.measured(value, before.get(name)) for name, value in values.items()}


def lpips(data: TranslationData) -> dict[str, Measurement]:
    """Zhang et al. 2018 (arXiv 1801.03924) with AlexNet's features, by torchmetrics."""
    data.need_pairs()
    try:
        from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity as distance
    except ImportError as error:
        raise Inapplicable("needs torchmetrics: pip install 'gan-cli[lpips]'") from error

    def mean(images: Tensor) -> float:
        parts = zip(_colour(images).split(16), _colour(data.targets).split(16), strict=True)
        values = [distance(*part, net_type="alex", reduction="sum", normalize=True) for part in parts]
        return float(sum(values)) / len(images)

    try:
        with torch.inference_mode():
            value = mean(data.outputs)
            before = None if data.untouched is None else mean(data.untouched)
    except (OSError, RuntimeError) as error:  # the weights are downloaded at the first use
        raise Inapplicable(f"AlexNet's weights can't be had ({one_line(error)})") from error
    return {"lpips": data.measured(value, before, space="AlexNet")}


def frechet(data: TranslationData) -> dict[str, Measurement]:
    if min(len(data.sources), len(data.targets)) < 2:
        raise Inapplicable("needs two held-out images or more")
    value = translation.frechet(data.outputs, data.targets, data.extractor)
    before = None if data.untouched is None else translation.frechet(data.untouched, data.targets, data.extractor)
    return {"frechet": data.measured(value, before, extractor=data.extractor)}


def cycle(data: TranslationData) -> dict[str, Measurement]:
    if data.backward is None:
        raise Inapplicable("needs a generator of the other direction")
    value = translation.cycle_error(data.backward, data.outputs, data.sources, data.mode)
    return {"cycle_error": data.measured(value, None)}


def _colour(images: Tensor) -> Tensor:
    """uint8 images as float32 RGB in [0, 1]."""
    return over_white(images).expand(-1, 3, -1, -1).float() / 255


METRICS: dict[str, Callable[[TranslationData], dict[str, Measurement]]] = {
    "paired": paired, "lpips": lpips, "frechet": frechet, "cycle": cycle,
}  # fmt: skip
