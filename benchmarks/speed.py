"""How fast training is: beside a loop as tutorials write it, and beside what this machine's matrix products reach.

    python benchmarks/speed.py [--workload mlp] [--rounds 5] [--seconds 6] [--device cpu] [--json FILE]
    python benchmarks/speed.py --growth          cost per FLOP at 10 times the data, 4 times the batch, twice the width

One process; in each round the product, the textbook loop (textbook.py) and gan-cli take turns of ``--seconds``, so that
all of them see the same machine. Cells are min / median / max over the rounds.

- ours: ``gan_cli.train`` into a temporary run folder, precision as ``precision=auto`` chooses it, the averaged
  generator kept, every step watched for non-finite numbers; ``update=shared`` where a tutorial is beside it, as those
  pass the same images through D twice. The process is set up as for ``gan-train``, which helps both sides. Rates are
  those of ``metrics.jsonl``: training time; a turn's first tick is left out as warm-up, and so are the grid and the
  checkpoint at the beginning and the end.
- textbook: wall time of its steps, loading and printing included, after one step of warm-up.
- GFLOP a step: what torch's FlopCounterMode sees (products and convolutions) of each side's own step; for ours the
  count of 2i steps minus that of i steps, so that sample grids drop out (i: the penalty's interval).
- peak: the product of two 2048x2048 matrices in the side's dtype, timed in the same round (on a CUDA device 8192x8192,
  float32 with TF32, which cuDNN's convolutions use as well).
"""

import argparse
import contextlib
import functools
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import textbook
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear
from torch.utils.flop_counter import FlopCounterMode

import gan_cli
from gan_cli import Compute, Noise, Penalty, Plan, losses, penalties
from gan_cli.data import Dataset
from gan_cli.data.idx import mnist
from gan_cli.errors import UserError
from gan_cli.files import write_atomic
from gan_cli.networks import conv, dcgan, mlp
from gan_cli.rundir.records import read_metrics
from gan_cli.training import device as devices

TICKS = 5  # of a turn of ours, after the one for warm-up
DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16"}

Pair = tuple[nn.Module, nn.Module]


def mlp_pair(shape: Sequence[int], z_dim: int, width: int) -> Pair:
    widths = [width * w for w in (128, 256, 512, 1024)]
    return mlp.Generator(shape, z_dim, widths), mlp.Discriminator(shape, [width * 512, width * 256])


def conv_pair(shape: Sequence[int], z_dim: int, width: int) -> Pair:
    return conv.Generator(shape, z_dim, 16 * width), conv.Discriminator(shape, 16 * width)


def dcgan_pair(shape: Sequence[int], z_dim: int, width: int) -> Pair:
    return dcgan.Generator(shape, z_dim, 64 * width), dcgan.Discriminator(shape, 64 * width)


def r1(discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """gan-cli's R1, D's input by another name: FlopCounterMode can't bear a leaf that a gradient is asked for."""
    return penalties.r1(lambda images: discriminator(images.view_as(images)), real, fake)


@dataclass(frozen=True)
class Workload:
    """What is trained: both networks on MNIST at ``size``, and how a tutorial trains them (None: no tutorial does)."""

    label: str
    size: int
    z_dim: int
    pair: Callable[[Sequence[int], int, int], Pair]
    textbook: tuple[Callable[[], Pair], Callable[..., Iterator[int]]] | None
    batch_size: int = 64
    width: int = 1  # times the default
    copies: int = 1  # of the 60,000 images
    lr: tuple[float, float] = (2e-4, 2e-4)  # of G and D: Adam's
    betas: tuple[float, float] = (0.5, 0.999)
    lr_decay_after: float | None = None
    options: dict[str, Any] = field(
        default_factory=lambda: {"update": "shared"}
    )  # of gan_cli.train, besides those of all


WORKLOADS = {
    "mlp": Workload("mlp 28x28", 28, 100, mlp_pair, (textbook.mlp, textbook.generator_first)),
    "conv": Workload("conv 28x28", 28, 16, conv_pair, (textbook.conv, textbook.discriminator_first)),
    "dcgan": Workload("dcgan 64x64", 64, 100, dcgan_pair, (textbook.dcgan, textbook.discriminator_first)),
}
DEFAULT_RUN = replace(  # gan-train without arguments
    WORKLOADS["conv"],
    label="conv 28x28, R1: gan-train's default",
    textbook=None,
    batch_size=32,
    lr=(6e-3, 2e-3),
    betas=(0.0, 0.99),
    lr_decay_after=64_000.0,
    options={"penalty": Penalty(r1, interval=8)},
)


@functools.lru_cache(maxsize=2)
def digits(size: int, copies: int) -> Dataset:
    """MNIST's training images at ``size``, ``copies`` times over."""
    data = mnist(size=size)
    return data if copies == 1 else Dataset(data.images.repeat(copies, 1, 1, 1))


def now(device: torch.device) -> float:
    """Seconds, once all that was asked of ``device`` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of a square matrix product, all threads: the best of five, as a linear layer or as a 1x1 convolution.

    They go through different libraries: on AMD's CPUs MKL's float32 product has half the speed of oneDNN's convolution.
    (With a single thread torch computes this convolution by MKL too; float32 sides can then come out above 100 %.)
    """
    side, repeats = (8192, 5) if device.type == "cuda" else (2048, 1)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    images = a.view(2, side // 64, 32, side).permute(0, 3, 1, 2)  # side maps, channels last
    kernels = b.view(side, side, 1, 1)
    products: list[Callable[[], Tensor]] = [lambda: linear(a, b), lambda: conv2d(images, kernels)]
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    seconds = []
    for product in products * 5:
        start = now(device)
        for _ in range(repeats):
            product()
        seconds.append(now(device) - start)
    torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * side**3 * repeats / min(seconds)


class Ours:
    """gan-cli's side of a workload. :meth:`train` is the only place that knows the product's loop."""

    name = "ours"

    def __init__(self, workload: Workload, device: torch.device) -> None:
        self.workload, self.device = workload, device
        self.bf16 = devices.bf16("auto", device)
        self.dtype = torch.bfloat16 if self.bf16 else torch.float32
        self.tick = 0  # steps; a turn is TICKS of them and one for warm-up

    def train(self, steps: int, log_every: int) -> list[dict[str, Any]]:
        """A run of new networks; its records."""
        w = self.workload
        dataset = digits(w.size, w.copies)
        torch.manual_seed(0)
        generator, discriminator = w.pair(dataset.image_shape, w.z_dim, w.width)
        adam_g, adam_d = (functools.partial(torch.optim.Adam, lr=lr, betas=w.betas, fused=True) for lr in w.lr)
        silence = io.StringIO()
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(silence),
            contextlib.redirect_stderr(silence),
        ):
            outcome = gan_cli.train(
                generator,
                discriminator,
                dataset,
                losses.nonsaturating,
                adam_g,
                adam_d,
                run_dir=folder,
                plan=Plan(
                    steps,
                    lr_decay_after=w.lr_decay_after,
                    log_every=log_every,
                    sample_every=steps,
                    checkpoint_every=steps,
                ),
                batch_size=w.batch_size,
                noise=Noise("normal", w.z_dim),
                compute=Compute(self.device, self.bf16),
                **w.options,
            )
            if outcome.signum is not None:  # the loop ends in peace on Ctrl-C
                raise KeyboardInterrupt
            return read_metrics(Path(folder))

    def flops(self) -> float:
        """FLOPs of a step, the penalty's share included."""

        def counted(steps: int) -> int:
            with FlopCounterMode(display=False) as counter:
                self.train(steps, log_every=steps)
            return counter.get_total_flops()

        interval = self.workload.options.get("penalty", Penalty()).interval
        return (counted(2 * interval) - counted(interval)) / interval

    def turn(self, seconds: float) -> float:
        """Images a second, over about ``seconds``; a short turn before the first finds out how many steps that is."""
        if not self.tick:
            self.tick = 1
            self.turn(seconds)
        first, *_, last = self.train((1 + TICKS) * self.tick, self.tick)
        rate = (last["images"] - first["images"]) / (last["seconds"] - first["seconds"])
        self.tick = max(1, round(seconds * rate / self.workload.batch_size / TICKS))
        return rate

    def close(self) -> None:
        """Nothing is left to let go of."""


class Textbook:
    """The tutorials' side of a workload."""

    name, dtype = "textbook", torch.float32

    def __init__(self, workload: Workload, device: torch.device) -> None:
        assert workload.textbook
        self.workload, self.device = workload, device
        networks, train = workload.textbook
        data = digits(28, 1)
        assert data.labels is not None
        images = textbook.Digits(data.images[:, 0], data.labels, workload.size)
        self.steps = train(networks(), images, workload.z_dim, device)

    def flops(self) -> float:
        """FLOPs of a step."""
        with FlopCounterMode(display=False) as counter:
            next(self.steps)
        return counter.get_total_flops()

    def turn(self, seconds: float) -> float:
        """Images a second, over ``seconds`` and the step that is under way when they are over."""
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True  # as dcgan/main.py sets it
        next(self.steps)
        start, images = now(self.device), 0
        while not images or time.perf_counter() - start < seconds:
            images += next(self.steps)
        rate = images / (now(self.device) - start)
        torch.backends.cudnn.benchmark = before
        return rate

    def close(self) -> None:
        """Let the workers go."""
        self.steps.close()  # type: ignore[attr-defined]  # it is a generator


def measure(
    sides: Sequence[Ours | Textbook], rounds: int, seconds: float, device: torch.device
) -> list[dict[str, Any]]:
    """A record for each of ``sides``, which take turns; series have a value a round."""
    flops = [side.flops() for side in sides]
    dtypes = {side.dtype for side in sides}
    rates: list[list[float]] = [[] for _ in sides]
    peaks: dict[torch.dtype, list[float]] = {dtype: [] for dtype in dtypes}
    for i in range(rounds):
        print(f"{sides[0].workload.label}: round {i + 1} of {rounds}", file=sys.stderr, flush=True)
        for dtype in dtypes:
            peaks[dtype].append(peak(dtype, device))
        for side, series in zip(sides, rates, strict=True):
            series.append(side.turn(seconds))
    for side in sides:
        side.close()
    return [
        {
            "workload": side.workload.label,
            "side": side.name,
            "dtype": DTYPES[side.dtype],
            "batch_size": side.workload.batch_size,
            "flops_per_step": count,
            "images_per_second": series,
            "seconds_per_step": [side.workload.batch_size / rate for rate in series],
            "flops_per_second": [count * rate / side.workload.batch_size for rate in series],
            "peak_flops_per_second": peaks[side.dtype],
        }
        for side, count, series in zip(sides, flops, rates, strict=True)
    ]


def over(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """``a / b``, round by round."""
    return [x / y for x, y in zip(a, b, strict=True)]


def spread(series: Sequence[float], form: str = ",.0f", scale: float = 1) -> str:
    """A cell: min / median / max."""
    values = (min(series), statistics.median(series), max(series))
    return " / ".join(f"{value * scale:{form}}" for value in values)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of them the header, as a Markdown table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def beside_the_textbook(name: str, rounds: int, seconds: float, device: torch.device) -> list[dict[str, Any]]:
    """The first table's records of a workload; ours with ``ratio``, ours / textbook."""
    sides: list[Ours | Textbook] = [Textbook(WORKLOADS[name], device), Ours(WORKLOADS[name], device)]
    if name == "conv":
        sides.append(Ours(DEFAULT_RUN, device))
    theirs, ours, *rest = measure(sides, rounds, seconds, device)
    return [theirs, ours | {"ratio": over(ours["images_per_second"], theirs["images_per_second"])}, *rest]


def growth(name: str, rounds: int, seconds: float, device: torch.device) -> list[dict[str, Any]]:
    """The second table's records of a workload, with ``relative_cost``: seconds a FLOP, in the first of them 1."""
    base = WORKLOADS[name]
    variants = [
        base,
        replace(base, label=f"{base.label}, 600,000 images", copies=10),
        replace(base, batch_size=4 * base.batch_size),
        replace(base, label=f"{base.label}, twice the width", width=2),
    ]
    records = measure([Ours(variant, device) for variant in variants], rounds, seconds, device)
    first = records[0]["flops_per_second"]
    return [record | {"relative_cost": over(first, record["flops_per_second"])} for record in records]


def as_row(record: dict[str, Any]) -> list[str]:
    """A record as a row of the table."""
    compared = record.get("ratio") or record.get("relative_cost")
    return [
        f"{record['workload']}, batch {record['batch_size']}",
        f"{record['side']}, {record['dtype']}",
        spread(record["images_per_second"]),
        spread(compared, ".2f") if compared else "",
        f"{record['flops_per_step'] / 1e9:.3g}",
        spread(record["flops_per_second"], ",.0f", 1e-9),
        spread(record["peak_flops_per_second"], ",.0f", 1e-9),
        spread(over(record["flops_per_second"], record["peak_flops_per_second"]), ".1f", 100),
    ]


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were taken on, and when."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    names = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch before 2.9 has none
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **{name: capabilities.get(name) for name in ("amx_bf16", "avx512_bf16")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=WORKLOADS, action="append", help="this one only (may be repeated)")
    parser.add_argument("--growth", action="store_true", help="the second table in place of the first")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a turn; default: 6")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it there as well")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds should be 1 or more")
    try:
        device = devices.device(arguments.device)
    except UserError as error:
        parser.error(str(error))
    devices.prepare(device)
    facts = machine(device)
    print(", ".join(f"{name} {value}" for name, value in facts.items()), end="\n\n", flush=True)
    names = arguments.workload or list(WORKLOADS)
    records_of, compared = (growth, "seconds a FLOP") if arguments.growth else (beside_the_textbook, "ours / textbook")
    records = [r for name in names for r in records_of(name, arguments.rounds, arguments.seconds, device)]
    header = ["workload", "side", "images/s", compared, "GFLOP a step", "GFLOP/s", "peak GFLOP/s", "% of peak"]
    print(table([header, *map(as_row, records)]))
    if arguments.json:
        report = {**facts, "seconds": arguments.seconds, "records": records}
        write_atomic(arguments.json, (json.dumps(report, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
