"""A new run that begins with the weights of another one, and first layers of D that keep them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from gan_cli.errors import UserError
from gan_cli.rundir.checkpoint import Checkpoint
from gan_cli.training.games import Game

NAMED = 3  # tensors that did not fit and are named


def inherit(game: Game, parent: Checkpoint) -> str:
    """Copy the tensors of ``parent`` that fit into the networks of ``game``, and say in one line which did.

    A tensor fits if a network of the same name has a weight or buffer of the same name, shape and dtype. The average
    begins as G, and takes its own tensors of ``parent`` then. Only tensors are read: nothing that the file describes is
    built. UserError if no tensor fits, and if one is missing that a frozen layer keeps.
    """
    networks = game.networks("generator") | game.networks("discriminator")
    generator, total, left = next(iter(networks.values())), 0, []
    if "ema" in dict(game.named_children()):
        networks["ema"] = game.get_submodule("ema")
    for name, network in networks.items():
        if name == "ema":
            _copy(generator.state_dict(), network)
        tensors = parent.tensors(name)
        total += len(tensors)
        left += [f"{name}.{key}" for key in _copy(tensors, network)]
    if len(left) == total:
        raise UserError(
            f"init: none of the {total} tensors of {parent.path} fits by name and shape; choose the networks that it "
            "was trained with"
        )
    if kept := _frozen(game) - {f"{name}.{key}" for name in networks for key in parent.tensors(name)}.difference(left):
        raise UserError(
            f"freeze_d keeps {min(kept)} as init brings it, but {parent.path} has none of this shape: choose the "
            "networks that it was trained with, or leave freeze_d out"
        )
    taken = f"init: taken {total - len(left)} of {total} tensors of {parent.path}, step {parent.progress.step:,}"
    more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
    return taken + (f"; not taken: {', '.join(left[:NAMED])}{more}" if left else "")


def _frozen(game: Game) -> set[str]:
    """The names of the weights of D that keep their values."""
    networks = game.networks("discriminator").items()
    return {f"{name}.{key}" for name, d in networks for key, w in d.named_parameters() if not w.requires_grad}


@torch.no_grad()
def _copy(tensors: Mapping[str, Tensor], network: nn.Module) -> list[str]:
    """Copy ``tensors`` into the weights and buffers of ``network``. The names of those that do not fit."""
    own, left = network.state_dict(), []
    for name, value in tensors.items():
        if name in own and (own[name].shape, own[name].dtype) == (value.shape, value.dtype):
            own[name].copy_(value)
        else:
            left.append(name)
    return left


def freeze(discriminator: nn.Module, n: int) -> None:
    """Keep the weights of the first ``n`` layers as they are: FreezeD (Mo, Cho and Shin 2020, arXiv 2002.10964).

    The optimizer and a weight clipping pass these weights over. The buffers of these layers go on as those of the
    others do: spectral normalisation iterates towards the norm of the same weights, and batch normalisation takes the
    statistics of each batch and averages them. UserError if no layer would be left to train.
    """
    found = layers(discriminator)
    if n and n >= len(found):
        raise UserError(
            f"freeze_d={n} leaves nothing to train: this discriminator has {len(found)} layers with weights, so "
            f"freeze_d is at most {len(found) - 1}"
        )
    for weight in (weight for layer in found[:n] for weight in layer):
        weight.requires_grad_(False)


def layers(network: nn.Module) -> list[list[nn.Parameter]]:
    """The weights of each layer: of each module that has weights of its own, in the order of the modules.

    Weights that a module has beside those of its parts come after the parts: R3GAN's basis is used at the end. A layer
    with spectral normalisation is one module, although torch keeps its weight in another one within.
    """
    if is_parametrized(network):
        return [list(network.parameters())]
    own = list(network.parameters(recurse=False))
    return [layer for child in network.children() for layer in layers(child)] + [own] * bool(own)
