"""Feature extractors: networks whose features and class predictions the metrics compare."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from gan_cli.data import resized
from gan_cli.data.idx import STACKS
from gan_cli.metrics import classifier, face_classifier, inception
from gan_cli.metrics.random_features import RandomFeatures
from gan_cli.sampling import over_white

DIGITS = tuple("0123456789")  # the class names of MNIST
MOST_PIXELS = 1024  # numbers of an image whose pixels stand in for features: covariances grow with their square


@dataclass(frozen=True)
class Extractor:
    """A network that maps uint8 images to features ``[N, F]``, and features to class logits ``[N, C]`` if it can.

    ``name`` and ``sha256`` (of the file of weights, or of the random network; None for pixels) identify it: numbers
    from two extractors are not comparable. Transparent images are judged over white.
    """

    name: str
    sha256: str | None
    embed: Callable[[Tensor], Tensor]
    classify: Callable[[Tensor], Tensor] | None = None

    @torch.inference_mode()
    def features(self, images: Tensor, batch_size: int = 256, what: str | None = None) -> Tensor:
        """The float32 features of uint8 images ``[N, C, H, W]``, on the CPU, ``batch_size`` at a time.

        With ``what``, the images' name, a progress bar is shown.
        """
        hidden = None if what else True  # None: hidden only where standard error is no terminal
        batches = tqdm(images.split(batch_size), f"features of {what}", leave=False, disable=hidden)
        return torch.cat([self.embed(over_white(batch)).cpu() for batch in batches])

    @torch.inference_mode()
    def labels(self, images: Tensor) -> Tensor:
        """The likeliest class of each uint8 image ``[N, C, H, W]``, int64 ``[N]``. Needs ``classify``."""
        assert self.classify is not None
        return self.classify(self.embed(images)).argmax(dim=1)


def extractor_for(
    image_shape: tuple[int, int, int],
    device: torch.device,
    class_names: Sequence[str] = (),
    weights: str | None = None,
) -> Extractor:
    """The extractor for images of this shape: the digit classifier (at 28x28) for digits, Inception for all others.

    The ``class_names`` say what the images are: grey digits, or stacked digits, whose channels are judged one by one.
    ``weights`` is a file of Inception's weights; without one they are downloaded. UserError if Inception isn't
    installed or its weights can't be had.
    """
    if are_digits(image_shape, class_names):
        return digit_extractor(device)
    network, file = inception.load_inception(weights)
    network = network.to(device)

    def embed(images: Tensor) -> Tensor:
        return network(images.expand(-1, 3, -1, -1).contiguous().to(device))[0]  # grey: three equal channels

    return Extractor("Inception-v3", _sha256(file), embed)


def are_digits(image_shape: Sequence[int], class_names: Sequence[str]) -> bool:
    """Whether images of this shape and these classes are digits, or stacks of digits. Other grey images are not."""
    return tuple(class_names) == STACKS or (image_shape[0] == 1 and tuple(class_names) == DIGITS)


def pixel_extractor(image_shape: Sequence[int]) -> Extractor:
    """Pixels in [0, 1] in place of features. Images of more than :data:`MOST_PIXELS` numbers are shrunk first."""
    channels, height, width = image_shape
    side = math.isqrt(MOST_PIXELS // min(channels, 3))
    if max(height, width) <= side:
        return Extractor("pixels", None, unit_pixels)
    return Extractor(f"pixels at {side}x{side}", None, lambda images: unit_pixels(resized(images, side)))


def unit_pixels(images: Tensor) -> Tensor:
    """uint8 images ``[N, C, H, W]`` as float32 rows ``[N, C * H * W]`` in [0, 1]; transparent ones over white."""
    return over_white(images).flatten(1).float() / 255


def random_extractor(device: torch.device) -> Extractor:
    """The network with random weights of :mod:`gan_cli.metrics.random_features`, for images of any kind."""
    network = RandomFeatures().to(device)

    def embed(images: Tensor) -> Tensor:
        return network(images.to(device).expand(-1, 3, -1, -1))  # grey: three equal channels

    return Extractor("random VGG-like network", network.sha256, embed)


def face_extractor(device: torch.device) -> Extractor:
    """The classifier of drawn faces' attributes. Its logits are those of all attributes' values, side by side."""
    faces = face_classifier.load_face_classifier()[0].to(device)

    def embed(images: Tensor) -> Tensor:
        return faces.features(resized(images, face_classifier.SIZE).to(device) / 255)

    def classify(features: Tensor) -> Tensor:
        return faces.classify(features.to(device)).cpu()

    return Extractor("face classifier", _sha256(face_classifier.WEIGHTS), embed, torch.inference_mode()(classify))


def digit_extractor(device: torch.device) -> Extractor:
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
