"""Algorithm 1 of Goodfellow et al. 2014: minibatch training of a generator against a discriminator."""

import contextlib
import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gan_cli import checkpoint, ema, figures, images
from gan_cli.checkpoint import Checkpoint, Progress
from gan_cli.data import Dataset, Sampler, to_unit
from gan_cli.errors import TrainingDiverged
from gan_cli.noise import sample_noise
from gan_cli.signals import stop_on_signal
from gan_cli.stats import Display, Log, Stopwatch, Window

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Penalty = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


class Outcome(NamedTuple):
    """How a run ended: its last step, its last tick's record, and the signal that stopped it, if one did."""

    step: int
    metrics: Mapping[str, float]
    signum: int | None


def lr_factor(images: float, decay_after: float | None) -> float:
    """What the learning rates are multiplied by: 1, and from ``decay_after`` images on sqrt(decay_after / images).

    The inverse square root (as in Karras et al. 2024, arXiv 2312.02696) knows no end of the run, so that ``steps`` can
    be raised later on.
    """
    return 1.0 if decay_after is None else min(1.0, math.sqrt(decay_after / max(images, 1.0)))


def train(
    generator: nn.Module,            # latents [N, z_dim] -> images [N, C, H, W] in [-1, 1]
    discriminator: nn.Module,        # images -> logits [N]
    dataset: Dataset,                # uint8 images, resident on the device
    loss: Loss,                      # real and fake logits -> per-sample terms of D and of G
    make_optimizer_g: MakeOptimizer, # parameters -> optimizer
    make_optimizer_d: MakeOptimizer,
    *,
    run_dir: Path,                   # where everything is written
    steps: int,                      # generator steps, all in all
    k: int = 1,                      # discriminator steps per generator step
    batch_size: int = 64,            # m, the minibatch
    z_dim: int = 100,                # dimensions of the latent z
    prior: str = "normal",           # the noise prior p_z
    penalty: Penalty | None = None,  # D, real, fake -> per-sample terms
    penalty_interval: int = 1,       # taken on every so manyth D step, times as much
    lr_decay_after: float | None = None,  # images of G's after which learning rates fall as 1/sqrt(images)
    ema_half_life: float = 20_000,   # of the averaged generator, in images
    ema_ramp: float | None = 0.04,   # half-life at most this part of the images so far
    max_seconds: float | None = None,  # stop after so much training time
    seed: int = 0,                   # order of the data, and the latents of the sample grids
    device: torch.device | str = "cpu",
    bf16: bool = False,              # autocast both networks to bfloat16; penalties stay float32
    log_every: int = 100,            # steps between ticks, sample grids, checkpoints
    sample_every: int = 500,
    checkpoint_every: int = 1000,
    samples: int = 64,               # images in a grid
    config: Mapping[str, Any] | None = None,  # JSON-able, saved in each checkpoint
    resume: Checkpoint | None = None,  # go on from here
) -> Outcome:  # fmt: skip
    """Train both networks in place and write the run folder.

    One step is Algorithm 1's outer iteration: ``k`` updates of D, each on a fresh minibatch of data and of noise, then
    one update of G on fresh noise. A run that is stopped and resumed ends with the same bits as one left alone, on the
    same machine. Raises TrainingDiverged when a loss or a weight is no longer finite; nothing such is saved.
    """
    device = torch.device(device)
    for network in (generator, discriminator):
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster convolutions
    average = copy.deepcopy(generator).requires_grad_(False)
    optimizer_g, optimizer_d = make_optimizer_g(generator.parameters()), make_optimizer_d(discriminator.parameters())
    modules = {"generator": generator, "discriminator": discriminator, "ema": average}
    optimizers = {"generator": optimizer_g, "discriminator": optimizer_d}

    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]

    start = resume.progress if resume else Progress()
    if resume:
        for name, module in modules.items():
            checkpoint.load_module(resume, name, module)
        for name, optimizer in optimizers.items():
            checkpoint.load_optimizer(resume, name, optimizer)
        checkpoint.load_rng(resume, device)

    trainable_d = [parameter for parameter in discriminator.parameters() if parameter.requires_grad]
    data = dataset.images.to(device)
    sampler = Sampler(len(data), seed, start.images, device)
    grid_latents = images.latents(prior, samples, z_dim, seed)
    stopwatch, window = Stopwatch(start.seconds, device), Window()
    step, ticked, metrics = start.step, start, dict[str, float]()

    def noise() -> Tensor:
        return sample_noise(prior, batch_size, z_dim, device)

    def forward(network: nn.Module, inputs: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return network(inputs).float()

    def write_samples() -> None:
        grid = images.grid(torch.cat(list(images.generate(average, grid_latents))))
        images.write_png(grid, run_dir / "samples" / f"{step:08d}.png")

    def housekeeping(last: bool) -> None:
        """Whatever is due after this step; all of it after the ``last``. Not counted as training time."""
        nonlocal window, metrics, ticked
        stopwatch.stop()
        now = Progress(step, sampler.position, stopwatch.seconds)
        if last or step % log_every == 0:
            rate = (now.images - ticked.images) / (now.seconds - ticked.seconds)
            metrics = {**dataclasses.asdict(now), "images_per_second": rate, **window.summary()}
            if wrong := [name for name, value in metrics.items() if not math.isfinite(value)]:
                raise TrainingDiverged(f"step {step:,}: {', '.join(wrong)} no longer finite")
            log.write(metrics)
            display.tick(metrics)
            window, ticked = Window(), now
        if last or step % sample_every == 0:
            write_samples()
        if last or step % checkpoint_every == 0:
            checkpoint.save(run_dir / "checkpoints", now, config or {}, modules, optimizers, device)
            figures.write_curves(run_dir)
        stopwatch.start()

    with contextlib.ExitStack() as stack:
        log = stack.enter_context(contextlib.closing(Log(run_dir, step)))
        display = stack.enter_context(contextlib.closing(Display(step, steps, stopwatch, max_seconds)))
        stop = stack.enter_context(stop_on_signal())
        if step == 0:
            write_samples()
        stopwatch.start()
        while step < steps:
            for optimizer in optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * lr_factor(step * batch_size, lr_decay_after)

            for _ in range(k):
                real = to_unit(data[sampler.draw(batch_size)])
                with torch.no_grad():
                    fake = forward(generator, noise())
                real_logits, fake_logits = forward(discriminator, real), forward(discriminator, fake)
                loss_d = loss(real_logits, fake_logits)[0].mean()
                window.add_discriminator(loss_d, real_logits, fake_logits)
                d_step = sampler.position // batch_size
                if penalty and d_step % penalty_interval == 0:
                    loss_d = loss_d + penalty_interval * penalty(discriminator, real, fake).mean()
                optimizer_d.zero_grad()
                loss_d.backward()
                optimizer_d.step()

            for parameter in trainable_d:  # G's step needs D's gradient in its input, not in its weights
                parameter.requires_grad_(False)
            fake_logits = forward(discriminator, forward(generator, noise()))
            loss_g = loss(real_logits.detach(), fake_logits)[1].mean()
            window.add_generator(loss_g)
            optimizer_g.zero_grad()
            loss_g.backward()
            optimizer_g.step()
            for parameter in trainable_d:
                parameter.requires_grad_(True)

            step += 1
            ema.update(average, generator, ema.decay(step * batch_size, batch_size, ema_half_life, ema_ramp))
            display.step()
            out_of_time = max_seconds is not None and stopwatch.seconds >= max_seconds
            last = step == steps or out_of_time or stop.signum is not None
            if last or any(step % every == 0 for every in (log_every, sample_every, checkpoint_every)):
                housekeeping(last)
            if last:
                break

    images.write_animation(sorted((run_dir / "samples").glob("*.png")), run_dir / "training")
    return Outcome(step, metrics, stop.signum)
