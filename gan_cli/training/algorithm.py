"""Algorithm 1 of Goodfellow et al. 2014: minibatch training of a generator against a discriminator."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import nn, set_grad_enabled
from torch.optim import Optimizer

from gan_cli.training.batches import Batch, Batches
from gan_cli.training.games import Game
from gan_cli.training.run import Run
from gan_cli.training.shares import shares
from gan_cli.training.terms import Terms, objective

UPDATES = ("alternating", "shared", "simultaneous")
Note = Callable[[str, Terms], Terms]  # records the terms of a side, and returns them
Iterate = Callable[[Game, Iterator[Batch], Mapping[str, Optimizer], Note, int, str], None]


def iterate(
    game: Game, batches: Iterator[Batch], optimizers: Mapping[str, Optimizer], note: Note, k: int, update: str
) -> None:
    """One outer iteration of Algorithm 1: ``k`` updates of the discriminator D, then one of the generator G.

    Each update of D is on a fresh minibatch of data and of noise. ``update`` names the images that G's update uses:

    - ``alternating``: images of fresh noise. The updated D judges them. This is the paper's Algorithm 1.
    - ``shared``: the images of D's last update. The updated D judges them again. This saves one forward pass of G.
    - ``simultaneous``: the images of D's last update. D judges them before that update. Both networks move from the
      same point, as in the code of the 2014 paper.
    """
    optimizer_g, optimizer_d = optimizers["generator"], optimizers["discriminator"]
    for turn in range(1, k + 1):
        batch = next(batches)  # m examples of p_data
        for share in shares(batch, game, optimizer_d):  # the whole minibatch, unless its work is divided
            with set_grad_enabled(update != "alternating" and turn == k):  # G's update reuses the last turn's images
                fake = game.generate(share)  # m examples of p_g
            differentiate(note("discriminator", game.discriminator_terms(share, fake)))
        if update != "simultaneous" or turn < k:
            optimizer_d.step()

    with frozen(game.networks("discriminator")):
        for share in shares(batch, game, optimizer_g):
            if update == "alternating":
                fake = game.generate(share)
            differentiate(note("generator", game.generator_terms(share, fake)))
    if update == "simultaneous":
        optimizer_d.step()
    optimizer_g.step()


def train(
    game: Game, batches: Batches, optimizers: Mapping[str, Optimizer], run: Run, *, k: int = 1,
    update: str = "alternating", one: Iterate = iterate,
) -> None:  # fmt: skip
    """Train the networks of ``game`` in place, as long as ``run`` goes on. Each step is ``one`` iteration."""
    for step in run.steps():
        one(game, batches, optimizers, run.noted, k, update)
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
