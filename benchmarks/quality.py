"""The Fréchet distance of MNIST runs: python benchmarks/quality.py CKPT [CKPT …]

Each CKPT is a run folder (then its last checkpoint) or a checkpoint file. 10,000 samples of the averaged generator
(seed 0, as gan-sample draws them) against all 60,000 training images, on the 128 features of the shipped classifier.
Prints the floor (the 10,000 test images), a line for each, and the mean and standard deviation over all of them.
"""

import sys

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
    distances = []
    for opened in map(checkpoint.read, sys.argv[1:]):
        prior, z_dim = noise(opened.config["net"])
        fake = torch.cat(list(images.generate(load_generator(opened), images.latents(prior, N, z_dim, seed=0))))
        distances.append(frechet_distance(real, mnist_features(fake)))
        progress = opened.progress
        print(f"{opened.path}: {distances[-1]:.2f} after {progress.seconds:.0f} s, {progress.step:,} steps", flush=True)
    mean, std = mean_std(distances)
    print(f"mean: {mean:.2f}" + (f" ± {std:.2f} (n = {len(distances)})" if std is not None else ""))


if __name__ == "__main__":
    main()
