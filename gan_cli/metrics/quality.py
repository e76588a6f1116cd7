"""Scores of a generator, during and after training: a dict by name. A lower value of the first score is better."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan_cli.data import Dataset, Mixture, Points
from gan_cli.data.idx import STACKS
from gan_cli.errors import UserError
from gan_cli.metrics import theory
from gan_cli.metrics.extractor import are_digits, digit_extractor, extractor_for, pixel_extractor
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.metrics.modes import class_shares, label_modes, modes
from gan_cli.metrics.precision_recall import precision_recall
from gan_cli.noise import Noise
from gan_cli.processes import share, whole
from gan_cli.sampling import generate, generate_points, labels_like, latents

Evaluate = Callable[[nn.Module], dict[str, float]]


def scores(dataset: Dataset | Points, discriminator: nn.Module, noise: Noise, conditional: bool = False) -> Evaluate:
    """The function: generator -> scores, that suits ``dataset``. UserError if there is no score for such data.

    A ``conditional`` generator gets labels drawn from those of the data.
    """
    known = dataset.labels if conditional else None
    if isinstance(dataset, Dataset) and dataset.class_names == STACKS:
        return stack_modes(dataset, noise, known)
    if isinstance(dataset, Dataset):
        return grey_scores(dataset.images, noise, known, are_digits(dataset.image_shape, dataset.class_names))
    if dataset.mixture is None:
        raise UserError("there is no score for points of no known mixture: leave eval_every out")
    if dataset.image_shape == (1,):
        return divergence(dataset.mixture, discriminator, noise.prior)
    return mode_counts(dataset.mixture, noise)


def grey_scores(
    real: Tensor, noise: Noise, known: Tensor | None = None, digits: bool = True, n: int = 10_000
) -> Evaluate:
    """A function: generator -> ``frechet``, ``precision``, ``recall``, for grey images of 28x28.

    The features of ``digits`` are the shipped digit classifier's 128; of other images they are the pixels. ``real`` are
    all the images to compare with, uint8 ``[N, 1, 28, 28]``. Their features are computed once, here. The ``n`` samples
    are those of seed 0. Precision and recall (k = 3) compare the samples with ``n`` real images. A conditional
    generator gets labels drawn from ``known``. UserError for images of another shape.
    """
    if tuple(real.shape[1:]) != (1, 28, 28):
        raise UserError(f"the scores are for grey images of 28x28, not {list(real.shape[1:])}: leave eval_every out")
    extractor = digit_extractor(torch.device("cpu")) if digits else pixel_extractor((1, 28, 28))
    real_features = extractor.features(real)
    z, labels = _shares(noise, known, n)
    some = real_features[torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[:n]]

    def evaluate(generator: nn.Module) -> dict[str, float]:
        features = whole(extractor.features(torch.cat(list(generate(generator, z, labels=labels)))))[:n]
        precision, recall = precision_recall(some, features)
        return {"frechet": frechet_distance(real_features, features), "precision": precision, "recall": recall}

    return evaluate


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
