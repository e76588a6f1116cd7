"""Does frechet_random rank checkpoints as a trained classifier does? python benchmarks/ranking.py CKPT…

CKPT is a checkpoint file, or a run folder (then all its checkpoints: train with keep=null). All are of
dataset=drawn_faces, or all of dataset=fashion_mnist (``--fashion FOLDER``: where its files are). Each is measured on
2,000 samples, by the network with random weights and by a classifier, against 10,000 training images. For faces the
classifier is the shipped one of the attributes. For Fashion-MNIST it is trained here on the labels, in a minute or two.
Prints a row for each, what held-out images get, and Spearman's rank correlation of the two columns.
"""

import argparse
import itertools
from pathlib import Path

import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional

import gan_cli
from gan_cli.data import Dataset
from gan_cli.data.drawn_faces import drawn_faces
from gan_cli.data.idx import fashion_mnist
from gan_cli.metrics.classifier import Classifier
from gan_cli.metrics.extractor import Extractor, face_extractor, random_extractor
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.rundir import layout

SAMPLES, REAL = 2000, 10_000
EPOCHS, BATCH_SIZE = 4, 128


def clothes_extractor(training: Dataset, test: Dataset) -> Extractor:
    """The network of the digit classifier, trained on the labels of Fashion-MNIST. Prints its accuracy."""
    assert training.labels is not None and test.labels is not None
    torch.manual_seed(0)
    network = Classifier().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(training)).split(BATCH_SIZE):
            loss = functional.cross_entropy(network(training.images[batch] / 255), training.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()

    def embed(images: Tensor) -> Tensor:
        return network.features(images / 255)

    extractor = Extractor("classifier of clothes", None, embed, network.classify)
    right = (extractor.labels(test.images) == test.labels).sum().item()
    print(f"a classifier of clothes, right on {right / len(test):.1%} of the held-out images")
    return extractor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt", type=Path, nargs="+")
    parser.add_argument("--fashion", type=Path, help="the folder of Fashion-MNIST's four files")
    asked = parser.parse_args()
    found = ([path] if path.is_file() else layout.in_order(path / "checkpoints")[::-1] for path in asked.ckpt)
    files = [*itertools.chain.from_iterable(found)]
    if len(files) < 2:
        parser.error("a ranking needs two checkpoints or more: give files, or run folders that have some")
    device = torch.device("cpu")
    if asked.fashion:
        training, test = fashion_mnist(str(asked.fashion)), fashion_mnist(str(asked.fashion), split="test")
        trained = clothes_extractor(training, test)
    else:
        training, test = drawn_faces(), drawn_faces(split="test")
        trained = face_extractor(device)
    extractors = [random_extractor(device), trained]
    real = [extractor.features(training.images[:REAL]) for extractor in extractors]

    def distances(images: Tensor) -> list[float]:
        pairs = zip(extractors, real, strict=True)
        return [frechet_distance(known, extractor.features(images)) for extractor, known in pairs]

    print("checkpoint  frechet_random  by the classifier")
    rows = []
    for path in files:
        rows.append(distances(gan_cli.sample(path, n=SAMPLES)))
        print(path.parents[1].name, path.stem, *(f"{value:.4g}" for value in rows[-1]), flush=True)
    print("held-out images", *(f"{value:.4g}" for value in distances(test.images[:SAMPLES])))
    columns = zip(*rows, strict=True)
    print(f"Spearman's rank correlation of {len(rows)} checkpoints: {spearmanr(*columns).statistic:.3f}")


if __name__ == "__main__":
    main()
