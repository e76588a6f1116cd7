"""How near runs of pix2pix come to held-out targets: as pairs, as a whole, and in the statistics of small patches.

    python benchmarks/pairs.py RUN…

The first row is that of the untouched sources. A run's data are those of its configuration. The last column is a
Fréchet distance between all patches of 4x4 pixels of outputs and of targets: it sees texture and blur, and no content.
"""

import argparse
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import unfold

from gan_cli.config.display import held_images
from gan_cli.config.saved import open_run
from gan_cli.metrics.extractor import pixel_extractor, random_extractor
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.metrics.translation import errors, frechet, psnr
from gan_cli.translating import mode_for, translate

PATCH = 4  # pixels a side


def patches(images: Tensor) -> Tensor:
    """Every other patch of uint8 images ``[N, C, H, W]``, in [0, 1]: ``[M, C * PATCH * PATCH]``."""
    found = unfold(images.float() / 255, PATCH, stride=2)
    return found.transpose(1, 2).flatten(0, 1)


def row(outputs: Tensor, targets: Tensor) -> list[str]:
    return [
        f"{errors(outputs, targets).mean():.4f}",
        f"{psnr(outputs, targets).mean():.2f}",
        f"{frechet(outputs, targets, pixel_extractor(targets.shape[1:])):.2f}",
        f"{frechet(outputs, targets, random_extractor(torch.device('cpu'))):.3f}",
        f"{frechet_distance(patches(targets), patches(outputs)):.4f}",
    ]


def rows(runs: list[str]) -> Iterator[list[str]]:
    for number, run in enumerate(runs):
        saved = open_run(run)
        held = held_images(saved.domains(), saved.dataset_node())
        if number == 0:
            yield ["untouched sources", "", *row(held.sources, held.targets)]
        mode = mode_for(saved.checkpoint.config["batch_size"])
        for weights in ("ema", "raw"):
            outputs = translate(saved.generator(weights), held.sources, mode)
            yield [run, weights, *row(outputs, held.targets)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+")
    print("run", "weights", "error", "PSNR", "Fréchet in pixels", "in random features", "of patches", sep=" | ")
    for line in rows(parser.parse_args().runs):
        print(*line, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
