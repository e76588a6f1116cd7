"""A run from a configuration: ``assemble`` combines its parts."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import nn

from gan_cli.config import networks, parts, translation
from gan_cli.config.advice import unsound
from gan_cli.config.data import class_names, image_shape, left_out, training_data
from gan_cli.config.display import display, observed
from gan_cli.config.plans import plan
from gan_cli.config.saved import SavedRun
from gan_cli.config.targets import (
    check_options,
    functions,
    instantiated,
    target_of,
)
from gan_cli.data.pairs import Domains
from gan_cli.errors import UserError, one_line
from gan_cli.rundir import checkpoint
from gan_cli.rundir.checkpoint import Checkpoint
from gan_cli.rundir.records import Sink
from gan_cli.training import device as devices
from gan_cli.training import shares
from gan_cli.training.batches import Batches
from gan_cli.training.device import Compute
from gan_cli.training.games import Average, Game
from gan_cli.training.inherit import freeze, inherit
from gan_cli.training.plan import Plan
from gan_cli.training.state import State, make_optimizers


class Assembled(NamedTuple):
    """A run that is ready to start.

    ``draw`` makes the picture of a step. ``evaluate`` computes the current scores, and ``observe`` the signals of the
    samples. Each checkpoint saves ``config``. ``notes`` are the lines to show before the run starts. ``found`` are
    lines about the user's own data, their augmentation and the cost of scores; some are empty.
    """

    state: State
    plan: Plan
    k: int
    update: str
    compute: Compute
    draw: Callable[[int], Image.Image]
    evaluate: Callable[[], Mapping[str, float]] | None
    sinks: Mapping[str, Sink]
    config: Mapping[str, Any]
    notes: Sequence[str]
    found: Sequence[str] = ()
    observe: Callable[[], Mapping[str, float]] | None = None


def assemble(config: Mapping[str, Any], saved: SavedRun | None = None) -> Assembled:
    """The run that ``config`` (plain data, checked and trusted) describes. With ``saved``, that run is continued.

    Weights are drawn from ``config["seed"]``, then taken from ``config["init"]`` as far as they fit. UserError if
    a part is unavailable or does not fit another part.
    """
    parent = checkpoint.read(config["init"]) if config["init"] and not saved else None
    compute = computing(config)
    torch.manual_seed(config["seed"])
    pair = saved.networks(config) if saved else None  # before the data, which may be too large for these networks
    data = training_data(config["dataset"])
    if saved:
        saved.check_unchanged(data)
    image_shape(data.image_shape, "the dataset")
    translation.check_fits(config, data)
    held_back = parts.penalty(config["penalty"])
    augmentation = parts.augment(config["augment"], data.image_shape, len(data))
    names = class_names(config["conditional"], data)
    if saved:
        saved.check_classes(names)
        saved.check_files(data)
    of_data: dict[str, Any] = {**data.facts, "classes": len(names)}
    if isinstance(data, Domains):
        of_data |= translation.network_facts(config, data.source_channels)
    generator, discriminator = pair or networks.pair(config["net"], of_data)
    check_batch_size(config["batch_size"], generator, discriminator)
    facts: dict[str, Any] = {
        "generator": generator, "discriminator": discriminator, "loss": parts.loss(config["loss"]),
        "penalty": held_back, "augment": augmentation, "average": Average(**config["ema"]), "compute": compute,
    }  # fmt: skip
    if isinstance(data, Domains):
        facts |= translation.game_facts(config["net"], of_data)
    else:
        facts["noise"] = networks.noise(config["net"])
    played = game(config["game"], facts)
    for network in played.networks("discriminator").values():
        freeze(network, config["freeze_d"])
    inherited = [inherit(played, parent)] if parent else []
    threads = devices.threads(config["threads"], compute.device, (generator, discriminator))
    torch.set_num_threads(threads)
    shares.check(config["batch_size"], config["accumulate"], config["update"], played.children())
    batches = Batches(
        data, config["batch_size"], config["seed"], compute.device, config["conditional"], config["accumulate"]
    )
    made = make_optimizers(played, parts.optimizers(config["optimizer"]), held_back.clip)
    shown = display(config, data, played, len(names))
    aside = left_out(config["dataset"], data)
    return Assembled(
        state=State(played, made, batches, compute.device),
        plan=plan(config, played, made),
        k=config["k"],
        update=config["update"],
        compute=compute,
        draw=shown.draw,
        evaluate=shown.evaluate,
        sinks=functions(config["sinks"], "sinks"),
        config={
            **config,
            "threads": threads,
            "image_shape": list(data.image_shape),
            **({"source_channels": data.source_channels} if isinstance(data, Domains) else {}),
            "examples": len(data),
            "class_names": names,
            "fingerprint": data.fingerprint,
            **({"licence": licence} if (licence := getattr(data, "licence", None)) else {}),
            **origin(parent, saved),
        },
        notes=[*inherited, *unsound(config, discriminator)],
        found=[getattr(data, "description", ""), getattr(augmentation, "about", ""), shown.cost],
        observe=observed(data, played, facts.get("noise"), config["seed"], config["conditional"], aside),
    )


def origin(parent: Checkpoint | None, saved: SavedRun | None) -> dict[str, Any]:
    """The checkpoint whose weights a run began with, for its configuration: digest and step. A ``saved`` run has it."""
    if parent:
        return {"init_digest": parent.digest, "init_step": parent.progress.step}
    was = saved.checkpoint.config if saved else {}
    return {name: was[name] for name in ("init_digest", "init_step") if name in was}


def computing(config: Mapping[str, Any]) -> Compute:
    """Set this process up for the device and the precision in ``config``. UserError if they are unavailable."""
    device = devices.device(config["device"])
    devices.prepare(device, config["deterministic"])
    bf16 = devices.bf16(config["precision"], device)
    return Compute(device, bf16, config["compile"], graphs=config["graphs"])


def game(node: Mapping[str, Any], facts: Mapping[str, Any]) -> Game:
    """The game that ``node`` names. Its constructor gets those ``facts`` that it has parameters for.

    A constructor with ``**parts`` gets all ``facts``.
    """
    if "_partial_" in node:
        raise UserError(f"game: {node.get('_target_')} is a class: leave _partial_ out")
    check_options(node, "game")
    wanted = inspect.signature(target_of(node, "game")).parameters
    # Bind first and call afterwards, because Hydra would copy the networks.
    make = instantiated({**node, "_partial_": True}, "game")
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted.values())
    given = {name: fact for name, fact in facts.items() if (takes_all or name in wanted) and name not in node}
    for name, fact in {"penalty": facts["penalty"].function, "augment": facts["augment"]}.items():
        if fact is not None and name not in given:
            raise UserError(f"game: {target_of(node, 'game').__name__} takes no {name}: add {name}=none")
    try:
        found = make(**given)
    except (TypeError, ValueError) as error:
        raise UserError(f"game: {one_line(error)}") from error
    if not isinstance(found, Game):
        raise UserError(f"game: {node['_target_']} gives a {type(found).__name__}, not a gan_cli.training.games.Game")
    return found


def check_batch_size(batch_size: int, *networks: nn.Module) -> None:
    """UserError if a network has a BatchNorm1d that cannot normalise a batch of one image."""
    if batch_size == 1 and any(isinstance(m, nn.BatchNorm1d) for network in networks for m in network.modules()):
        raise UserError("batch_size=1 is too small for batch normalisation of single numbers: use 2 or more")
