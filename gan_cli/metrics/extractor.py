"""Feature extractors: networks whose features and class predictions the metrics compare."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from gan_cli.data import resized
from gan_cli.data.idx import STACKS
from gan_cli.metrics import classifier, inception


@dataclass(frozen=True)
class Extractor:
    """A network that maps uint8 images to features ``[N, F]``, and features to class logits ``[N, C]`` if it can.

    ``name`` and ``sha256`` (of the file of weights) identify it: numbers from two extractors are not comparable.
    """

    name: str
    sha256: str
    embed: Callable[[Tensor], Tensor]
    classify: Callable[[Tensor], Tensor] | None = None

    @torch.inference_mode()
    def features(self, images: Tensor, batch_size: int = 256, what: str | None = None) -> Tensor:
        """The float32 features of uint8 images ``[N, C, H, W]``, on the CPU, ``batch_size`` at a time.

        With ``what``, the images' name, a progress bar is shown.
        """
        hidden = None if what else True  # None: hidden only where standard error is no terminal
        batches = tqdm(images.split(batch_size), f"features of {what}", leave=False, disable=hidden)
        return torch.cat([self.embed(batch).cpu() for batch in batches])

    @torch.inference_mode()
    def labels(self, images: Tensor) -> Tensor:
        """The likeliest class of each uint8 image ``[N, C, H, W]``, int64 ``[N]``. Needs ``classify``."""
        assert self.classify is not None
        return self.classify(self.embed(images)).argmax(dim=1)


def extractor_for(
    image_shape: tuple[int, int, int], device: torch.device, class_names: Sequence[str] = ()
) -> Extractor:
    """The extractor for images of this shape: the digit classifier (at 28x28) for grey, Inception for colour.

    If ``class_names`` are those of stacked digits, the digit classifier judges each channel. UserError if Inception
    isn't installed or its weights can't be downloaded.
    """
    if image_shape[0] == 1 or tuple(class_names) == STACKS:
        return _of_digits(device)
    network, weights = inception.load_inception()
    network = network.to(device)
    return Extractor("Inception-v3", _sha256(weights), lambda images: network(images.to(device))[0])


def _of_digits(device: torch.device) -> Extractor:
    """The digit classifier on each channel: all channels' features concatenated, and logits of all combinations.

    The logit of (r, g, b), at ``100 r + 10 g + b``, is the sum of the three digits' logits. The probability of a
    combination is thus the product of the digits' probabilities.
    """
    digits = classifier.load_classifier().to(device)

    def embed(images: Tensor) -> Tensor:
        channels = resized(images, 28).to(device).split(1, dim=1)
        return torch.cat([digits.features(channel / 255) for channel in channels], dim=1)

    def classify(features: Tensor) -> Tensor:
        channels = features.to(device).unflatten(1, (-1, digits.num_features)).unbind(dim=1)
        combined, *others = (digits.classify(channel).cpu() for channel in channels)
        for logits in others:
            combined = (combined[:, :, None] + logits[:, None]).flatten(1)
        return combined

    return Extractor("digit classifier", _sha256(classifier.WEIGHTS), embed, classify)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
