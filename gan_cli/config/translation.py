"""What a game of translation needs beside other games: facts for its networks, and a check that all of it fits."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from gan_cli.config import networks
from gan_cli.config.targets import target_of
from gan_cli.data import Dataset, Points
from gan_cli.data.pairs import Domains
from gan_cli.errors import UserError
from gan_cli.training.translation import Translation

ADVICE = "dataset=pairs and dataset=unpaired go with game=pix2pix or cyclegan, and net=unet or resnet_translator"


def check_fits(config: Mapping[str, Any], data: Dataset | Points | Domains) -> None:
    """UserError unless data, game and networks all translate images, or none of them does."""
    domains, game = isinstance(data, Domains), target_of(config["game"], "game")
    plays = isinstance(game, type) and issubclass(game, Translation)
    own = not (isinstance(game, type) and game.__module__.startswith("gan_cli."))
    if domains != networks.translates(config["net"]):
        kinds = "two domains" if domains else "one"
        does = "draws from noise" if domains else "translates images"
        raise UserError(f"the data are of {kinds}, and this net {does}: {ADVICE}")
    if domains != plays and not own:
        raise UserError(f"the data are of {'two domains' if domains else 'one'}, and the game is not: {ADVICE}")


def network_facts(config: Mapping[str, Any], source_channels: int) -> dict[str, int]:
    """The facts about the sources: their channels, and how many of them a discriminator of this game sees."""
    sees = getattr(target_of(config["game"], "game"), "sees_source", False)
    return {"source_channels": source_channels, "condition_channels": source_channels if sees else 0}


def reversed_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The ``facts`` of the networks of the other direction."""
    channels, *sides = facts["image_shape"]
    return {**facts, "image_shape": (facts["source_channels"], *sides), "source_channels": channels}


def game_facts(net: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a game of translation may take beside the facts of other games.

    ``image_shape`` and ``source_channels``, and ``reverse``: a function that makes the generator and the discriminator
    of the other direction. ``facts`` are those of the networks.
    """
    known = {name: facts[name] for name in ("image_shape", "source_channels")}
    return {**known, "reverse": partial(networks.pair, net, reversed_facts(facts))}
