"""The Fréchet distance of MNIST runs: python benchmarks/quality.py CKPT [CKPT …]

Each CKPT is a run folder (then its last checkpoint) or a checkpoint file. 10,000 samples of the averaged generator
(seed 0, as gan-sample draws them) against all 60,000 training images, on the 128 features of the shipped classifier.
Prints the floor (the 10,000 test images), a line for each, and the mean and standard deviation over all of them.
"""

import sys

import torch

from gan_cli import sampling
from gan_cli.config.saved import open_run
from gan_cli.data.idx import mnist
from gan_cli.metrics.extractor import digit_extractor
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.metrics.mean_std import mean_std

N = 10_000


def main() -> None:
    features = digit_extractor(torch.device("cpu")).features
    real = features(mnist().images)
    print(f"floor, test images: {frechet_distance(real, features(mnist(split='test').images)):.2f}")
    distances = []
    for run in map(open_run, sys.argv[1:]):
        fake = torch.cat(list(sampling.generate(run.generator(), sampling.latents(run.noise, N, seed=0))))
        distances.append(frechet_distance(real, features(fake)))
        progress = run.checkpoint.progress
        print(f"{run.path}: {distances[-1]:.2f} after {progress.seconds:.0f} s, {progress.step:,} steps", flush=True)
    mean, std = mean_std(distances)
    print(f"mean: {mean:.2f}" + (f" ± {std:.2f} (n = {len(distances)})" if std is not None else ""))


if __name__ == "__main__":
    main()
