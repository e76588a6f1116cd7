"""The clinic: runs with a trouble made on purpose, and healthy runs, under the doctor.

    python benchmarks/clinic.py train FOLDER [SECONDS]     trains what is missing in FOLDER, for so many seconds
    python benchmarks/clinic.py treat FOLDER [SECONDS]     trains what the doctor says to type against each trouble
    python benchmarks/clinic.py judge FOLDER               the tables of docs/doctor.md

Each case is a line of gan-train, with the findings that name its trouble; a healthy case has none. The thresholds of
gan_cli/diagnostics.py were set on the runs whose case and seed have an even sum, and are checked on the others.
"""

import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gan_cli import cli
from gan_cli.diagnostics.findings import NOTE
from gan_cli.metrics.catalogue import FIRST_SCORES
from gan_cli.reports.facts import examine
from gan_cli.rundir import status
from gan_cli.rundir.records import read_metrics

SEEDS = (0, 1, 2)
ALWAYS = ["sinks=[]", "device=cpu", "keep=2", "checkpoint_every=100000", "sample_every=1000"]
MNIST = ["dataset.limit=5000", "steps=450", "log_every=10", "eval_every=450"]
RING8 = ["dataset=ring8", "steps=600", "log_every=10", "eval_every=600", "batch_size=64"]
NARROW = ["net=mlp", "net.generator.widths=[64,64]", "net.discriminator.widths=[64,32]"]

TROUBLES: dict[str, tuple[list[str], set[str]]] = {
    "rates x20": ([*MNIST, "optimizer.generator.lr=0.12", "optimizer.discriminator.lr=0.04"],
                  {"rate_too_high", "collapse", "saturated", "d_overpowers"}),
    "minimax without penalty": ([*MNIST, "loss=minimax", "penalty=none", "optimizer.discriminator.lr=0.02"],
                                {"saturation", "d_overpowers"}),
    "D x8 wider": ([*MNIST, *NARROW, "net.discriminator.widths=[512,256]"], {"d_overpowers"}),
    "k=20": ([*MNIST, *NARROW, "k=20", "steps=150", "eval_every=150"], {"d_overpowers"}),
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


def runs(top: Path) -> Iterator[tuple[str, int, Path, set[str]]]:
    """The complete runs below ``top``: case, seed, folder, and the findings that name the trouble."""
    for name, (_, named) in cases().items():
        for seed in SEEDS:
            found = status.read(folder(top, name, seed))
            if found and found.status == status.COMPLETE:
                yield name, seed, folder(top, name, seed), named


def held_out(name: str, seed: int) -> bool:
    """Whether the run was kept out when the thresholds were set."""
    return ([*cases()].index(name) + seed) % 2 == 1


def found_in(run_dir: Path) -> list[dict[str, object]]:
    """The findings of a run, warnings and worse, the earliest first."""
    found = [dict(one) for one in examine(run_dir).findings if one["severity"] != NOTE]
    return sorted(found, key=lambda one: one["since"])


def score(run_dir: Path) -> float | None:
    """The last first score of a run: a lower one is better."""
    found = [row[name] for row in read_metrics(run_dir) for name in FIRST_SCORES if name in row]
    return found[-1] if found else None


def treat(top: Path, seconds: float) -> None:
    """Train, for each troubled run, the line of its first finding, until the time is over."""
    end = time.monotonic() + seconds
    for name, _, run_dir, named in runs(top):
        lines = [str(one["line"]) for one in found_in(run_dir) if one["line"]]
        if name in TROUBLES and named and lines and not treated(run_dir) and time.monotonic() < end:
            words = shlex.split(lines[0])[1:]
            gan_train([*words[:-1], f"run_dir={run_dir}+treated"])


def treated(run_dir: Path) -> Path | None:
    """The folder of the run that the doctor's line began, if it is complete."""
    place = run_dir.with_name(f"{run_dir.name}+treated")
    found = status.read(place)
    return place if found and found.status == status.COMPLETE else None


def judge(top: Path) -> None:
    """Print a line for each run, and the counts on either half."""
    counts = {half: dict.fromkeys(("troubles", "named", "healthy", "stops", "warnings"), 0) for half in (False, True)}
    print("| case | seed | half | findings, since step (of) | score | treated |\n|---|---|---|---|---|---|")
    for name, seed, run_dir, named in runs(top):
        found, last, half = found_in(run_dir), read_metrics(run_dir)[-1]["step"], counts[held_out(name, seed)]
        early = [one for one in found if int(str(one["since"])) <= last / 3]
        if named:
            half["troubles"] += 1
            half["named"] += any(one["name"] in named for one in early)
        else:
            half["healthy"] += 1
            half["stops"] += any(one["severity"] == "stop" for one in found)
            half["warnings"] += any(one["severity"] == "warning" for one in found)
        told = ", ".join(f"{one['name']} {one['since']}" for one in found) or "none"
        cured, which = treated(run_dir), "check" if held_out(name, seed) else "set"
        scores = [score(place) if place else None for place in (run_dir, cured)]
        shown = ["" if value is None else f"{value:.3g}" for value in scores]
        print(f"| {name} | {seed} | {which} | {told} ({last}) | {shown[0]} | {shown[1]} |")
    for checked, half in counts.items():
        print("checked on" if checked else "set on", half)


if __name__ == "__main__":
    command, where, *rest = sys.argv[1:]
    if command == "judge":
        judge(Path(where))
    else:
        {"train": train, "treat": treat}[command](Path(where).absolute(), float(rest[0]) if rest else 1e9)
