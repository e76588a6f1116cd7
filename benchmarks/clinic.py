"""The clinic: runs with a trouble made on purpose, and healthy runs, under the doctor.

    python benchmarks/clinic.py train FOLDER [SECONDS]     trains what is missing in FOLDER, for so many seconds
    python benchmarks/clinic.py treat FOLDER [SECONDS]     trains what the doctor says to type against each trouble
    python benchmarks/clinic.py judge FOLDER               the tables of docs/doctor.md
    python benchmarks/clinic.py store FOLDER FILE          the records of one run of each case, for tests/data/clinic

Each case is a line of gan-train, with the findings that name its trouble; a healthy case has none. The thresholds of
gan_cli/diagnostics were set on the runs whose case and seed have an even sum, and are checked on the others.

A run of digits is scored by the Fréchet distance of 2,000 samples from MNIST's 10,000 test images: the distance from
its own training images would reward a D that memorises them. Other runs have their last score.
"""

import gzip
import json
import shlex
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch

import gan_cli
from gan_cli import cli
from gan_cli.data.idx import mnist
from gan_cli.diagnostics.findings import NOTE
from gan_cli.metrics.catalogue import FIRST_SCORES
from gan_cli.metrics.extractor import Extractor, digit_extractor
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.reports.facts import examine, saved
from gan_cli.rundir import status
from gan_cli.rundir.records import read_metrics

SEEDS = (0, 1, 2)
CLOCKS = ("seconds", "time", "images_per_second", "value")  # of which the doctor takes no notice
LOOKED_AT = ("loss", "penalty", "augment", "optimizer", "batch_size", "k", "examples", "image_shape")
ALWAYS = ["sinks=[]", "device=cpu", "keep=2", "checkpoint_every=100000", "sample_every=1000"]
MNIST = ["dataset.limit=5000", "steps=450", "log_every=10"]
RING8 = ["dataset=ring8", "steps=600", "log_every=10", "eval_every=200", "batch_size=64"]
NARROW = ["net=mlp", "net.generator.widths=[64,64]", "net.discriminator.widths=[64,32]"]

TROUBLES: dict[str, tuple[list[str], set[str]]] = {
    "rates x20": ([*MNIST, "optimizer.generator.lr=0.12", "optimizer.discriminator.lr=0.04"],
                  {"rate_too_high", "nearly_nonfinite"}),
    "minimax without penalty": ([*MNIST, "loss=minimax", "penalty=none", "optimizer.discriminator.lr=0.02"],
                                {"no_gradient", "d_overpowers"}),
    "D x8 wider": ([*MNIST, *NARROW, "net.discriminator.widths=[512,256]", "steps=900"], {"d_overpowers"}),
    "k=20": ([*MNIST, *NARROW, "k=20", "steps=150"], {"d_overpowers"}),
    "50 images": ([*MNIST, "dataset.limit=50", "penalty.gamma=0.01", "steps=700"], {"d_memorises"}),
    "ADA at p = 0.95": ([*MNIST, "augment=ada", "augment.target=-1", "augment.speed=2000"], {"augmentation_leaks"}),
    "gamma 100": ([*MNIST, "penalty.gamma=100", "steps=700"], {"d_at_chance"}),
    "gamma 0": ([*RING8, "loss=relativistic", "penalty.gamma=0"], {"d_overpowers"}),
    "batch of 2": ([*MNIST, "batch_size=2"], {"batch_too_small"}),
    "frozen G": ([*MNIST, "optimizer.generator.lr=1e-9"], {"g_stands_still", "d_overpowers"}),
    "collapse": (["experiment=collapse_ring8", "log_every=10", "eval_every=200"], {"collapse"}),
}  # fmt: skip
HEALTHY: dict[str, list[str]] = {
    "default": MNIST,
    "fastest_mnist": ["experiment=fastest_mnist", *MNIST],
    "conditional": ["conditional=true", *MNIST],
    "mlp_mnist": ["experiment=mlp_mnist", *MNIST, "steps=600"],
    "r3gan loss": ["loss=relativistic", "penalty=r1r2", *MNIST],
    "wgan_gp_mnist": ["experiment=wgan_gp_mnist", *MNIST, "steps=80"],
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


def line_of(run_dir: Path) -> list[str]:
    """The words of the first line that gan-doctor says to type, without its run_dir; none if it says none."""
    lines = [str(one["line"]) for one in examine(run_dir).findings if one["line"]]
    return shlex.split(lines[0])[1:-1] if lines else []


def score(run_dir: Path) -> float | None:
    """The score of a run: a lower one is better. None if it has none."""
    found = [row[name] for row in read_metrics(run_dir) for name in FIRST_SCORES if name in row]
    if found:
        return found[-1]
    samples = gan_cli.sample(run_dir, 2000)
    return float(frechet_distance(test_features(), digits().features(samples))) if samples.dim() == 4 else None


@cache
def digits() -> Extractor:
    """The shipped classifier of digits."""
    return digit_extractor(torch.device("cpu"))


@cache
def test_features() -> torch.Tensor:
    """Its features of MNIST's test images."""
    return digits().features(mnist(split="test").images)


def treat(top: Path, seconds: float) -> None:
    """Train, for each troubled run, the first line that gan-doctor says to type, until the time is over."""
    end = time.monotonic() + seconds
    for name, _, run_dir, named in runs(top):
        words = line_of(run_dir) if name in TROUBLES and named else []
        if words and not treated(run_dir) and time.monotonic() < end:
            gan_train([*words, f"run_dir={run_dir}+treated"])


def treated(run_dir: Path) -> Path | None:
    """The folder of the run that the doctor's line began, if it is complete."""
    place = run_dir.with_name(f"{run_dir.name}+treated")
    found = status.read(place)
    return place if found and found.status == status.COMPLETE else None


def store(top: Path, file: Path) -> None:
    """Write the last run of each case to ``file``, a line each: what the doctor looks at, to five digits."""
    lines = {}
    for name, seed, run_dir, named in runs(top):
        config = saved(run_dir / "checkpoints" / "last.safetensors").part("config", dict)
        facts = {key: config[key] for key in LOOKED_AT if key in config}
        rows = [{key: float(f"{row[key]:.5g}") for key in row if key not in CLOCKS} | {"step": row["step"]}
                for row in read_metrics(run_dir)]  # fmt: skip
        run = {"case": name, "seed": seed, "named": sorted(named), "config": facts, "records": rows}
        lines[name] = json.dumps(run)
    file.write_bytes(gzip.compress("\n".join(lines.values()).encode(), mtime=0))


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
        scores = [score(place) for place in (run_dir, cured)] if cured else []
        shown = " | ".join(f"{value:.3g}" for value in scores) or " | "
        print(f"| {name} | {seed} | {which} | {told} ({last}) | {shown} |")
    for checked, half in counts.items():
        print("checked on" if checked else "set on", half)


if __name__ == "__main__":
    command, where, *rest = sys.argv[1:]
    if command == "judge":
        judge(Path(where))
    elif command == "store":
        store(Path(where), Path(rest[0]))
    else:
        {"train": train, "treat": treat}[command](Path(where).absolute(), float(rest[0]) if rest else 1e9)
