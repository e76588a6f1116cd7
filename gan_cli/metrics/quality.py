"""Scores of a generator, during and after training: a dict by name. A lower value of the first score is better."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gan_cli.data import Dataset, Mixture, Points
from gan_cli.data.idx import STACKS
from gan_cli.errors import UserError
from gan_cli.metrics import theory
from gan_cli.metrics.extractor import Extractor, are_digits, digit_extractor, extractor_for, random_extractor
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.metrics.modes import class_shares, label_modes, modes
from gan_cli.metrics.precision_recall import precision_recall
from gan_cli.noise import Noise
from gan_cli.processes import share, whole
from gan_cli.sampling import TILE, generate, generate_points, labels_like, latents

Evaluate = Callable[[nn.Module], dict[str, float]]


def scores(dataset: Dataset | Points, discriminator: nn.Module, noise: Noise, conditional: bool = False) -> Evaluate:
    """The function: generator -> scores, that suits ``dataset``. UserError if there is no score for such data.

    A ``conditional`` generator gets labels drawn from those of the data.
    """
    known = dataset.labels if conditional else None
    if isinstance(dataset, Dataset) and dataset.class_names == STACKS:
        return stack_modes(dataset, noise, known)
    if isinstance(dataset, Dataset):
        digits = are_digits(dataset.image_shape, dataset.class_names) and dataset.image_shape == (1, 28, 28)
        return feature_scores(dataset.images, noise, known, digits)
    if dataset.mixture is None:
        raise UserError("there is no score for points of no known mixture: leave eval_every out")
    if dataset.image_shape == (1,):
        return divergence(dataset.mixture, discriminator, noise.prior)
    return mode_counts(dataset.mixture, noise)


@dataclass(frozen=True)
class FeatureScores:
    """A function: generator -> the Fréchet distance, under ``name``, ``precision`` and ``recall``, by features.

    ``real`` are features of real images, computed once, ``[M, F]``. The samples are of ``z`` and ``labels``, this
    process's share of ``n``. Precision and recall (k = 3) compare them with n of the real images.
    """

    name: str
    extractor: Extractor
    real: Tensor
    z: Tensor
    labels: Tensor | None
    n: int

    def __call__(self, generator: nn.Module) -> dict[str, float]:
        features = whole(self._features(generator, self.z, self.labels))[: self.n]
        some = self.real[torch.randperm(len(self.real), generator=torch.Generator().manual_seed(0))[: self.n]]
        precision, recall = precision_recall(some, features)
        return {self.name: frechet_distance(self.real, features), "precision": precision, "recall": recall}

    def _features(self, generator: nn.Module, z: Tensor, labels: Tensor | None) -> Tensor:
        return self.extractor.features(torch.cat(list(generate(generator, z, labels=labels))))

    def cost(self, generator: nn.Module) -> str:
        """What is scored and about how long it takes, by the time of one tile of samples."""
        labels = None if self.labels is None else self.labels[:TILE]
        self._features(generator, self.z[:TILE], labels)  # the first pass of a network takes longer
        start = time.perf_counter()
        self._features(generator, self.z[:TILE], labels)
        seconds = (time.perf_counter() - start) * len(self.z) / TILE
        about = f"{self.n:,} samples and {len(self.real):,} real images by a {self.extractor.name}"
        return f"{self.name}: {about}, about {max(seconds, 1):.0f} s each time"


def feature_scores(
    real: Tensor, noise: Noise, known: Tensor | None = None, digits: bool = False, n: int | None = None
) -> FeatureScores:
    """The scores of ``n`` samples of seed 0 against ``real`` images, uint8 ``[N, C, H, W]``.

    Of ``digits``: ``frechet`` of 10,000 samples against all real images, by the shipped digit classifier. Of other
    images: ``frechet_random`` of 5,000 samples against at most 10,000 real images, by a network with random weights.
    A conditional generator gets labels drawn from ``known``.
    """
    n = n or (10_000 if digits else 5000)
    if not digits:
        real = real[torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[: 2 * n]]
    extractor = (digit_extractor if digits else random_extractor)(torch.device("cpu"))
    z, labels = _shares(noise, known, n)
    name = "frechet" if digits else "frechet_random"
    return FeatureScores(name, extractor, extractor.features(real, what="real images"), z, labels, n)


def stack_modes(dataset: Dataset, noise: Noise, known: Tensor | None = None, n: int = 10_000) -> Evaluate:
    """A function: generator -> ``class_kl``, in nats, and ``classes_hit`` of 1000, for stacked digits.

    The shipped digit classifier labels each channel of the ``n`` samples of seed 0; see :func:`label_modes`. A perfect
    sampler gets a KL of about 0.05 with 10,000 samples.
    """
    extractor = extractor_for(dataset.image_shape, torch.device("cpu"), dataset.class_names)
    shares, (z, asked) = class_shares(dataset), _shares(noise, known, n)

    def evaluate(generator: nn.Module) -> dict[str, float]:
        labels = whole(torch.cat([extractor.labels(block) for block in generate(generator, z, labels=asked)]))[:n]
        found, divergence = label_modes(labels, shares)
        return {"class_kl": divergence, "classes_hit": found}

    return evaluate


def _shares(noise: Noise, known: Tensor | None, n: int) -> tuple[Tensor, Tensor | None]:
    """This process's share of the ``n`` latents of seed 0, and of labels drawn from ``known``."""
    return share(latents(noise, n, seed=0)), None if known is None else share(labels_like(known, n, seed=0))


def divergence(mixture: Mixture, discriminator: nn.Module, prior: str) -> Evaluate:
    """A function: generator -> ``jsd``, in nats, and ``d_error``, the ``discriminator``'s largest distance from 1/2.

    The data and the latent must have one dimension; see :class:`gan_cli.metrics.theory.Curves`.
    """

    def evaluate(generator: nn.Module) -> dict[str, float]:
        found = theory.curves(mixture, generator, discriminator, prior)
        return {"jsd": found.jsd, "d_error": found.d_error}

    return evaluate


def mode_counts(mixture: Mixture, noise: Noise, n: int = 2500) -> Evaluate:
    """A function: generator -> ``missed``, ``modes``, ``high_quality``, for mixtures of one std: see :func:`modes`.

    The scores are of ``n`` samples of seed 0. ``missed`` is the number of modes without a sample, plus the share of
    samples without a mode.
    """
    z = latents(noise, n, seed=0)

    def evaluate(generator: nn.Module) -> dict[str, float]:
        return mode_scores(generate_points(generator, z), mixture)

    return evaluate


def mode_scores(points: Tensor, mixture: Mixture) -> dict[str, float]:
    """``missed``, ``modes`` and ``high_quality`` of ``points`` ``[N, d]``, as :func:`mode_counts` explains them."""
    found, share = modes(points, mixture.means, mixture.stds[0].item())
    return {"missed": len(mixture.means) - found + 1 - share, "modes": found, "high_quality": share}
