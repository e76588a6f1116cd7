"""Kernels of a training step: python benchmarks/kernels.py [--workload r3gan64] [--precision fp32] [--profile]

A kernel is an operation that torch dispatches: about one launch on a GPU. Views and allocations are left out. A fused
or ``foreach`` operation counts as one. The start, records, grids and checkpoints drop out: the count is that of a run
of twice as many steps minus that of the run, divided by the steps between. With a lazy penalty it is the mean over its
interval.
The host's time is the processor's for a step of four images on one thread, the median. It has little arithmetic in it
for small networks, and some for large ones. ``--profile`` lists the kernels by name. To count another checkout's:
PYTHONPATH=CHECKOUT python benchmarks/kernels.py.
"""

import argparse
import itertools
import statistics
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from workloads import CPU, WORKLOADS, train

from gan_cli.training.device import prepare

FREE = {
    "_unsafe_view",
    "detach",
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "promote_types",
}


class Kernels(TorchDispatchMode):
    """Counts the operations that reach the device, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if not (func.is_view or name in FREE or name.startswith("_record_function")):
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def counted(name: str, precision: str) -> Counter[str]:
    """The kernels of a step, by name."""
    steps, found = WORKLOADS[name].penalty.interval, []
    for length in (steps, 2 * steps):
        with Kernels() as kernels:
            train(WORKLOADS[name], length, 4, precision, log_every=length)
        found.append(kernels.counts)
    return Counter({kernel: (n - found[0][kernel]) / steps for kernel, n in found[1].items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", action="append", help="one of workloads.py (may be repeated); default: all")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    prepare(CPU)
    print(f"| workload, {arguments.precision} | kernels a step | host, ms a step |", "|---|---|---|", sep="\n")
    for name in arguments.workload or WORKLOADS:
        counts = counted(name, arguments.precision)
        clock = train(WORKLOADS[name], 9, 4, arguments.precision)
        host = 1000 * statistics.median(b - a for a, b in itertools.pairwise(clock))
        print(f"| {name} | {sum(counts.values()):,.0f} | {host:.1f} |", flush=True)
        for kernel, n in counts.most_common() if arguments.profile else []:
            if n >= 0.5:
                print(f"  {n:7.1f} {kernel}")


if __name__ == "__main__":
    main()
