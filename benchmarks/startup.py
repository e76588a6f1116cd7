"""What gan-train costs before and beside training: python benchmarks/startup.py

- `gan-train --help`: wall time of the command.
- Command to first training step: from starting the process to the `time` in the record of step 1, which is written
  when the step is done. The default run, but for `steps=1 log_every=1`.
- Peak memory: the largest resident set of the default run's process over 300 steps, in GB of 10^9 bytes.

Times are min / median of five, after a start that is not counted: it finds the files in the disk's cache, and Python's
bytecode compiled, as every start but the first does. Nothing heavy is imported here: on Linux the resident set of a
process counts from what its parent had when it was started.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMES = 5
GAN_TRAIN = Path(sys.executable).with_name("gan-train")


def gan_train(*arguments: str) -> int:
    """Run the command to its end, in silence. Its peak resident set in bytes; CalledProcessError if it fails."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([GAN_TRAIN, *arguments], stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            sys.stderr.write(errors.read().decode(errors="replace"))
            raise subprocess.CalledProcessError(process.returncode, process.args)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def help_seconds() -> float:
    start = time.time()
    gan_train("--help")
    return time.time() - start


def first_step_seconds() -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.time()
        gan_train("steps=1", "log_every=1", f"run_dir={folder}/run")
        return json.loads((Path(folder) / "run" / "metrics.jsonl").read_text())["time"] - start


def peak_memory() -> float:
    with tempfile.TemporaryDirectory() as folder:
        return gan_train("steps=300", f"run_dir={folder}/run") / 1e9


def main() -> None:
    for name, measure, goal in (("gan-train --help", help_seconds, 0.6), ("first step", first_step_seconds, 5.0)):
        measure()
        seconds = [measure() for _ in range(TIMES)]
        print(f"{name}: {min(seconds):.2f} / {statistics.median(seconds):.2f} s (goal: {goal} s)", flush=True)
    print(f"peak memory: {peak_memory():.2f} GB (goal: 1 GB)")


if __name__ == "__main__":
    main()
