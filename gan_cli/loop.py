"""Algorithm 1 of Goodfellow et al. 2014: minibatch training of a generator against a discriminator."""

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gan_cli import checkpoint, ema, figures, hardware, images
from gan_cli.augment import Augment
from gan_cli.checkpoint import Checkpoint, Progress
from gan_cli.data import Dataset, Points, Sampler
from gan_cli.errors import TrainingDiverged
from gan_cli.finite import Part, Watch
from gan_cli.noise import sample_noise
from gan_cli.penalties import clip_weights
from gan_cli.retry import Writer
from gan_cli.signals import Stopped, stop_on_signal
from gan_cli.stats import Display, Log, Stopwatch, Window

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Penalty = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
Evaluate = Callable[[nn.Module], Mapping[str, float]]


class Outcome(NamedTuple):
    """How a run ended: its last step, the seconds it trained, its last tick's record, the signal that stopped it."""

    step: int
    seconds: float
    metrics: Mapping[str, float]
    signum: int | None


def lr_factor(images: float, decay_after: float | None) -> float:
    """What the learning rates are multiplied by: 1, and from ``decay_after`` images on sqrt(decay_after / images).

    The inverse square root (as in Karras et al. 2024, arXiv 2312.02696) knows no end of the run, so that ``steps`` can
    be raised later on.
    """
    return 1.0 if decay_after is None else min(1.0, math.sqrt(decay_after / max(images, 1.0)))


def train(
    generator: nn.Module,            # latents [N, z_dim] (and labels [N]) -> images [N, C, H, W] in [-1, 1]
    discriminator: nn.Module,        # images (and labels) -> logits [N]
    dataset: Dataset | Points,       # uint8 images or points, resident on the device
    loss: Loss,                      # real and fake logits -> per-sample terms of D and of G
    make_optimizer_g: MakeOptimizer, # parameters -> optimizer
    make_optimizer_d: MakeOptimizer,
    *,
    run_dir: Path,                   # where everything is written
    steps: int,                      # generator steps, all in all
    k: int = 1,                      # discriminator steps per generator step
    update: str = "alternating",     # or "shared", "simultaneous": what G's step is taken on, see below
    batch_size: int = 64,            # m, the minibatch
    z_dim: int = 100,                # dimensions of the latent z
    prior: str = "normal",           # the noise prior p_z
    penalty: Penalty | None = None,  # D, real, fake -> per-sample terms
    penalty_interval: int = 1,       # taken on every so manyth D step, times as much
    weight_clip: float | None = None,  # no weight of D's is larger than that after its update
    augment: Augment | None = None,  # what D sees of images, real and generated
    conditional: bool = False,       # both networks are given the images' labels, too
    lr_decay_after: float | None = None,  # images of G's after which learning rates fall as 1/sqrt(images)
    ema_half_life: float = 20_000,   # of the averaged generator, in images
    ema_ramp: float | None = 0.04,   # half-life at most this part of the images so far
    max_seconds: float | None = None,  # stop after so much training time
    seed: int = 0,                   # order of the data, and the latents of the sample grids
    device: torch.device | str = "cpu",
    bf16: bool = False,              # autocast both networks to bfloat16; penalties stay float32
    compile: str = "off",            # or "default", "max-autotune": torch.compile for both; penalties stay eager
    log_every: int = 100,            # steps between ticks, sample grids, checkpoints
    sample_every: int = 500,
    checkpoint_every: int = 1000,
    keep: int | None = None,         # newest checkpoints that stay; None for all
    samples: int = 64,               # images in a grid
    draw: figures.Draw | None = None,  # step, averaged generator -> the picture for samples/; None: that grid
    evaluate: Evaluate | None = None,  # averaged generator -> scores; by the first, lower is better
    eval_every: int | None = None,   # steps between evaluations
    on_nonfinite: str = "rollback",  # or "stop": what to do about a step that is not finite
    on_write_error: str = "retry",   # or "stop": what to do about a disk that won't take a file
    config: Mapping[str, Any] | None = None,  # JSON-able, saved in each checkpoint
    resume: Checkpoint | None = None,  # go on from here
) -> Outcome:  # fmt: skip
    """Train both networks in place and write the run folder.

    One step is Algorithm 1's outer iteration: ``k`` updates of D, each on a fresh minibatch of data and of noise, then
    one update of G on fresh noise (``update="alternating"``). ``"shared"`` saves that G forward: D, updated, judges the
    images of its own last update once more, as in most tutorials. ``"simultaneous"`` takes G's gradient on the same
    images before D's last update, so that both networks move from the same point, as in the 2014 paper's code.

    A run that is stopped and resumed ends with the same bits as one left alone, on the same machine. When a loss or a
    weight is no longer finite it goes back to the last checkpoint with half the learning rates, once; after that, or
    under ``on_nonfinite="stop"``, it raises TrainingDiverged. Nothing such is ever saved.
    """
    device = torch.device(device)
    for network in (generator, discriminator):
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster convolutions
    average = copy.deepcopy(generator).requires_grad_(False)
    averaged, latest = ema.tensors(average), ema.tensors(generator)
    optimizer_g, optimizer_d = make_optimizer_g(generator.parameters()), make_optimizer_d(discriminator.parameters())
    modules = {"generator": generator, "discriminator": discriminator, "ema": average}
    modules |= {"augment": augment.to(device)} if augment else {}
    modules |= {"penalty": penalty.to(device)} if isinstance(penalty, nn.Module) else {}
    optimizers = {"generator": optimizer_g, "discriminator": optimizer_d}
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]

    trainable_d = [parameter for parameter in discriminator.parameters() if parameter.requires_grad]
    run_g, run_d = (hardware.compiled(network, compile) for network in (generator, discriminator))
    data = dataset.examples.to(device) if hardware.holds(device, dataset.examples) else dataset.examples
    if conditional and dataset.labels is None:
        raise ValueError("conditional training needs a dataset with labels")
    labels = dataset.labels.to(data.device) if conditional and dataset.labels is not None else None
    draw = draw or images.grid_of(images.latents(prior, samples, z_dim, seed))
    start = resume.progress if resume else Progress()
    step, lr_scale, best, ticked = start.step, start.lr_scale, start.best, start
    sampler, stopwatch = Sampler(len(data), seed, start.images, data.device), Stopwatch(start.seconds, device)
    part_d = Part("discriminator", discriminator, ("loss_d", "penalty"))
    part_g = Part("generator", generator, ("loss_g",))
    window, watch = Window(), Watch([part_d, part_g], device)
    metrics = dict[str, float]()

    given: tuple[Tensor, ...] = ()  # this minibatch's labels, where the networks are given any

    def noise() -> Tensor:
        return sample_noise(prior, batch_size, z_dim, device)

    def generate(z: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return run_g(z, *given).float()

    def seen(images: Tensor) -> Tensor:
        return augment(images) if augment else images

    def judge(*batches: Tensor) -> list[Tensor]:
        views = [seen(batch) for batch in batches]
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):  # in one, so that weights are cast once
            return [run_d(view, *given).float() for view in views]

    def critic(images: Tensor) -> Tensor:
        return discriminator(seen(images), *given)

    def update_discriminator() -> None:
        optimizer_d.step()
        if weight_clip:
            clip_weights(discriminator, weight_clip)

    def restore(saved: Checkpoint) -> None:
        """Everything as it was when ``saved`` was written; the pictures that came after it are removed."""
        nonlocal step, window
        for name, module in modules.items():
            checkpoint.load_module(saved, name, module)
        for name, optimizer in optimizers.items():
            checkpoint.load_optimizer(saved, name, optimizer)
        checkpoint.load_rng(saved, device)
        step, sampler.position = saved.progress.step, saved.progress.images
        window = Window({name: values.to(device) for name, values in saved.tensors("window").items()})
        with contextlib.suppress(OSError):  # a disk that won't let them go: they are written over in their time
            images.remove_after(run_dir / "samples", step)

    def go_back(diverged: TrainingDiverged) -> None:
        """To the last good checkpoint, with half the learning rates. Once in a run: then ``diverged`` ends it."""
        nonlocal lr_scale, ticked
        if on_nonfinite == "stop" or not checkpoint.of_run(run_dir):
            raise diverged
        if lr_scale < 1:
            raise TrainingDiverged(f"{diverged}, once more, at half the learning rates; begin anew with lower ones")
        restore(checkpoint.read(run_dir))
        lr_scale = 0.5
        watch.reset()
        log.rewind(step)
        display.rewind(step)
        ticked = Progress(step, sampler.position, stopwatch.seconds)
        display.say(f"{diverged}; back to step {step:,}, with half the learning rates from there on")

    def write_samples() -> None:
        images.write_png(draw(step, average), run_dir / "samples" / f"{step:08d}.png")

    def write_checkpoint(is_best: bool = False) -> None:
        now = Progress(step, sampler.position, stopwatch.seconds, lr_scale, best)
        checkpoint.save(
            run_dir / "checkpoints", now, config or {}, modules, optimizers, device,
            window=window.state(), keep=keep, best=is_best,
        )  # fmt: skip

    def housekeeping(finished: bool, stopping: bool) -> None:
        """Whatever is due after this step; all of it once ``finished``, a checkpoint at least when ``stopping``."""
        nonlocal window, metrics, ticked, best
        scores, score = dict[str, float](), math.inf
        if evaluate and eval_every and (finished or step % eval_every == 0):
            with contextlib.suppress(Stopped), stop.at_once():
                found = evaluate(average)
                scores = {name: value for name, value in found.items() if math.isfinite(value)}
                score = scores.get(next(iter(found), ""), math.inf)
        if finished or scores or step % log_every == 0:
            now = Progress(step, sampler.position, stopwatch.seconds)
            rate = (now.images - ticked.images) / (now.seconds - ticked.seconds)
            metrics = {"step": step, "images": now.images, "seconds": now.seconds, "images_per_second": rate}
            metrics |= {**window.summary(), **scores, "time": time.time()}
            log.add(metrics)
            display.tick(metrics)
            window, ticked = Window(), now
        before = best
        is_best = score < (math.inf if best is None else best)
        best = score if is_best else best

        def write() -> None:
            nonlocal before
            log.flush()
            if finished or step % sample_every == 0:
                write_samples()
            if stopping or is_best or writer.overdue or step % checkpoint_every == 0:
                write_checkpoint(is_best)
                before = best
                if config and not (run_dir / "config.yaml").is_file():  # the folder was deleted
                    checkpoint.save_config(run_dir, config)
                figures.write_curves(run_dir)
            if finished:
                images.write_run_animation(run_dir)

        writer.attempt(write, last=stopping)
        if writer.overdue:
            best = before  # no file holds the new one

    if resume:
        restore(resume)
    with contextlib.ExitStack() as stack:
        log = Log(run_dir, step)
        display = stack.enter_context(contextlib.closing(Display(step, steps, stopwatch, max_seconds)))
        stop = stack.enter_context(stop_on_signal())
        writer = Writer(on_write_error, display.say, lambda: stop.signum is not None)
        if step == 0:
            write_samples()
            write_checkpoint()  # a disk that is full is found now, and there is something to go back to
        stopwatch.start()
        while step < steps:
            for optimizer in optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * lr_scale * lr_factor(step * batch_size, lr_decay_after)

            for turn in range(1, k + 1):
                indices = sampler.draw(batch_size)
                real = dataset.network_input(hardware.gather(data, indices, device))
                given = () if labels is None else (hardware.gather(labels, indices, device),)
                with torch.set_grad_enabled(update != "alternating" and turn == k):  # G's step goes on from there
                    fake = generate(noise())
                real_logits, fake_logits = judge(real, fake.detach())
                loss_d = loss(real_logits, fake_logits)[0].mean()
                window.add_discriminator(loss_d, real_logits, fake_logits)
                watch.add("loss_d", loss_d)
                if augment:
                    augment.observe(real_logits.detach())
                d_step = sampler.position // batch_size
                if penalty and d_step % penalty_interval == 0:
                    penalty_term = penalty_interval * penalty(critic, real, fake.detach()).mean()
                    watch.add("penalty", penalty_term)
                    loss_d = loss_d + penalty_term
                optimizer_d.zero_grad()
                loss_d.backward()
                if update != "simultaneous" or turn < k:
                    update_discriminator()

            for parameter in trainable_d:  # G's step needs D's gradient in its input, not in its weights
                parameter.requires_grad_(False)
            if update == "alternating":
                fake = generate(noise())
            (fake_logits,) = judge(fake)
            loss_g = loss(real_logits.detach(), fake_logits)[1].mean()
            window.add_generator(loss_g)
            watch.add("loss_g", loss_g)
            optimizer_g.zero_grad()
            loss_g.backward()
            if update == "simultaneous":
                update_discriminator()
            optimizer_g.step()
            for parameter in trainable_d:
                parameter.requires_grad_(True)

            step += 1
            ema.update(averaged, latest, ema.decay(step * batch_size, batch_size, ema_half_life, ema_ramp))
            watch.end_step(step)
            display.step()
            finished = step == steps or (max_seconds is not None and stopwatch.seconds >= max_seconds)
            stopping = finished or stop.signum is not None
            due = any(step % every == 0 for every in (log_every, sample_every, checkpoint_every, eval_every) if every)
            try:
                if stopping or due or device.type == "cpu":  # elsewhere to look is to wait for the device
                    watch.check()
                if stopping or due:
                    with stopwatch.paused():
                        housekeeping(finished, stopping)
            except TrainingDiverged as diverged:
                go_back(diverged)
                continue
            if stopping:
                break

    return Outcome(step, stopwatch.seconds, metrics, stop.signum)
