"""``gan-train plan=true``: what a run would take, from a few steps in memory. Nothing is written."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from gan_cli.config.build import Assembled, assemble
from gan_cli.config.defaults import settled
from gan_cli.errors import UserError
from gan_cli.training.device import described
from gan_cli.training.rehearsal import Rehearsal, largest_layers, parameters, rehearse


def run(config: Mapping[str, Any]) -> str:
    """The forecast of the run that ``config`` describes, as text. UserError if no batch size fits."""
    config = settled(config)
    if config["resume"]:
        raise UserError("plan=true is for a new run: leave resume out")
    size, refused = config["batch_size"], list[int]()
    while True:
        try:
            parts = assemble({**config, "batch_size": size})
            found = rehearse(parts.state, parts.plan.lr_decay_after, parts.k, parts.update)
            break
        except torch.OutOfMemoryError:
            refused.append(size)
            size //= 2
            torch.cuda.empty_cache()
        if size < 2:
            raise UserError(
                f"{_fits_not(refused)}, and no smaller one does: choose narrower networks or a smaller size"
            )
    return "\n".join(
        [*_of(parts, found, config), *([f"{_fits_not(refused)}: batch_size={size} does"] if refused else [])]
    )


def _fits_not(refused: list[int]) -> str:
    return f"batch_size={refused[0]} doesn't fit the memory"


def _of(parts: Assembled, found: Rehearsal, config: Mapping[str, Any]) -> list[str]:
    """The lines of the forecast."""
    state, compute, plan = parts.state, parts.compute, parts.plan
    shape, seconds = "x".join(map(str, parts.config["image_shape"])), found.seconds * plan.steps
    limited = min(seconds, plan.max_seconds or math.inf)
    lines = [
        f"on {described(compute.device, compute.bf16, compute.compile, state.batches.resident)}",
        f"data: {parts.config['examples']:,} examples of {shape}",
        *filter(None, parts.found),
    ]
    for side in ("generator", "discriminator"):
        for name, network in state.game.networks(side).items():
            layers = ", ".join(f"{layer} {count:,}" for layer, count in largest_layers(network))
            lines.append(f"{name}: {parameters(network):,} weights; most in {layers}")
    epochs = plan.steps * state.batches.batch_size / parts.config["examples"]
    saved = sum(tensor.numel() * tensor.element_size() for tensor in state.capture()[0].values())
    files = min(plan.keep or math.inf, 1 + plan.steps // plan.checkpoint_every) + (plan.eval_every is not None)
    lines += [
        f"a step: {found.seconds * 1000:,.1f} ms, {found.flop / 1e9:,.2f} GFLOP, {found.operators:,} operators",
        f"memory: {_bytes(found.before)} before the first step, {_bytes(found.most)} at most",
        f"the run: {plan.steps:,} steps, {epochs:,.1f} epochs, {_time(limited)} without pictures and evaluations",
        f"the disk: {files:,.0f} checkpoints of {_bytes(saved)}, {_bytes(files * saved)} in all",
    ]
    return [*lines, *(f"advice: {note}" for note in parts.notes)]


def _bytes(n: float) -> str:
    unit, divisor = next((u, d) for u, d in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1)) if n >= d or d == 1)
    return f"{n / divisor:,.1f} {unit}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
