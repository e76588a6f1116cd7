"""The complete state of a run. ``capture`` reads it, and ``restore`` loads it back bit for bit."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gan_cli.errors import UserError, one_line
from gan_cli.penalties import clip_weights
from gan_cli.rundir.checkpoint import Checkpoint, Progress
from gan_cli.training.batches import Batches
from gan_cli.training.device import random_states, set_random_states
from gan_cli.training.games import Game
from gan_cli.training.stopwatch import Stopwatch
from gan_cli.training.terms import Totals

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


@dataclass
class State:
    """The state of a run at one step.

    ``step`` is the number of generator updates so far. ``lr_scale`` multiplies the learning rates: it is 1, and less
    after a rollback from a non-finite step. ``best`` is the lowest score so far, None before the first evaluation.
    """

    game: Game
    optimizers: Mapping[str, Optimizer]
    batches: Batches
    device: torch.device
    totals: Totals = field(init=False)
    stopwatch: Stopwatch = field(init=False)
    step: int = 0
    lr_scale: float = 1.0
    best: float | None = None

    def __post_init__(self) -> None:
        self.totals, self.stopwatch = Totals(self.device), Stopwatch(self.device)

    @property
    def progress(self) -> Progress:
        """The progress of the run, in numbers."""
        return Progress(self.step, self.batches.position, self.stopwatch.seconds, self.lr_scale, self.best)

    def capture(self) -> tuple[dict[str, Tensor], dict[str, list[dict[str, Any]]]]:
        """The tensors of the run, by their names in a checkpoint, and each optimizer's settings."""
        modules = module_tensors(dict(self.game.named_children()))
        states, settings = optimizer_tensors(self.optimizers)
        totals = {f"terms.{name}": value for name, value in self.totals.state().items()}
        random = {f"rng.{name}": value for name, value in random_states(self.device).items()}
        return modules | states | totals | random, settings

    def restore(self, saved: Checkpoint) -> None:
        """Restore the state that ``saved`` holds, except the clock. UserError if the file does not fit."""
        for name, module in self.game.named_children():
            load_module(saved, name, module)
        for name, optimizer in self.optimizers.items():
            load_optimizer(saved, name, optimizer)
        _load_random_states(saved, self.device)
        progress = saved.progress
        self.step, self.batches.position = progress.step, progress.images
        self.lr_scale, self.best = progress.lr_scale, progress.best
        self.totals = Totals(self.device, saved.tensors("terms"))

    def describe(self, key: str) -> str:
        """The readable name of a tensor. An optimizer's tensor is shown with its parameter's name."""
        if not key.startswith("optimizer."):
            return key
        _, side, index, entry = key.split(".")
        networks = self.game.networks(side)
        names = [f"{name}.{part}" for name, network in networks.items() for part, _ in network.named_parameters()]
        return f"{entry} of {names[int(index)]}"


def make_optimizers(game: Game, make: Mapping[str, MakeOptimizer], clip: float | None = None) -> dict[str, Optimizer]:
    """One optimizer for each side of ``game``, for all networks of that side. The generator's optimizer is made first.

    With ``clip`` the discriminator's weights are clipped to [-clip, clip] after each discriminator update.
    """
    optimizers = {}
    for side in ("generator", "discriminator"):
        weights = [weight for network in game.networks(side).values() for weight in network.parameters()]
        optimizers[side] = in_memory_order(make[side](weights))
        for group in optimizers[side].param_groups:
            group["initial_lr"] = group["lr"]  # schedules multiply this rate
    if clip is not None:
        for network in game.networks("discriminator").values():
            optimizers["discriminator"].register_step_post_hook(partial(_clip, network, clip))
    return optimizers


def in_memory_order(optimizer: Optimizer) -> Optimizer:
    """``optimizer``; an Adam of torch then updates channels-last weights on a CPU in the order in which they lie.

    The update is the same for each number. torch's fused Adam copies each channels-last gradient into another order
    first, which takes twice the time of the update. The views that it is given here need no copy.
    """
    if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        optimizer._init_group = partial(_gather_views, optimizer._init_group)  # type: ignore[method-assign]
    return optimizer


def _gather_views(gather: Callable[..., bool], group: Mapping[str, Any], *lists: list[Tensor]) -> bool:
    """torch's ``gather`` puts weights, gradients, moments and steps in ``lists``. Channels-last ones become views."""
    found = gather(group, *lists)
    *tensors, _ = lists
    for place, aligned in enumerate(zip(*(column for column in tensors if column), strict=True)):
        if all(t.is_cpu and t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last) for t in aligned):
            for column in tensors:
                column[place : place + 1] = [t.permute(0, 2, 3, 1) for t in column[place : place + 1]]
    return found


def _clip(network: nn.Module, clip: float, *_: Any) -> None:
    """Clip the weights. A hook, called with an optimizer and the arguments of its step."""
    clip_weights(network, clip)


def module_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The weights and buffers of ``modules`` by their names in a checkpoint."""
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def optimizer_tensors(
    optimizers: Mapping[str, Optimizer],
) -> tuple[dict[str, Tensor], dict[str, list[dict[str, Any]]]]:
    """The state tensors of ``optimizers``, by their names in a checkpoint, and the settings of each optimizer."""
    tensors, settings = {}, {}
    for name, optimizer in optimizers.items():
        state = optimizer.state_dict()
        settings[name] = _settings(optimizer)
        for index, entries in state["state"].items():
            for key, value in entries.items():
                if value is not None:  # SGD without momentum stores None
                    tensors[f"optimizer.{name}.{index}.{key}"] = torch.as_tensor(value)
    return tensors, settings


def _settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The settings of ``optimizer``, as numbers. Whether it is capturable is a matter of the device and not saved."""
    groups = optimizer.state_dict()["param_groups"]
    return [
        {name: float(value) if name == "lr" else value for name, value in group.items() if name != "capturable"}
        for group in groups
    ]


def load_module(checkpoint: Checkpoint, name: str, module: nn.Module) -> None:
    """Load the weights and buffers saved as ``name`` into ``module``. UserError unless they fit exactly."""
    try:
        module.load_state_dict(checkpoint.tensors(name))
    except RuntimeError as error:
        raise UserError(f"the {name} in {checkpoint.path} doesn't fit its configuration: {one_line(error)}") from error


def load_optimizer(checkpoint: Checkpoint, name: str, optimizer: Optimizer) -> None:
    """Load the state and the settings saved as ``name`` into ``optimizer``. UserError if they do not fit."""
    try:
        _load_optimizer(checkpoint, name, optimizer)
    except Exception as error:  # optimizers do not check their state: any error may come up
        raise UserError(
            f"the {name}'s optimizer in {checkpoint.path} can't be read ({error!r}); use an older one"
        ) from error


def _load_optimizer(checkpoint: Checkpoint, name: str, optimizer: Optimizer) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in checkpoint.tensors(f"optimizer.{name}").items():
        index, entry = key.split(".")
        parameter = parameters[int(index)]
        fits = value.shape == parameter.shape  # then use the parameter's memory layout: fused steps need it
        if not fits and value.numel() != 1:
            raise ValueError(f"{key} has shape {list(value.shape)}")
        state.setdefault(int(index), {})[entry] = torch.empty_like(parameter).copy_(value) if fits else value
    fresh_groups = _settings(optimizer)
    groups = []
    for saved, fresh in zip(checkpoint.param_groups[name], fresh_groups, strict=True):
        group = {key: tuple(value) if isinstance(value, list) else value for key, value in dict(saved).items()}
        if wrong := [key for key in group.keys() & fresh.keys() - {"params"} if not _alike(group[key], fresh[key])]:
            raise TypeError(f"{wrong[0]}={group[wrong[0]]}")
        groups.append({**fresh, **group, "params": fresh["params"]})
    saved_state = {"state": state, "param_groups": groups}
    optimizer.load_state_dict(copy.deepcopy(saved_state))
    _try_out(optimizer)
    optimizer.load_state_dict(saved_state)


def _try_out(optimizer: Optimizer) -> None:
    """Take a step with zero gradients, and undo it. A bad state is then reported before step 1."""
    optimizer.zero_grad()
    before = {parameter: parameter.detach().clone() for parameter in optimizer.state}
    for parameter in before:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    with torch.no_grad():
        for parameter, value in before.items():
            parameter.copy_(value)
    optimizer.zero_grad()


def _alike(saved: Any, fresh: Any) -> bool:
    """Whether a ``saved`` setting has the same kind of value as the ``fresh`` one: a number for a number, and so on."""
    if isinstance(fresh, tuple | list):  # a list where torch keeps betas as they were given, as torch 2.6 does
        return isinstance(saved, tuple) and len(saved) == len(fresh) and all(map(_alike, saved, fresh))
    interchangeable: tuple[tuple[type, ...], ...] = ((int, float), (bool, type(None)))
    return type(saved) is type(fresh) or any({type(saved), type(fresh)} <= set(kinds) for kinds in interchangeable)


def _load_random_states(checkpoint: Checkpoint, device: torch.device) -> None:
    """Restore the states of torch's global random generators. UserError if the file lacks them."""
    try:
        set_random_states(checkpoint.tensors("rng"), device)
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"the random state in {checkpoint.path} can't be read ({error!r}); use an older one") from error
