"""What a run shows of its generator: a picture by the step, and scores."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from gan_cli import processes
from gan_cli.config import networks
from gan_cli.config.data import held_out_domains
from gan_cli.config.targets import functions
from gan_cli.data import Dataset, Points
from gan_cli.data.pairs import Domains, Pairs
from gan_cli.errors import UserError
from gan_cli.metrics import adaptation, quality
from gan_cli.metrics import translation as measures
from gan_cli.metrics.own import OwnMetric, own_numbers
from gan_cli.metrics.signals import checkerboard, diversity, memorisation, saturation
from gan_cli.noise import Noise
from gan_cli.pictures.classes import rows_of_classes
from gan_cli.pictures.samples import drawing
from gan_cli.pictures.translations import translations
from gan_cli.sampling import class_rows, generate, judge, labels_like, latents, to_uint8
from gan_cli.training.games import Game
from gan_cli.training.translation import CycleGAN
from gan_cli.translating import mode_for

OBSERVED = 64  # samples of which the signals of a tick are made
OWN = 1000  # samples that scores of the user's own are given


class Shown(NamedTuple):
    """A run's pictures by the step; its scores if it is evaluated, and a line about their cost, if that is known."""

    draw: Callable[[int], Image.Image]
    evaluate: Callable[[], Mapping[str, float]] | None
    cost: str = ""


def display(config: Mapping[str, Any], data: Dataset | Points | Domains, played: Game, classes: int) -> Shown:
    """What a run shows of its generator. UserError if the data have no picture, or no score to evaluate."""
    evaluated = config["eval_every"] is not None
    if isinstance(data, Domains):
        check_no_own(config)
        if data.labels is not None:
            return classified(config, played, classes, evaluated)
        held, mode = held_images(data, config["dataset"]), mode_for(config["batch_size"])
        draw = translated(held, played, config["samples"], mode)
        return Shown(draw, translation_scores(held, played, mode) if evaluated else None)
    noise = networks.noise(config["net"])
    draw = pictures(data, played, noise, config["samples"], config["seed"], classes)
    if not evaluated:
        return Shown(draw, None)
    own, generator = functions(config["own_metrics"], "own_metrics"), played.sampled()
    evaluate = scores(data, played, noise, config["conditional"], needed=not own)
    cost = evaluate.cost(generator) if isinstance(evaluate, quality.FeatureScores) else ""
    if own:
        samples = sampler(data, noise, OWN, config["seed"], config["conditional"])
        evaluate = partial(_with_own, evaluate, own, samples, data.examples)
    return Shown(draw, partial(evaluate, generator), cost)


def _with_own(
    evaluate: quality.Evaluate,
    own: Mapping[str, OwnMetric],
    samples: Callable[[nn.Module], Tensor],
    real: Tensor,
    generator: nn.Module,
) -> dict[str, float]:
    """The scores of ``generator``, and those of the user's ``own``, which may write: the leader alone calls them."""
    scores = evaluate(generator)
    found = processes.together(lambda: own_numbers(own, samples(generator), real) if processes.leads() else {})
    return {**scores, **processes.told(found)}


def sampler(
    data: Dataset | Points, noise: Noise, n: int, seed: int, conditional: bool
) -> Callable[[nn.Module], Tensor]:
    """A function: generator -> ``n`` samples, like the data's examples, of the same latents and labels each time."""
    z, known = latents(noise, n, seed), data.labels if conditional else None
    labels = None if known is None else labels_like(known, n, seed)
    finish = to_uint8 if isinstance(data, Dataset) else Tensor.float
    return lambda generator: torch.cat(list(generate(generator, z, finish=finish, labels=labels)))


def pictures(
    data: Dataset | Points, played: Game, noise: Noise, n: int, seed: int, classes: int = 0
) -> Callable[[int], Image.Image]:
    """A function that maps the step to a picture of samples. It uses the same ``n`` latents (or a few more) each time.

    UserError if the data cannot be shown in a picture.
    """
    labels = class_rows(range(min(classes, n)), n) if classes else None
    z = latents(noise, n if labels is None else len(labels), seed)
    discriminator = next(iter(played.networks("discriminator").values()))
    draw, generator = drawing(data, discriminator, noise.prior, z, labels), played.sampled()
    return lambda step: draw(step, generator)


def scores(
    data: Dataset | Points, played: Game, noise: Noise, conditional: bool, needed: bool = True
) -> quality.Evaluate:
    """The scores of a generator of the game. If none applies to the data: UserError, or no score if none is needed."""
    discriminator = next(iter(played.networks("discriminator").values()))
    try:
        return quality.scores(data, discriminator, noise, conditional)
    except UserError:
        if needed:
            raise
        return lambda generator: {}


def observed(
    data: Dataset | Points | Domains,
    played: Game,
    noise: Noise | None,
    seed: int,
    conditional: bool = False,
    held: Dataset | None = None,
) -> Callable[[], Mapping[str, float]] | None:
    """A function that makes the signals of :data:`OBSERVED` samples, beside as many examples of the data.

    It uses the same latents, labels and examples each time. With ``held``, images that training leaves out, it measures
    how far D memorises. None for a game that translates: its output follows its input, and has no diversity of its own.
    """
    if noise is None or isinstance(data, Domains) or len(data) < 2:
        return None
    draw, shown = sampler(data, noise, OBSERVED, seed, conditional), spread(data, OBSERVED)
    real = data.examples[shown]
    remembered = memory(data, held, played, seed, conditional) if isinstance(data, Dataset) and held else None

    def observe() -> dict[str, float]:
        samples = draw(played.sampled())
        found = diversity(samples, real)
        if isinstance(data, Dataset):
            found |= {
                "sample_saturation": saturation(samples, real),
                "sample_checkerboard": checkerboard(samples, real),
            }
        if remembered:
            found["r_v"] = remembered(samples)
        return found

    return observe


def spread(data: Dataset | Points, most: int) -> Tensor:
    """The places of at most ``most`` examples, evenly spread over ``data``."""
    return torch.linspace(0, len(data) - 1, min(most, len(data))).long()


def memory(data: Dataset, held: Dataset, played: Game, seed: int, conditional: bool) -> Callable[[Tensor], float]:
    """A function: the samples of :func:`observed` -> r_v, by examples of ``data`` and of ``held``."""
    discriminator = next(iter(played.networks("discriminator").values()))

    def examples(some: Dataset) -> tuple[Tensor, Tensor | None]:
        places = spread(some, OBSERVED)
        return some.images[places], some.labels[places] if conditional and some.labels is not None else None

    kinds = [examples(data), examples(held)]
    asked = labels_like(data.labels, OBSERVED, seed) if conditional and data.labels is not None else None
    return lambda samples: memorisation(
        *(judge(discriminator, data.network_input(images), labels) for images, labels in [*kinds, (samples, asked)])
    )


def check_no_own(config: Mapping[str, Any]) -> None:
    """UserError for own metrics of a run that translates: they are functions of samples that come from noise."""
    if config["own_metrics"]:
        raise UserError("own_metrics are for generators that draw from noise: leave own_metrics out")


def classified(config: Mapping[str, Any], played: Game, classes: int, evaluated: bool) -> Shown:
    """The pictures of a classifier, which show held-out targets in the rows of their classes, and its scores.

    UserError if the data have no held-out pairs with labels.
    """
    held, generator = held_out_domains(config["dataset"]), played.sampled()
    if not isinstance(held, Pairs) or held.labels is None:
        raise UserError("a classifier of two domains needs held-out pairs with labels: a dataset with the split test")
    draw = rows_of_classes(held.targets[: 40 * classes], classes, max(1, config["samples"] // classes))
    evaluate = partial(adaptation.scores, generator, held.sources, held.targets, held.labels) if evaluated else None
    return Shown(lambda step: draw(step, generator), evaluate)


class Held(NamedTuple):
    """Images to look at and to measure: sources, targets, uint8 ``[N, C, H, W]``; are they pairs; their split."""

    sources: Tensor
    targets: Tensor
    paired: bool
    split: str


def held_images(data: Domains, node: Mapping[str, Any]) -> Held:
    """The held-out images of the ``dataset`` group ``node``, or the middle of ``data``, the training images."""
    held = held_out_domains(node)
    split, held = ("test", held) if held else ("train", data)
    height, width = held.jitter.sides
    sources, targets = (
        images[..., (images.shape[-2] - height) // 2 :, (images.shape[-1] - width) // 2 :][..., :height, :width]
        for images in (held.sources, held.targets)
    )
    return Held(sources, targets, isinstance(held, Pairs), split)


def translated(held: Held, played: Game, n: int, mode: str) -> Callable[[int], Image.Image]:
    """A function that maps the step to a picture of ``n`` images, fewer if there are fewer, spread over all of them.

    The picture shows source, output and, of pairs, target.
    """
    spread = torch.linspace(0, len(held.sources) - 1, min(n, len(held.sources))).long()
    draw = translations(held.sources[spread], held.targets[spread] if held.paired else None, mode)
    generator = played.sampled()
    return lambda step: draw(step, generator)


def translation_scores(held: Held, played: Game, mode: str) -> Callable[[], Mapping[str, float]]:
    """A function that computes the scores of the game's translations."""
    back = played.get_submodule("backward_ema") if isinstance(played, CycleGAN) else None
    return partial(measures.scores, played.sampled(), held.sources, held.targets, held.paired, mode, backward=back)
