"""The public functions: the commands' work from Python, with objects instead of words."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from gan_cli import meeting, processes, sampling
from gan_cli.augment import Augment
from gan_cli.commands import evaluate as evaluate_command
from gan_cli.commands.train import execute
from gan_cli.config import build, display, networks
from gan_cli.config.data import class_names, training_data
from gan_cli.config.saved import open_run
from gan_cli.data import Dataset, Points
from gan_cli.data.pairs import Domains
from gan_cli.errors import UserError, did_you_mean
from gan_cli.losses import nonsaturating
from gan_cli.noise import Noise
from gan_cli.rundir import checkpoint, layout
from gan_cli.rundir.records import Sink
from gan_cli.rundir.sinks import tensorboard
from gan_cli.training import graphs
from gan_cli.training.algorithm import UPDATES
from gan_cli.training.batches import Batches
from gan_cli.training.device import Compute
from gan_cli.training.games import Adversarial, Average, Game, Loss, Penalty
from gan_cli.training.plan import Outcome, Plan
from gan_cli.training.shares import check as check_shares
from gan_cli.training.state import MakeOptimizer, State, load_module, make_optimizers

__all__ = ["Average", "Compute", "Noise", "Penalty", "Plan", "evaluate", "load_generator", "sample", "train"]

Named = Mapping[str, Any]  # {"_target_": "gan_cli.networks.conv.Generator", "width": 16}, as in a YAML file
ADAM: MakeOptimizer = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999), fused=True)


def train(
    generator: nn.Module | Named,                # latents [N, z_dim] (and labels [N]) -> images [N, C, H, W]
    discriminator: nn.Module | Named,            # images (and labels) -> logits [N]
    dataset: Dataset | Points | Named,           # uint8 images, or points
    loss: Loss = nonsaturating,                  # real and fake logits -> per-sample terms of D and of G
    optimizer_g: MakeOptimizer = ADAM,           # parameters -> optimizer
    optimizer_d: MakeOptimizer = ADAM,
    *,
    run_dir: str | Path,                         # where everything is written
    plan: Plan,                                  # how many steps, and what happens when
    k: int = 1,                                  # updates of D in a step
    update: str = "alternating",                 # or "shared", "simultaneous"
    batch_size: int = 64,                        # m, the minibatch, of all processes together
    accumulate: int = 1,                         # parts of it, computed one after the other: for less memory
    noise: Noise = Noise(),                      # the prior of z, and its dimensions
    penalty: Penalty = Penalty(),                # on D
    augment: Augment | None = None,              # of what D sees
    conditional: bool = False,                   # both networks are given the labels
    average: Average = Average(),                # the averaged generator, from which samples are drawn
    compute: Compute = Compute(),                # device and precision
    seed: int = 0,                               # order of the data, latents of the sample grids
    samples: int = 64,                           # images in a grid
    game: Callable[..., Game] = Adversarial,     # or a game of your own
    draw: Callable[[int, nn.Module], Image.Image] | None = None,  # step, averaged generator -> its picture
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,  # averaged generator -> scores
    sinks: Mapping[str, Sink] | None = None,     # beside metrics.jsonl; by default TensorBoard's events
    resume: bool = False,                        # go on, if run_dir holds a run
) -> Outcome:  # fmt: skip
    """Train two networks in place and write the run folder, as ``gan-train`` does. Return how the run ended.

    Algorithm 1 of Goodfellow et al. 2014. Images are in [-1, 1]. A lower first score of ``evaluate`` is better. Set the
    weights' seed with ``torch.manual_seed`` before the networks are built.

    Networks and data may be given as in a YAML file, by the name of their class or function. The commands can then
    sample and evaluate the run as well. UserError if ``run_dir`` already holds a run and ``resume`` is not set, or if
    parts do not fit each other. TrainingDiverged if a term or a weight is non-finite.

    In a script that torchrun starts, all processes call this function, and share each minibatch. The first one writes.
    """
    if update not in UPDATES:
        raise UserError(f"no update {update!r}" + did_you_mean(update, UPDATES))
    graphs.check(compute.graphs, plan.schedule.moving())
    run_dir = Path(run_dir)
    meeting.join()
    with ExitStack() as stack:
        processes.together(partial(_begin, stack, run_dir, resume))
        saved = open_run(run_dir) if resume and layout.of_run(run_dir) else None
        data = training_data(dataset) if isinstance(dataset, Mapping) else dataset
        if isinstance(data, Domains):
            raise UserError("images of two domains are trained on by gan-train: dataset=pairs or dataset=unpaired")
        names = class_names(conditional, data)
        facts = {**data.facts, "classes": len(names)}
        net = {"generator": generator, "discriminator": discriminator, **noise._asdict()}
        played = game(
            generator=networks.generator(net, facts) if isinstance(generator, Mapping) else generator,
            discriminator=networks.discriminator(net, facts) if isinstance(discriminator, Mapping) else discriminator,
            loss=loss, noise=noise, penalty=penalty, augment=augment, average=average, compute=compute,
        )  # fmt: skip
        make = {"generator": optimizer_g, "discriminator": optimizer_d}
        batches = Batches(data, batch_size, seed, compute.device, conditional, accumulate, compute.dtype)
        processes.together(partial(check_shares, batch_size, accumulate, update, played.children()))
        config = {
            "net": {name: value for name, value in net.items() if not isinstance(value, nn.Module)},
            "dataset": dict(dataset) if isinstance(dataset, Mapping) else None,
            "k": k, "update": update, "batch_size": batch_size, "conditional": conditional, "seed": seed,
            "image_shape": list(data.image_shape), "examples": len(data), "class_names": names,
        }  # fmt: skip
        if processes.leads():
            checkpoint.save_config(run_dir, config)
        parts = build.Assembled(
            state=State(played, make_optimizers(played, make, penalty.clip), batches, compute.device),
            plan=plan, k=k, update=update, compute=compute,
            draw=(lambda step: draw(step, played.sampled())) if draw
            else display.pictures(data, played, noise, samples, seed, len(names)),
            evaluate=partial(evaluate, played.sampled()) if evaluate else None,
            sinks={"tensorboard": tensorboard.write} if sinks is None else sinks,
            config=config, notes=[], observe=display.observed(data, played, noise, seed, conditional),
        )  # fmt: skip
        return execute(parts, run_dir, saved.checkpoint if saved else None)


def _begin(stack: ExitStack, run_dir: Path, resume: bool) -> None:
    """Lock ``run_dir`` while ``stack`` is open. UserError if it holds a run that should not go on."""
    if processes.leads():
        stack.enter_context(layout.locked(run_dir))
        if not resume and layout.holds_run(run_dir):
            raise UserError(f"{run_dir} holds a run already; give resume=True to go on with it, or another run_dir")


def load_generator(
    ckpt: str | Path, weights: str = "ema", *, into: nn.Module | None = None, trust: Sequence[str] = ()
) -> nn.Module:
    """The generator of a run folder or a checkpoint file, in eval mode, on the CPU.

    It maps latents, float32 ``[N, z_dim]``, and labels, int64 ``[N]``, if it is conditional, to images ``[N, C, H, W]``
    in [-1, 1]. ``weights`` is ``ema``, the average, or ``raw``. The checkpoint names the network's class, which must
    be from this package or from a package in ``trust``. If the run's network was given as an object, pass a network of
    the same shapes as ``into``. UserError if the file is not from gan-cli, or does not fit.
    """
    run = open_run(ckpt, trust)
    if into is None:
        return run.generator(weights)
    load_module(run.checkpoint, "ema" if weights == "ema" else "generator", into)
    return into.eval()


def sample(
    ckpt: str | Path, n: int = 64, *, seed: int = 0, labels: Sequence[int] | None = None, weights: str = "ema",
    batch_size: int = 256, device: torch.device | str = "cpu", trust: Sequence[str] = (),
) -> Tensor:  # fmt: skip
    """``n`` images of a run folder or a checkpoint file, uint8 ``[n, C, H, W]``, or points, float32 ``[n, d]``.

    ``gan-sample`` draws the same samples. They depend only on ``n``, ``seed`` and the machine. ``labels``, one class
    for each image, are for a conditional generator. Without ``labels`` it draws all classes, one after the other.
    UserError if the file is not from gan-cli, or if a label is not one of its classes.
    """
    run = open_run(ckpt, trust)
    classes = len(run.class_names)
    if labels is not None and not (len(labels) == n and all(type(c) is int and 0 <= c < classes for c in labels)):
        raise UserError(f"labels should be {n} classes of this run, from 0 up to and without {classes}")
    asked = labels if labels is not None else sampling.class_rows(range(classes), n)[:n] if classes else None
    generator, z = run.generator(weights).to(device), sampling.latents(run.noise, n, seed)
    if len(run.image_shape) == 1:
        return sampling.generate_points(generator, z, batch_size)
    of = None if asked is None else torch.as_tensor(asked)
    return torch.cat(list(sampling.generate(generator, z, batch_size, labels=of)))


def evaluate(
    ckpt: str | Path, metrics: str | Sequence[str] = "all", *, n: int = 10_000, seed: int = 0, weights: str = "ema",
    batch_size: int = 256, device: str = "auto", root: str | Path | None = None, trust: Sequence[str] = (),
    extractor_weights: str | Path | None = None,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Measure a run folder or a checkpoint file as ``gan-eval`` does. Return each number's value and origin.

    ``metrics`` are those of ``gan-eval --help``. ``n`` samples are compared with the data that the run names, or with
    the data in ``root``. ``extractor_weights`` is a file of Inception's weights. No file is written. UserError if no
    metric applies.
    """
    config = {
        "metrics": metrics, "own_metrics": {}, "n": n, "seed": seed, "weights": weights, "batch_size": batch_size,
        "device": device, "root": None if root is None else str(root),
        "extractor": {"weights": None if extractor_weights is None else str(extractor_weights)},
    }  # fmt: skip
    return evaluate_command.measurements(open_run(ckpt, trust), config).rows
