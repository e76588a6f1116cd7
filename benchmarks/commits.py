"""The speed of a step, this checkout beside another one: python benchmarks/commits.py OTHER [--workload r3gan64]

OTHER is the folder of another checkout. Each round starts a process for each checkout, by turns, on ``--threads``. A
process trains the networks of a recipe for a few steps in the precision of ``precision=auto``. A cell is the processor
time of a step in ms, the median over the rounds of each process's median step (with a lazy penalty: the mean over its
interval). The ratio is the other checkout's time by this checkout's, round by round.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1]


def child(name: str, steps: int) -> float:
    """The processor's milliseconds of a step."""
    import torch
    from workloads import CPU, WORKLOADS, train

    from gan_cli.training.device import prepare

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    prepare(CPU)
    workload = WORKLOADS[name]
    interval = workload.penalty.interval
    clock = train(workload, (1 + steps) * interval)
    ends = clock[-steps * interval - 1 :: interval]
    return 1000 * statistics.median(b - a for a, b in itertools.pairwise(ends)) / interval


def measured(checkout: Path, name: str, steps: int, threads: int) -> float:
    """:func:`child` in a process of its own, with the package of ``checkout``."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--child", "--workload", name, "--steps", str(steps), str(checkout)]
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return float(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--workload", action="append", help="one of workloads.py (may be repeated); default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps of a process, or intervals of a lazy penalty")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(child(arguments.workload[0], arguments.steps))
        return
    print(
        "| workload | other, ms a step | here, ms a step | ratio, min / median / max |", "|---|---|---|---|", sep="\n"
    )
    from workloads import WORKLOADS

    for name in arguments.workload or WORKLOADS:
        rounds = [
            [measured(checkout, name, arguments.steps, arguments.threads) for checkout in (arguments.other, HERE)]
            for _ in range(arguments.rounds)
        ]
        other, here = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratios = sorted(a / b for a, b in rounds)
        spread = f"{ratios[0]:.2f} / **{statistics.median(ratios):.2f}** / {ratios[-1]:.2f}"
        print(f"| {name} | {other:.0f} | {here:.0f} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
