"""The classifier of drawn faces' attributes. ``scripts/train_face_classifier.py`` trains it."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from gan_cli.metrics.classifier import conv_block

WEIGHTS = Path(__file__).parent / "face_classifier.safetensors"
SIZE = 64  # pixels a side


class FaceClassifier(nn.Module):
    """A convolutional classifier of float images N x 3 x 64 x 64 in [0, 1], with ``outputs`` logits in all.

    :meth:`features` gives the 128 post-ReLU activations that the last linear layer sees.
    """

    num_features = 128

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            conv_block(3, 24, kernel_size=5, stride=2),  # 32 x 32
            conv_block(24, 48, kernel_size=3, stride=2),  # 16 x 16
            conv_block(48, 64, kernel_size=3),
            nn.MaxPool2d(2),  # 8 x 8
            conv_block(64, 64, kernel_size=3),
            nn.MaxPool2d(2),  # 4 x 4
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, self.num_features),
            nn.ReLU(),
        )
        self.classify = nn.Linear(self.num_features, outputs)

    def features(self, images: Tensor) -> Tensor:
        """The N x 128 penultimate features of the images."""
        return self.embed(images)

    def forward(self, images: Tensor) -> Tensor:
        """The logits of the images: those of the first attribute's values, then those of the second's, and so on."""
        return self.classify(self.features(images))


@cache
def load_face_classifier() -> tuple[FaceClassifier, Mapping[str, tuple[str, ...]]]:
    """The shipped classifier, in eval mode, and the values of the attributes that it knows, in the order of logits."""
    with safe_open(WEIGHTS, "pt") as file:
        values = {name: tuple(words) for name, words in json.loads(file.metadata()["attributes"]).items()}
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    classifier = FaceClassifier(sum(map(len, values.values())))
    classifier.load_state_dict({name: w.float() if w.is_floating_point() else w for name, w in weights.items()})
    return classifier.eval(), values


def knows(values: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether the classifier was trained on attributes of exactly these ``values``."""
    return dict(load_face_classifier()[1]) == dict(values)


def likeliest(logits: Tensor, sizes: Sequence[int]) -> Tensor:
    """The likeliest value of each attribute, int64 ``[N, attributes]``; ``sizes`` are their numbers of values."""
    return torch.stack([one.argmax(dim=1) for one in logits.split(list(sizes), dim=1)], dim=1)
