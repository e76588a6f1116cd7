"""Kill a run again and again, type the same command again each time, and compare with a run left alone.

    python scripts/kill_test.py [--kills 30] [--seed 0]

Kills are SIGKILL (as by kill -9 or a machine that dies), by turns at a random moment of a process's life, its start
included, and right before or after a random one of the system calls by which files come to be: fsync, rename, link,
unlink. Afterwards these must be the same, bit for bit: every tensor of the last checkpoint; the records of
metrics.jsonl and TensorBoard, but for what tells the time; the sample grids; the names of all files. Status 1 if not.
"""

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gan_cli import cli

# Small networks that write often, at intervals that don't divide each other; dropout, batch norm, lazy R1, decay and
# averages are all states that have to come back.
RUN = [
    "net=maxout", "optimizer=adam", "penalty=r1",
    "net/generator=conv", "net.generator.width=4", "net.discriminator.width=24", "batch_size=16", "k=2",
    "samples=9", "log_every=7", "sample_every=10", "checkpoint_every=4", "keep=3", "lr_decay_after=2000", "device=cpu",
    "resume=auto",
]  # fmt: skip
CLOCKS = ("seconds", "images_per_second", "time")


def dying(point: int) -> None:
    """``gan-train`` in this process, which kills itself at call number ``point`` of those by which files come to be.

    Calls are counted before and after each. At 0 the process only counts them.
    """
    calls = itertools.count(1)

    def step() -> None:
        if next(calls) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            step()
            result = call(*arguments, **options)
            step()
            return result

        return wrapped

    for name in ("fsync", "replace", "link", "unlink"):
        setattr(os, name, deadly(getattr(os, name)))
    try:
        cli.train()
    finally:
        print("calls", next(calls) - 1)


def start(run_dir: Path, steps: int, point: int) -> subprocess.Popen:
    """``gan-train`` on ``run_dir``, in a process that dies at its call number ``point``; 0 for never."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    code = "import sys, kill_test; kill_test.dying(int(sys.argv.pop(1)))"
    arguments = [sys.executable, "-c", code, str(point), *RUN, f"steps={steps}", f"run_dir={run_dir}"]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen, seconds: float | None = None) -> tuple[int, str]:
    """The status of ``process`` and what it printed; killed after ``seconds`` of its life."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"status {process.returncode}, standard error:\n{err}")
    return process.returncode, out


def torture(run_dir: Path, steps: int, kills: int, rng: random.Random, seconds: float, calls: int) -> Iterator[str]:
    """Kill the run ``kills`` times, then let it end. Gives a line about each kill."""
    done = 0
    while done < kills:
        by_clock = done % 2 == 0
        point = 0 if by_clock else rng.randint(1, calls)
        limit = rng.uniform(0.5, seconds) if by_clock else None
        status, _ = finish(start(run_dir, steps, point), limit)
        if status == 0:  # it was faster, and the run is complete: no kill
            raise SystemExit(f"the run came to its end after {done} kills: raise --steps")
        done += 1
        saved = sorted(path.stem for path in run_dir.glob("checkpoints/[0-9]*"))
        leftovers = [path.name for path in run_dir.rglob(".*.tmp")]
        moment = f"after {limit:.1f} s" if limit is not None else f"at call {point}"
        yield f"kill {done}: {moment}; newest checkpoint {saved[-1] if saved else None}, in the making: {leftovers}"
    while finish(start(run_dir, steps, 0))[0] != 0:
        pass


def facts(run_dir: Path) -> dict[str, Any]:
    """All that must not depend on how often a run was killed."""
    # Imported here: a process that dies needs neither.
    from safetensors.torch import load_file
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    (events,) = run_dir.glob("events.*")
    return {
        "tensors": {n: t.numpy().tobytes() for n, t in load_file(run_dir / "checkpoints" / "last.safetensors").items()},
        "records": [{k: v for k, v in json.loads(line).items() if k not in CLOCKS} for line in lines],
        "events": [
            (event.step, value.tag, value.SerializeToString())
            for event in EventFileLoader(str(events)).Load()
            for value in event.summary.value
            if value.tag not in CLOCKS
        ],
        "grids": {path.name: path.read_bytes() for path in (run_dir / "samples").iterdir()},
        "names": sorted(path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*")),
    }


def main(words: Sequence[str] | None = None) -> int:
    """Status 0 if both runs are the same, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="length of the run; by default 20 for each kill")
    options = parser.parse_args(words)
    steps = options.steps or 20 * options.kills
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        alone, killed = Path(folder) / "alone", Path(folder) / "killed"
        began, epoch = time.monotonic(), time.time()
        _, out = finish(start(alone, steps, 0))
        seconds, calls = time.monotonic() - began, int(out.split()[-1])
        start_up = (alone / "config.yaml").stat().st_mtime - epoch
        print(
            f"left alone: {steps} steps, {calls} points of calls, {start_up:.1f} + {seconds - start_up:.1f} s",
            flush=True,
        )
        # Lives so short that even the longest ones together don't come to the end of the run.
        longest = start_up + 0.7 * (seconds - start_up) / options.kills
        in_the_making = 0
        for line in torture(killed, steps, options.kills, rng, longest, 7 * calls // (10 * options.kills)):
            in_the_making += "[]" not in line
            print(line, flush=True)
        one, other = facts(alone), facts(killed)
    different = [name for name in one if one[name] != other[name]]
    print(f"{options.kills} kills, {in_the_making} of them with a file in the making; torch {version('torch')}")
    print("DIFFERENT: " + ", ".join(different) if different else "the same: " + ", ".join(one))
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main())
