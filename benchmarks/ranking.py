"""How far does frechet_random rank checkpoints as a trained classifier does? python benchmarks/ranking.py RUN_DIR…

The runs are of dataset=drawn_faces, with keep=null. All their checkpoints are measured on 2,000 samples, by the network
with random weights and by the classifier of the attributes, against 10,000 training faces. Prints a row for each, what
held-out faces get, and Spearman's rank correlation of the two columns. Some seconds a checkpoint.
"""

import sys
from pathlib import Path

import torch
from scipy.stats import spearmanr
from torch import Tensor

import gan_cli
from gan_cli.data.drawn_faces import drawn_faces
from gan_cli.metrics.extractor import face_extractor, random_extractor
from gan_cli.metrics.frechet import frechet_distance

SAMPLES, REAL = 2000, 10_000


def main() -> None:
    device = torch.device("cpu")
    extractors = [random_extractor(device), face_extractor(device)]
    real = [extractor.features(drawn_faces().images[:REAL]) for extractor in extractors]

    def distances(images: Tensor) -> list[float]:
        pairs = zip(extractors, real, strict=True)
        return [frechet_distance(known, extractor.features(images)) for extractor, known in pairs]

    print("checkpoint  frechet_random  frechet_attributes")
    rows = []
    for path in sorted(path for run in sys.argv[1:] for path in Path(run, "checkpoints").glob("0*.safetensors")):
        rows.append(distances(gan_cli.sample(path, n=SAMPLES)))
        print(path.parents[1].name, int(path.stem), *(f"{value:.4g}" for value in rows[-1]), flush=True)
    print("held-out faces", *(f"{value:.4g}" for value in distances(drawn_faces(split="test").images[:SAMPLES])))
    columns = zip(*rows, strict=True)
    print(f"Spearman's rank correlation of {len(rows)} checkpoints: {spearmanr(*columns).statistic:.3f}")


if __name__ == "__main__":
    main()
