"""What the signals and the doctor cost: python benchmarks/signals.py [WORDS OF gan-train …]

Trains once in a temporary folder, and prints the share of the process's time that went into the signals and the doctor.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from gan_cli import cli
from gan_cli.diagnostics.doctor import Doctor
from gan_cli.training import run

spent = dict.fromkeys(("signals", "doctor", "steps"), 0.0)


def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, with its processor time added to ``spent``."""

    def call(*arguments: Any) -> Any:
        begun = time.process_time()
        try:
            return function(*arguments)
        finally:
            spent[name] += time.process_time() - begun

    return call


def main() -> None:
    run.signals = timed("signals", run.signals)
    Doctor.look = timed("doctor", Doctor.look)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["gan-train", *sys.argv[1:], "sinks=[]", f"run_dir={folder}/run"]
        original = run.Run.steps
        begun = [0.0]

        def steps(self: run.Run) -> Any:
            begun[0] = time.process_time()
            yield from original(self)
            spent["steps"] = time.process_time() - begun[0]

        run.Run.steps = steps  # type: ignore[method-assign]
        cli.train()
    for name in ("signals", "doctor"):
        print(f"{name}: {spent[name] / spent['steps']:.2%} of {spent['steps']:.1f} s of processor time")


if __name__ == "__main__":
    main()
