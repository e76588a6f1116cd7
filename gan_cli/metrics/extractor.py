"""What looks at images in our place: networks whose features, and classes, the metrics compare."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from gan_cli.data import resized
from gan_cli.metrics import classifier, inception


@dataclass(frozen=True)
class Extractor:
    """A network that maps uint8 images to features ``[N, F]`` and, where it can, features to class logits ``[N, C]``.

    ``name`` and ``sha256`` (of its weights' file) say which: figures of two extractors do not compare.
    """

    name: str
    sha256: str
    embed: Callable[[Tensor], Tensor]
    classify: Callable[[Tensor], Tensor] | None = None

    @torch.inference_mode()
    def features(self, images: Tensor, batch_size: int = 256, what: str = "images") -> Tensor:
        """The float32 features of uint8 images ``[N, C, H, W]``, on the CPU, ``batch_size`` at a time."""
        batches = tqdm(images.split(batch_size), f"features of {what}", leave=False, disable=None)
        return torch.cat([self.embed(batch).cpu() for batch in batches])


def extractor_for(image_shape: tuple[int, int, int], device: torch.device) -> Extractor:
    """What judges images of this shape: the digit classifier for grey ones (at 28x28), Inception for colour.

    UserError where Inception isn't installed, or its weights can't be had.
    """
    if image_shape[0] == 1:
        digits = classifier.load_classifier().to(device)
        return Extractor(
            "digit classifier",
            _sha256(classifier.WEIGHTS),
            lambda images: digits.features(resized(images, 28).to(device) / 255),
            lambda features: digits.classify(features.to(device)).cpu(),
        )
    network, weights = inception.load_inception()
    network = network.to(device)
    return Extractor("Inception-v3", _sha256(weights), lambda images: network(images.to(device))[0])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
