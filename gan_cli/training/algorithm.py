"""Algorithm 1 of Goodfellow et al. 2014: minibatch training of a generator against a discriminator."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn, set_grad_enabled
from torch.optim import Optimizer

from gan_cli.training.batches import Batches
from gan_cli.training.games import Game
from gan_cli.training.run import Run
from gan_cli.training.terms import Terms, objective

UPDATES = ("alternating", "shared", "simultaneous")


def train(
    game: Game, batches: Batches, optimizers: Mapping[str, Optimizer], run: Run, *, k: int = 1,
    update: str = "alternating",
) -> None:  # fmt: skip
    """Train the networks of ``game`` in place, as long as ``run`` goes on.

    One step is the outer iteration of Algorithm 1: ``k`` updates of the discriminator D, each on a fresh minibatch of
    data and of noise, then one update of the generator G. ``update`` says what the generator's update is taken on:

    - ``alternating``: fresh noise, judged by the updated D. This is the paper's Algorithm 1.
    - ``shared``: the images of D's last update, judged again by the updated D. One forward pass of G is saved.
    - ``simultaneous``: the same images, judged before D's last update is made. Both networks move from the same point,
      as in the code of the 2014 paper.
    """
    optimizer_g, optimizer_d = optimizers["generator"], optimizers["discriminator"]
    for step in run.steps():
        for turn in range(1, k + 1):
            batch = next(batches)  # m examples of p_data
            with set_grad_enabled(update != "alternating" and turn == k):  # G's update goes on from the last of them
                fake = game.generate(batch)  # m examples of p_g
            differentiate(run.noted("discriminator", game.discriminator_terms(batch, fake)), optimizer_d)
            if update != "simultaneous" or turn < k:
                optimizer_d.step()

        with frozen(game.networks("discriminator")):
            if update == "alternating":
                fake = game.generate(batch)
            differentiate(run.noted("generator", game.generator_terms(batch, fake)), optimizer_g)
        if update == "simultaneous":
            optimizer_d.step()
        optimizer_g.step()
        game.average(step, batches.batch_size)


def differentiate(terms: Terms, optimizer: Optimizer) -> None:
    """Put the gradient of the sum of the terms' weighted means into the weights of ``optimizer``, and nothing else."""
    optimizer.zero_grad()
    objective(terms).backward()


@contextmanager
def frozen(networks: Mapping[str, nn.Module]) -> Iterator[None]:
    """Within this context no weight of ``networks`` gets a gradient; what was frozen before stays frozen after it.

    The generator's update needs D's gradient in D's input, not in D's weights.
    """
    trainable = [weight for network in networks.values() for weight in network.parameters() if weight.requires_grad]
    for weight in trainable:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trainable:
            weight.requires_grad_(True)
