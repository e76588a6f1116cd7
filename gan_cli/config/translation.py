"""What a game of translation needs beside other games: facts for its networks, and a check that all of it fits."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from gan_cli.config import networks
from gan_cli.config.targets import target_of
from gan_cli.data import Dataset, Points
from gan_cli.data.pairs import Domains
from gan_cli.errors import UserError
from gan_cli.training.dann import DANN
from gan_cli.training.translation import Translation

GO_TOGETHER = {  # what a generator does: its data, and what to type
    "draws": ("images or points of one kind", "dataset=mnist or folder goes with game=adversarial and net=conv"),
    "translates": (
        "images of two domains",
        "dataset=pairs and dataset=unpaired go with game=pix2pix, cyclegan or cut, and net=unet or resnet_translator",
    ),
    "classifies": (
        "images of two domains, with labels of one", "dataset=digits_on_textures goes with game=dann and net=dann",
    ),
}  # fmt: skip


def check_fits(config: Mapping[str, Any], data: Dataset | Points | Domains) -> None:
    """UserError unless data, network and game are all for drawing, for translating, or for classifying images."""
    wanted, game = "draws", target_of(config["game"], "game")
    if isinstance(data, Domains):
        wanted = "translates" if data.labels is None else "classifies"
    kinds, advice = GO_TOGETHER[wanted]
    if wanted != (does := networks.does(config["net"])):
        raise UserError(f"the data are {kinds}, and this net's generator {does}: {advice}")
    own = not (isinstance(game, type) and game.__module__.startswith("gan_cli."))
    if not own and wanted != _plays(game):
        raise UserError(f"the data are {kinds}, and this game's generator {_plays(game)}: {advice}")


def _plays(game: Any) -> str:
    """What the generator of one of our games does."""
    return "translates" if issubclass(game, Translation) else "classifies" if issubclass(game, DANN) else "draws"


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
