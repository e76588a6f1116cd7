"""The Fréchet distance of MNIST runs: python benchmarks/quality.py RUN_DIR [RUN_DIR …]

10,000 samples of the averaged generator (seed 0, as gan-sample draws them) against all 60,000 training images, on the
128 features of the shipped classifier. Prints a line for every checkpoint of each run, their training seconds, and at
the end the mean and standard deviation over the runs' last checkpoints; first the floor, the 10,000 test images.
"""

import sys
from pathlib import Path

import torch

from gan_cli import checkpoint, images
from gan_cli.build import noise
from gan_cli.data.idx import mnist
from gan_cli.metrics.classifier import mnist_features
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.sample import load_generator
from gan_cli.stats import mean_std

N = 10_000


def main() -> None:
    real = mnist_features(mnist().images)
    print(f"floor, test images: {frechet_distance(real, mnist_features(mnist(split='test').images)):.2f}")
    last = []
    for run_dir in map(Path, sys.argv[1:]):
        for path in sorted((run_dir / "checkpoints").glob("0*.safetensors")):
            opened = checkpoint.read(path)
            prior, z_dim = noise(opened.config["net"])
            fake = torch.cat(list(images.generate(load_generator(opened), images.latents(prior, N, z_dim, seed=0))))
            distance = frechet_distance(real, mnist_features(fake))
            progress = opened.progress
            print(f"{path}: {distance:.2f} after {progress.seconds:.0f} s, {progress.step:,} steps", flush=True)
        last.append(distance)
    mean, std = mean_std(last)
    print(f"last checkpoints: {mean:.2f}" + (f" ± {std:.2f} (n = {len(last)})" if std is not None else ""))


if __name__ == "__main__":
    main()
