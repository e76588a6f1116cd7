"""The top-level keys of each command: types, defaults, ranges and meanings.

Hydra checks names and types against these dataclasses while it composes. :mod:`gan_cli.config.validation` checks the
ranges. This module does not import torch, so that a typing mistake is reported at once.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from gan_cli.config import cluster, resolvers
from gan_cli.config.keys import Cluster, Ema, Extractor, Schedule, group, key
from gan_cli.metrics.catalogue import FAMILIES


@dataclass
class TrainConfig:
    """``gan-train``."""

    dataset: Any = group("what to learn")
    game: Any = group("what the networks play: who descends what")
    net: Any = group("both networks; net/generator and net/discriminator mix them")
    loss: Any = group("the adversarial loss")
    penalty: Any = group("a penalty on the discriminator")
    augment: Any = group("what real and generated images go through before the discriminator")
    optimizer: Any = group("both optimizers; optimizer/generator and optimizer/discriminator mix them")
    sinks: Any = group("what records are handed to beside metrics.jsonl: a list, [] for nothing", {})
    own_metrics: Any = group("scores of your own beside those of eval_every: a list", {})
    cluster: Cluster = group("where the runs of a sweep go, cluster.jobs at a time; only with -m", Cluster())
    conditional: bool = key(False, "give both networks the labels of the data, to draw by class")
    k: int = key(1, "discriminator steps per generator step (Algorithm 1)", at_least=1, at_most=1000)
    update: str = key(
        "alternating",
        "G's step: on fresh noise; shared: on D's last images; simultaneous: and before D moves",
        choices=("alternating", "shared", "simultaneous"),
    )
    steps: int = key(7000, "generator steps, all in all", at_least=1, at_most=10**12)
    max_seconds: float | None = key(None, "stop after so many seconds of training; null for never", above=0)
    batch_size: int = key(32, "images in a minibatch", at_least=1, at_most=65_536)
    accumulate: int = key(1, "parts of a minibatch, in turn: less memory, same result", at_least=1, at_most=65_536)
    lr_decay_after: Any = key(
        64_000.0,
        "images after which the rates fall as 1/sqrt; [start,end]: linearly to 0; null: never",
    )
    schedule: Schedule = key(
        Schedule, "values that move along a cosine for schedule.images: rates, penalty, EMA, beta2"
    )
    seed: int = key(0, "of the weights, the noise and the order of the data", at_least=0, at_most=2**63 - 1)
    device: str = key("auto", "auto, cpu, cuda, cuda:N or mps")
    precision: str = key("auto", "auto, fp32 or bf16", choices=("auto", "fp32", "bf16"))
    deterministic: bool = key(False, "CUDA: the same bits every time, slower; a CPU gives them as it is")
    compile: str = key("off", "torch.compile: off, default or max-autotune", choices=("off", "default", "max-autotune"))
    graphs: str = key("off", "CUDA graphs: off, or auto: a step is replayed where it can be", choices=("off", "auto"))
    threads: Any = key("auto", "CPU threads: a number, or auto: by the cores and the networks' size")
    ema: Ema = key(Ema, "the averaged generator, from which samples are drawn: ema.half_life (images), ema.ramp")
    log_every: int = key(100, "steps between lines of metrics.jsonl", at_least=1)
    sample_every: int = key(500, "steps between sample grids", at_least=1)
    checkpoint_every: int = key(1000, "steps between checkpoints", at_least=1)
    samples: int = key(64, "images in a sample grid", at_least=1, at_most=10_000)
    keep: int | None = key(5, "newest checkpoints that stay, besides the best; null: all", at_least=2)
    eval_every: int | None = key(
        None, "steps between scores (Fréchet, modes, JSD); keeps checkpoints/best; null: never", at_least=1
    )
    on_nonfinite: str = key(
        "rollback", "rollback: to the last checkpoint, at half the rates, once; or stop", choices=("rollback", "stop")
    )
    on_write_error: str = key(
        "retry", "retry: train on and try again when the disk is full; or stop", choices=("retry", "stop")
    )
    on_collapse: str = key("go_on", "go_on: a mode collapse is told; stop: it ends the run", choices=("go_on", "stop"))
    run_dir: str = key("outputs/${now:%Y-%m-%d}/${now:%H-%M-%S-%f}", "the run folder")
    resume: str | None = key(
        None, "a run folder to go on with; auto: run_dir, if it holds a run; FILE: from there, in run_dir"
    )
    init: str | None = key(None, "a run folder or checkpoint: begin a new run with its weights, as far as they fit")
    freeze_d: int = key(0, "with init: D's first layers that keep their weights (FreezeD)", at_least=0)
    trust: list[str] = key(list, "packages besides gan_cli that a resumed run's configuration may name")
    plan: bool = key(False, "train ten steps in memory, say what the run would take, and write nothing")


@dataclass
class SampleConfig:
    """``gan-sample``."""

    ckpt: str = field(default=MISSING, metadata={"help": "a run folder or a checkpoint file"})
    n: int = key(64, "how many images", at_least=1, at_most=10_000_000)
    out: str | None = key(
        None, "FILE.png: a figure, of n=1 the image; FILE.npz: uint8 NHWC; else a folder of PNGs. null: sample.png"
    )
    figure: str = key(
        "grid",
        "grid; ranked: the most real to D first; neighbours: beside training images; interpolation: on paths in z; "
        "walk: a loop; directions: the most telling; mixing: of styles; truncation: a row for each psi",
        choices=("grid", "ranked", "neighbours", "interpolation", "walk", "directions", "mixing", "truncation"),
    )
    scale: int = key(1, "enlarges images in grids, PNGs of their own and animations", at_least=1, at_most=64)
    latents: Any = key(8, "of an animation: latents that its loop leads through; FILE.npz: draw exactly these latents")
    frames: int = key(25, "of an animation: frames from one latent to the next, 25 a second", at_least=1, at_most=1000)
    seed: Any = key(0, "of the noise; [1,2,3] or 0-63: one image for each seed, whatever n is")
    weights: str = key("ema", "ema, the averaged generator, or raw", choices=("ema", "raw"))
    batch_size: int = key(256, "images held on the way; the result doesn't depend on it", at_least=1, at_most=65_536)
    truncation: float = key(1.0, "psi: below 1 images are more alike, and better; in w or z", at_least=0, at_most=2)
    labels: Any = key(None, "of a conditional generator: [3,5], [cat,dog], a row of images each; each or null: all")
    device: str = key("auto", "auto, cpu, cuda, cuda:N or mps")
    root: str | None = key(None, "where figure=neighbours finds the data, if no longer where the run found them")
    trust: list[str] = key(list, "packages besides gan_cli that the checkpoint's configuration may name")


@dataclass
class ProjectConfig:
    """``gan-project``."""

    ckpt: str = field(default=MISSING, metadata={"help": "a run folder or a checkpoint file"})
    input: str | None = key(None, "an image, a folder or a .zip file; null: held-out images of the run's data")
    out: str | None = key(None, "a folder; null: projected in the run folder")
    n: int | None = key(None, "held-out and training images beside; null: 32, with input 0", at_least=0, at_most=10_000)
    space: str | None = key(None, "z or w; null: w, if the generator has it", choices=("z", "w"))
    starts: int = key(8, "latents that each image begins from", at_least=1, at_most=256)
    steps: int = key(100, "steps of Adam", at_least=4, at_most=100_000)
    seed: int = key(0, "of the latents and of the choice of images", at_least=0, at_most=2**63 - 1)
    weights: str = key("ema", "ema, the averaged generator, or raw", choices=("ema", "raw"))
    device: str = key("auto", "auto, cpu, cuda, cuda:N or mps")
    root: str | None = key(None, "where the data are, if no longer where the run found them")
    trust: list[str] = key(list, "packages besides gan_cli that the checkpoint's configuration may name")


@dataclass
class TranslateConfig:
    """``gan-translate``."""

    ckpt: str = field(default=MISSING, metadata={"help": "a run folder or a checkpoint file"})
    input: str | None = key(None, "an image, a folder or a .zip file; names and folders are kept")
    out: str | None = key(None, "a folder; of one image also FILE.png; null: translated in the run folder")
    size: str = key(
        "fit",
        "fit: at the size of the training, and resized back; network: not resized back; original: at the image's own",
        choices=("fit", "network", "original"),
    )
    mode: str | None = key(
        None,
        "train_stats: dropout on, statistics of the image itself; eval: neither; null: by the run's batch_size",
        choices=("train_stats", "eval"),
    )
    figure: str | None = key(None, "pairs: source, output and target of the run's held-out images", choices=("pairs",))
    n: int = key(16, "images in the figure", at_least=1, at_most=10_000)
    backward: bool = key(False, "of CycleGAN: the generator from targets to sources")
    weights: str = key("ema", "ema, the averaged generator, or raw", choices=("ema", "raw"))
    seed: int = key(0, "of the dropout in train_stats", at_least=0, at_most=2**63 - 1)
    device: str = key("auto", "auto, cpu, cuda, cuda:N or mps")
    root: str | None = key(None, "where figure=pairs finds the data, if no longer where the run found them")
    trust: list[str] = key(list, "packages besides gan_cli that the checkpoint's configuration may name")


@dataclass
class EvalConfig:
    """``gan-eval``."""

    ckpt: str | None = key(None, "a run folder or a checkpoint file")
    real: str | None = key(None, "in place of ckpt: a folder of real images, compared with fake")
    fake: str | None = key(None, "in place of ckpt: a folder of images, or FILE.npz of gan-sample")
    metrics: Any = key("all", "all that apply, or some: [frechet,parzen]; listed above", choices=("all", *FAMILIES))
    own_metrics: Any = group("metrics of your own: a list", {})
    n: int = key(10_000, "how many samples", at_least=16, at_most=1_000_000)
    seed: int = key(0, "of the noise, of subsets and splits", at_least=0, at_most=2**63 - 1)
    weights: str = key("ema", "ema, the averaged generator, or raw", choices=("ema", "raw"))
    batch_size: int = key(256, "images in a pass of the feature extractor", at_least=1, at_most=65_536)
    extractor: Extractor = key(Extractor, "extractor.weights=FILE: Inception's weights, brought along")
    device: str = key("auto", "auto, cpu, cuda, cuda:N or mps")
    root: str | None = key(None, "where the data are, if no longer where the run found them")
    trust: list[str] = key(list, "packages besides gan_cli that the checkpoint's configuration may name")


@dataclass
class ReportConfig:
    """``gan-report``."""

    run: str = field(default=MISSING, metadata={"help": "the folder of a run, of a sweep, or of runs anywhere below"})
    out: str | None = key(None, "FILE.html; null: report.html in that folder")
    watch: bool = key(False, "of a run: write the page again while the run goes on; an open page follows")


@dataclass
class DoctorConfig:
    """``gan-doctor``."""

    run: str = field(default=MISSING, metadata={"help": "the folder of a run"})
    json: bool = key(False, "print the findings as JSON")


@dataclass
class ExportConfig:
    """``gan-export``."""

    ckpt: str = field(default=MISSING, metadata={"help": "a run folder or a checkpoint file"})
    out: str = field(default=MISSING, metadata={"help": "FILE.onnx, FILE.pt2, FILE.html: a page; or a folder's name"})
    weights: str = key("ema", "ema, the averaged generator, or raw", choices=("ema", "raw"))
    dtype: str | None = key(None, "fp32 or fp16; null: fp16 in a page, else fp32", choices=("fp32", "fp16"))
    opset: int | None = key(None, "of .onnx: its version of the operators; null: that of torch", at_least=18)
    licence: str | None = key(None, "of a folder: what its card says, as the Hub calls it: mit; null: unknown")
    backward: bool = key(False, "of CycleGAN: the generator from targets to sources")
    trust: list[str] = key(list, "packages besides gan_cli that the checkpoint's configuration may name")


COMMANDS: dict[str, type] = {
    "train": TrainConfig, "sample": SampleConfig, "translate": TranslateConfig, "eval": EvalConfig,
    "project": ProjectConfig, "report": ReportConfig, "doctor": DoctorConfig, "export": ExportConfig,
}  # fmt: skip


def register() -> None:
    """Register with Hydra the schemas (``train_schema``, …) and of this package's resolvers."""
    for name, node in COMMANDS.items():
        ConfigStore.instance().store(name=f"{name}_schema", node=node)
    OmegaConf.register_new_resolver("keys_of", _describe_keys, replace=True)
    OmegaConf.register_new_resolver("shorthand", resolvers.shorthand, replace=True)
    OmegaConf.register_new_resolver("tuned", resolvers.tuned, replace=True)
    OmegaConf.register_new_resolver("r1_gamma", resolvers.r1_gamma, replace=True)
    OmegaConf.register_new_resolver("run_folder", resolvers.run_folder, replace=True)
    OmegaConf.register_new_resolver("own_gpu", cluster.own_gpu, replace=True)
    OmegaConf.register_new_resolver("gpus_per_run", cluster.gpus_per_run, replace=True)


def _describe_keys(command: str) -> str:
    """The ``--help`` table of a command's keys: name, default, meaning."""
    rows = []
    for f in dataclasses.fields(COMMANDS[command]):
        if f.metadata.get("group"):
            continue
        if f.default_factory is not dataclasses.MISSING:
            shown = "[]" if f.default_factory is list else "…"
        else:
            shown = "PATH" if f.default == MISSING else _as_typed(f.default)
        shown = "outputs/DATE/TIME" if "${" in shown else shown
        rows.append(f"  {f.name + '=' + shown:<27} {f.metadata['help']}")
    return "\n".join(rows)


def _as_typed(value: Any) -> str:
    """``value`` as it is written on the command line: ``null``, ``false``, ``64000``."""
    if value is None:
        return "null"
    return (
        str(value).lower() if isinstance(value, bool) else f"{value:.12g}" if isinstance(value, float) else str(value)
    )


register()
