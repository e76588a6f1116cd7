"""The plan of a run from its configuration."""

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from gan_cli.augment import ADA
from gan_cli.errors import UserError
from gan_cli.training import graphs
from gan_cli.training.games import Game
from gan_cli.training.plan import Plan
from gan_cli.training.schedule import Schedule


def plan(config: Mapping[str, Any], game: Game, optimizers: Mapping[str, Optimizer]) -> Plan:
    """The plan that ``config`` describes. UserError if its schedule moves what ``game`` or ``optimizers`` lack."""
    schedule = Schedule(**config["schedule"])
    moving = schedule.moving()
    for name in sorted(moving - {"lr", "beta2"} - game.follows):
        raise UserError(f"schedule.{name}: {type(game).__name__} has none: leave it out")
    if "penalty" in moving and getattr(game, "penalty", None) is None:
        raise UserError("schedule.penalty needs a penalty: add penalty=r1r2, or leave it out")
    if "augment_p" in moving and not isinstance(getattr(game, "augment", None), ADA):
        raise UserError("schedule.augment_p is the probability of augment=ada: add it, or leave schedule.augment_p out")
    groups = [group for optimizer in optimizers.values() for group in optimizer.param_groups]
    if "beta2" in moving and any("betas" not in group for group in groups):
        raise UserError("schedule.beta2 is for optimizers with two betas: use optimizer=adam, or leave it out")
    graphs.check(config["graphs"], moving)
    return Plan(**{name: config[name] for name in Plan.__dataclass_fields__ if name != "schedule"}, schedule=schedule)
