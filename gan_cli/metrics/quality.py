"""How good a generator's digits are, while it trains and after."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan_cli import images
from gan_cli.errors import UserError
from gan_cli.metrics.classifier import mnist_features
from gan_cli.metrics.frechet import frechet_distance


def digit_frechet(real: Tensor, prior: str, z_dim: int, n: int = 10_000) -> Callable[[nn.Module], dict[str, float]]:
    """A function: generator -> ``{"frechet": its Fréchet distance}``, by the shipped digit classifier's 128 features.

    ``real`` are all the images to compare with, uint8 ``[N, 1, 28, 28]``; their features are taken once, here. The
    ``n`` samples are those of seed 0. UserError for images of another shape, which the classifier can't judge.
    """
    if tuple(real.shape[1:]) != (1, 28, 28):
        raise UserError(
            f"the digit classifier judges grey images of 28x28, not {list(real.shape[1:])}: leave eval_every out"
        )
    real_features, latents = mnist_features(real), images.latents(prior, n, z_dim, seed=0)

    def evaluate(generator: nn.Module) -> dict[str, float]:
        fake = torch.cat(list(images.generate(generator, latents)))
        return {"frechet": frechet_distance(real_features, mnist_features(fake))}

    return evaluate
