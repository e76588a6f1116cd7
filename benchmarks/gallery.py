"""What each recipe draws within the same time, on drawn faces: python benchmarks/gallery.py FOLDER [--seconds 1800]

Trains every recipe on dataset=drawn_faces at 64x64 for so many seconds of one thread, into FOLDER/NAME, one after the
other, and asks gan-eval for 4,000 samples of each. A recipe that was trained and measured before is not done again, and
one that was interrupted goes on. Prints a table, and writes FOLDER/gallery.webp: a row of samples for each recipe, in
the order of the table. All recipes take the same options but for those that make them what they are.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

import gan_cli
from gan_cli.files import replacing
from gan_cli.pictures.grids import grid
from gan_cli.reports.facts import examine
from gan_cli.rundir.records import read_metrics

COLUMNS = 10
NARROW = (
    "net=dcgan net.z_dim=64 net.generator.width=32 net.discriminator.width=24 net.discriminator.norm=none penalty=r1 "
    "penalty.gamma=0.3 update=shared optimizer.lr={generator:0.002,discriminator:0.001} optimizer.betas=[0.0,0.99]"
)
# How a row shows its numbers. Without gan-cli[fid], precision and recall are by the features of the random network.
SCORES = {
    "frechet_attributes": ",.0f", "attribute_kl": ".3f", "values_hit": ".0f", "frechet_random": ".3g",
    "precision": ".2f", "recall": ".2f",
}  # fmt: skip
SHOWN = {"steps": ",", "images/s": ".0f"} | SCORES
RECIPES = {
    "pictures": "net=pictures",
    "conv": "net=conv",
    "narrow_dcgan_r1": NARROW,
    "dcgan_faces": "experiment=dcgan_faces",
    "hw6_dcgan": "experiment=hw6_dcgan",
    "hw6_wgan": "experiment=hw6_wgan",
    "hw6_wgan_gp": "experiment=hw6_wgan_gp",
    "hw6_sngan": "experiment=hw6_sngan",
    "sngan": "net=sngan loss=hinge",
    "resnet": "net=resnet",
    "stylegan2_small": "experiment=stylegan2_small",
    "r3gan_small": "experiment=r3gan_small",
    "r3gan": "net=r3gan loss=relativistic",
}


def command(name: str, *words: str) -> None:
    """Run ``gan-NAME`` with ``words`` in a process of one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "gan_cli", name, *words], check=True, env=environment)


def measured(folder: Path, recipe: str, seconds: float) -> dict[str, float]:
    """Train and measure a recipe. Returns the numbers of its row."""
    if not (folder / "eval.json").is_file():
        words = [*recipe.split(), "dataset=drawn_faces", "threads=1", f"max_seconds={seconds}", "steps=10000000"]
        command("train", *words, "sample_every=1000000", "resume=auto", f"run_dir={folder}")
        command("eval", f"ckpt={folder}", "metrics=[frechet_random,precision_recall,attributes]", "n=4000")
    scores = json.loads((folder / "eval.json").read_text())
    last = read_metrics(folder)[-1]
    values = {name: scores[name]["value"] for name in SCORES}
    return {"steps": last["step"], "images/s": last["images"] / last["seconds"], **values}


def said(folder: Path) -> str:
    """The findings that hold at the end of a run."""
    return (
        ", ".join(f"`{one['name']}` {one['since']}" for one in examine(folder).findings if one["until"] is None)
        or "none"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--only", nargs="*", choices=RECIPES, default=list(RECIPES))
    asked = parser.parse_args()
    rows = [f"| recipe | {' | '.join(SHOWN)} | findings |", "|---" * (len(SHOWN) + 2) + "|"]
    samples = []
    for name in asked.only:
        folder = asked.folder / name
        row = measured(folder, RECIPES[name], asked.seconds)
        shown = (f"{row[key]:{form}}" for key, form in SHOWN.items())
        rows.append(f"| {name} | {' | '.join(shown)} | {said(folder)} |")
        samples.append(gan_cli.sample(folder, n=COLUMNS, seed=1))
    print("\n".join(rows))
    sheet = grid(torch.cat(samples), columns=COLUMNS)
    with replacing(path := asked.folder / "gallery.webp") as file:
        sheet.save(file, format="WEBP", quality=90)
    print(path)


if __name__ == "__main__":
    main()
