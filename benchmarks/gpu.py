"""What only a GPU can show: python benchmarks/gpu.py [--workload r3gan64] [--seconds 8] [--device cuda]

All workloads take about 8 minutes. Each gets one line:

- parity: how far the weights of a run with ``graphs=auto`` lie from those of a run with ``graphs=off`` at the end of
  the same steps in float32, as a part of the way that the run went. Beside it the same for two runs with
  ``graphs=off``: cuDNN may add in another order each time. Graphs pass where both are alike.
- images/s: ours with ``graphs=off``, ours with ``graphs=auto``, both with ``precision=auto``, and the loop of
  textbook.py where there is one (on MNIST at the same size; PIL images and DataLoader included). The median of the
  ticks after the first two.
- memory: the peak of what torch had allocated, for ``graphs=off`` and ``graphs=auto``.

On a CPU (``--device cpu``) graphs are not used, and the columns of ``graphs=auto`` repeat those of ``graphs=off``.
"""

import argparse
import functools
import importlib
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import speed
import torch
from torch import Tensor, nn
from workloads import WORKLOADS, Workload, silent_folder

import gan_cli
from gan_cli import Compute, Noise, Penalty, Plan, penalties
from gan_cli.data import Dataset
from gan_cli.rundir.records import read_metrics
from gan_cli.training.device import bf16, prepare

LARGE = Workload("stylegan2", (3, 256, 256), 128, penalty=Penalty(penalties.r1, 16))
ALL = {name: WORKLOADS[name] for name in ("mlp", "conv", "dcgan", "r3gan64", "stylegan2")} | {"stylegan2_256": LARGE}
TICK = 16  # steps; a multiple of every penalty's interval
KINDS = 8  # intervals of a run that is compared: some of its steps are recorded, and some are replayed


class Run(NamedTuple):
    """The weights before and after a run, images/s, and the peak of memory in MiB."""

    start: Tensor
    end: Tensor
    rate: float
    memory: float


def run(workload: Workload, steps: int, device: torch.device, graphs: str, precision: str) -> Run:
    """A run of new networks on images of noise, batches of 64."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (256, *workload.shape), dtype=torch.uint8, generator=random)
    family = importlib.import_module(f"gan_cli.networks.{workload.network}")
    torch.manual_seed(0)
    networks = family.Generator(workload.shape, workload.z_dim), family.Discriminator(workload.shape)
    adam = functools.partial(torch.optim.Adam, lr=1e-4, betas=(0.0, 0.99), fused=True)
    start = flat(networks)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with silent_folder() as folder:
        gan_cli.train(
            *networks, Dataset(images), workload.loss, adam, adam, run_dir=folder, batch_size=64, samples=4, sinks={},
            noise=Noise(z_dim=workload.z_dim), penalty=workload.penalty,
            plan=Plan(steps, log_every=min(TICK, steps), sample_every=steps, checkpoint_every=steps),
            compute=Compute(device, bf16(precision, device), graphs=graphs),
        )  # fmt: skip
        rates = [row["images_per_second"] for row in read_metrics(Path(folder))]
    memory = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else float("nan")
    return Run(start, flat(networks), statistics.median(rates[2:] or rates), memory)


def flat(networks: Sequence[nn.Module]) -> Tensor:
    """All weights in one row, float64, on the CPU."""
    weights = [weight.detach().flatten() for network in networks for weight in network.parameters()]
    return torch.cat(weights).to("cpu", torch.float64, copy=True)


def apart(one: Run, other: Run) -> float:
    """How far the ends of two runs lie apart, as a part of the way that the first went."""
    return float((one.end - other.end).norm() / (one.end - one.start).norm())


def line(name: str, device: torch.device, seconds: float) -> str:
    """The row of a workload."""
    workload = ALL[name]
    short = KINDS * workload.penalty.interval
    plain, again, replayed = (run(workload, short, device, graphs, "fp32") for graphs in ("off", "off", "auto"))
    rates, memory = [], []
    for graphs in ("off", "auto"):
        rate = run(workload, 4 * TICK, device, graphs, "auto").rate
        steps = TICK * max(4, round(seconds * rate / 64 / TICK))
        timed = run(workload, steps, device, graphs, "auto")
        rates.append(timed.rate)
        memory.append(timed.memory)
    tutorial = ""
    if name in speed.WORKLOADS:
        loop = speed.Textbook(speed.WORKLOADS[name], device)
        tutorial = f"{loop.turn(seconds):,.0f}"
        loop.close()
    return (
        f"| {name} | {apart(plain, replayed):.1e} / {apart(plain, again):.1e} | {rates[0]:,.0f} | {rates[1]:,.0f} | "
        f"{rates[1] / rates[0]:.2f} | {tutorial} | {memory[0]:,.0f} / {memory[1]:,.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", action="append", choices=ALL, help="may be repeated; default: all")
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement of images/s, about")
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    prepare(device)
    print(torch.cuda.get_device_name(device) if device.type == "cuda" else device.type, f"torch {torch.__version__}")
    print("| batch 64 | parity: graph / plain | images/s, off | auto | ratio | textbook | MiB, off / auto |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.workload or ALL:
        try:
            print(line(name, device, arguments.seconds), flush=True)
        except RuntimeError as error:  # the next workload may pass all the same
            print(f"| {name} | {type(error).__name__}: {str(error).splitlines()[0]} | | | | | |", flush=True)


if __name__ == "__main__":
    main()
