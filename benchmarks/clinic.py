"""The clinic: runs with a trouble made on purpose, and healthy runs, under the doctor.

    python benchmarks/clinic.py train FOLDER [SECONDS]     trains what is missing in FOLDER, for so many seconds
    python benchmarks/clinic.py judge FOLDER               the tables of docs/doctor.md

Each case is a line of gan-train, with the findings that name its trouble; a healthy case has none. The thresholds of
gan_cli/diagnostics.py were set on the runs whose case and seed have an even sum, and are checked on the others.
"""

import sys
import time
from pathlib import Path

from gan_cli import cli

SEEDS = (0, 1, 2)
ALWAYS = ["sinks=[]", "device=cpu", "keep=2", "checkpoint_every=100000", "sample_every=1000"]
MNIST = ["steps=500", "log_every=10", "eval_every=500"]
RING8 = ["dataset=ring8", "steps=600", "log_every=10", "eval_every=600", "batch_size=64"]

TROUBLES: dict[str, tuple[list[str], set[str]]] = {
    "rates x20": ([*MNIST, "optimizer.generator.lr=0.12", "optimizer.discriminator.lr=0.04"],
                  {"rate_too_high", "collapse", "saturated", "d_overpowers"}),
    "minimax without penalty": ([*MNIST, "loss=minimax", "penalty=none", "optimizer.discriminator.lr=0.02"],
                                {"saturation", "d_overpowers"}),
    "D x8 wider": ([*MNIST, "net=mlp", "net.discriminator.widths=[4096,2048]"], {"d_overpowers"}),
    "k=20": ([*MNIST, "net=mlp", "k=20", "steps=200", "eval_every=200"], {"d_overpowers"}),
    "50 images": ([*MNIST, "dataset.limit=50", "penalty.gamma=0.01"], {"d_memorises", "d_overpowers"}),
    "ADA at p = 0.95": ([*MNIST, "augment=ada", "augment.target=-1", "augment.speed=2000"], {"augmentation_leaks"}),
    "gamma 100": ([*MNIST, "penalty.gamma=100"], {"d_at_chance"}),
    "gamma 0": ([*MNIST, "penalty.gamma=0"], {"d_overpowers"}),
    "batch of 2": ([*MNIST, "batch_size=2"], {"batch_too_small", "collapse", "d_at_chance"}),
    "frozen G": ([*MNIST, "optimizer.generator.lr=1e-9"], {"g_stands_still", "d_overpowers"}),
    "collapse": (["experiment=collapse_ring8", "log_every=10", "eval_every=200"], {"collapse"}),
}  # fmt: skip
HEALTHY: dict[str, list[str]] = {
    "default": MNIST,
    "fastest_mnist": ["experiment=fastest_mnist", *MNIST],
    "conditional": ["conditional=true", *MNIST],
    "mlp_mnist": ["experiment=mlp_mnist", *MNIST],
    "r3gan loss": ["loss=relativistic", "penalty=r1r2", *MNIST],
    "wgan_gp_mnist": ["experiment=wgan_gp_mnist", *MNIST, "steps=200", "eval_every=200"],
    "ring8": RING8,
    "grid25": [*RING8, "dataset=grid25"],
    "gaussian1d": ["dataset=gaussian1d", "log_every=10"],
}


def cases() -> dict[str, tuple[list[str], set[str]]]:
    """All cases: the words of gan-train, and the findings that name the trouble; of a healthy run none."""
    return {**TROUBLES, **{name: (words, set()) for name, words in HEALTHY.items()}}


def folder(top: Path, name: str, seed: int) -> Path:
    """Where the run of a case lies."""
    return top / f"{name.replace(' ', '_').replace('=', '-')}-{seed}"


def gan_train(words: list[str]) -> None:
    """``gan-train`` with these words, in this process."""
    sys.argv = ["gan-train", *words]
    try:
        cli.train()
    except SystemExit as stop:
        print(f"ended with status {stop.code}: {' '.join(words)}", flush=True)


def train(top: Path, seconds: float) -> None:
    """Train the runs that ``top`` lacks, seed by seed, until the time is over."""
    end = time.monotonic() + seconds
    for seed in SEEDS:
        for name, (words, _) in cases().items():
            run_dir = folder(top, name, seed)
            if not (run_dir / "status.json").exists() and time.monotonic() < end:
                given = [*words, *ALWAYS, f"seed={seed}", f"run_dir={run_dir}"]
                gan_train([*{word.partition("=")[0]: word for word in given}.values()])  # the last value of each key


if __name__ == "__main__":
    command, where, *rest = sys.argv[1:]
    train(Path(where), float(rest[0]) if rest else 1e9)
