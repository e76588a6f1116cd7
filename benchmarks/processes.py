"""Steps a second of several processes that share a minibatch, beside those of one, by turns.

    python benchmarks/processes.py --workload dcgan --processes 2 --rounds 3

Each process computes with one thread. Starts are not counted. A cell is the median of the steps. The second ratio is of
the processor's time of the first process, which other work on the machine disturbs less, and in which no process waits.
"""

import argparse
import functools
import itertools
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from workloads import WORKLOADS, Workload

import gan_cli
from gan_cli import Compute, Noise, Plan, meeting
from gan_cli.data import Dataset
from gan_cli.training.device import bf16, prepare

WARM_UP = 3  # steps that are not counted


def work(rank: int, n: int, port: int, workload: Workload, batch_size: int, steps: int, queue: Any) -> None:
    """One of ``n`` processes. The first one puts the seconds of a step into ``queue``, and those of its processor."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(n), RANK=str(rank))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    torch.set_num_threads(1)
    prepare(torch.device("cpu"))
    torch.manual_seed(0)
    images = torch.randint(256, (4 * batch_size, *workload.shape), dtype=torch.uint8)
    network, cpu = f"gan_cli.networks.{workload.network}", torch.device("cpu")
    clock: list[tuple[float, float]] = []
    adam = functools.partial(torch.optim.Adam, lr=1e-4, betas=(0.0, 0.99), fused=True)
    adam_of_g = functools.partial(_clocked, adam, clock)
    with tempfile.TemporaryDirectory() as folder:
        gan_cli.train(
            {"_target_": f"{network}.Generator"}, {"_target_": f"{network}.Discriminator"}, Dataset(images),
            workload.loss, adam_of_g, adam, run_dir=Path(folder) / "run", batch_size=batch_size,
            noise=Noise(z_dim=workload.z_dim), penalty=workload.penalty, compute=Compute(cpu, bf16("auto", cpu)),
            plan=Plan(steps + WARM_UP, log_every=10**6, sample_every=10**6, checkpoint_every=10**6), samples=1,
            sinks={},
        )  # fmt: skip
    if rank == 0:
        pairs = [*itertools.pairwise(clock[WARM_UP - 1 :])]
        queue.put([statistics.median(end[i] - start[i] for start, end in pairs) for i in (0, 1)])
    meeting.leave()


def _clocked(make: Any, clock: list[tuple[float, float]], weights: Any) -> torch.optim.Optimizer:
    """An optimizer that notes the time of each of its steps, which are those of the run."""
    optimizer: torch.optim.Optimizer = make(weights)
    optimizer.register_step_post_hook(lambda *_: clock.append((time.perf_counter(), time.process_time())))
    return optimizer


def seconds_a_step(n: int, workload: Workload, batch_size: int, steps: int) -> tuple[float, float]:
    """Of a run that ``n`` processes share: those that pass, and those of the first one's processor."""
    context = multiprocessing.get_context("spawn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = context.Queue()
    started = [
        context.Process(target=work, args=(rank, n, port, workload, batch_size, steps, queue)) for rank in range(n)
    ]
    for process in started:
        process.start()
    found: tuple[float, float] = queue.get()
    for process in started:
        process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=WORKLOADS, default="dcgan")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    workload, ratios = WORKLOADS[arguments.workload], []
    for _ in range(arguments.rounds):
        one, several = (
            seconds_a_step(n, workload, arguments.batch_size, arguments.steps) for n in (1, arguments.processes)
        )
        ratios.append([a / b for a, b in zip(one, several, strict=True)])
        print(
            f"1 process {one[0]:.3f} s a step, {arguments.processes} processes {several[0]:.3f} s: "
            f"{ratios[-1][0]:.2f}x; processor {one[1]:.3f} and {several[1]:.3f} s: {ratios[-1][1]:.2f}x",
            flush=True,
        )
    passed, computed = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"{arguments.workload}, batch {arguments.batch_size}: median {passed:.2f}x, processor {computed:.2f}x")


if __name__ == "__main__":
    main()
