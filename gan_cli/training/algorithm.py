"""Algorithm 1 of Goodfellow et al. 2014: minibatch training of a generator against a discriminator."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn, set_grad_enabled
from torch.optim import Optimizer

from gan_cli.training.batches import Batches
from gan_cli.training.games import Game
from gan_cli.training.run import Run
from gan_cli.training.shares import shares
from gan_cli.training.terms import Terms, objective

UPDATES = ("alternating", "shared", "simultaneous")


def train(
    game: Game, batches: Batches, optimizers: Mapping[str, Optimizer], run: Run, *, k: int = 1,
    update: str = "alternating",
) -> None:  # fmt: skip
    """Train the networks of ``game`` in place, as long as ``run`` goes on.

    One step is the outer iteration of Algorithm 1: ``k`` updates of the discriminator D, each on a fresh minibatch of
    data and of noise, then one update of the generator G. ``update`` names the fake images that G's update uses:

    - ``alternating``: images of fresh noise. The updated D judges them. This is the paper's Algorithm 1.
    - ``shared``: the images of D's last update. The updated D judges them again. This saves one forward pass of G.
    - ``simultaneous``: the images of D's last update. D judges them before that update. Both networks move from the
      same point, as in the code of the 2014 paper.
    """
    optimizer_g, optimizer_d = optimizers["generator"], optimizers["discriminator"]
    for step in run.steps():
        for turn in range(1, k + 1):
            batch = next(batches)  # m examples of p_data
            for share in shares(batch, game, optimizer_d):  # the whole minibatch, unless its work is divided
                with set_grad_enabled(
                    update != "alternating" and turn == k
                ):  # G's update reuses the last turn's images
                    fake = game.generate(share)  # m examples of p_g
                differentiate(run.noted("discriminator", game.discriminator_terms(share, fake)))
            if update != "simultaneous" or turn < k:
                optimizer_d.step()

        with frozen(game.networks("discriminator")):
            for share in shares(batch, game, optimizer_g):
                if update == "alternating":
                    fake = game.generate(share)
                differentiate(run.noted("generator", game.generator_terms(share, fake)))
        if update == "simultaneous":
            optimizer_d.step()
        optimizer_g.step()
        game.average(step, batches.batch_size)


def differentiate(terms: Terms) -> None:
    """Add to the gradients of the weights that of the sum of the terms' weighted means."""
    objective(terms).backward()


@contextmanager
def frozen(networks: Mapping[str, nn.Module]) -> Iterator[None]:
    """Freeze the weights of ``networks`` within this context. Weights that were frozen before stay frozen afterwards.

    The generator's update needs D's gradient with respect to D's input only.
    """
    trainable = [weight for network in networks.values() for weight in network.parameters() if weight.requires_grad]
    for weight in trainable:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trainable:
            weight.requires_grad_(True)
