"""Whether what is fast trains as what is plain does: losses and Fréchet distance of dcgan on 32x32 digits, over seeds.

    python benchmarks/fast_and_plain.py [--steps 300] [--seeds 3]

Three ways to the same function: float32; bfloat16 by torch's convolutions alone; bfloat16 with the products that
gan_cli/networks/convolution.py takes where they are faster, as gan-train runs. Losses and D's outputs are means over
the second half of the run, the distance is that of 5,000 samples of the last generator against the training images.
"""

import argparse
import contextlib
import functools
import io
import tempfile
from pathlib import Path

import torch

import gan_cli
from gan_cli import Compute, Noise, Plan, losses, sampling
from gan_cli.data.idx import mnist
from gan_cli.metrics.extractor import extractor_for
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.metrics.mean_std import mean_std
from gan_cli.networks import convolution, dcgan
from gan_cli.rundir.records import read_metrics
from gan_cli.training.device import prepare

N, Z_DIM, WIDTH = 5_000, 100, 32
WAYS = {"fp32": (False, False), "bf16, convolutions": (True, False), "bf16, products": (True, True)}
NAMES = ("loss_d", "loss_g", "d_real", "d_fake")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    device = torch.device("cpu")
    prepare(device)
    data = mnist(size=32)
    extractor = extractor_for(data.image_shape, device, data.class_names)
    real = extractor.features(data.images, 256, "training data")
    adam = functools.partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999), fused=True)
    suits = convolution._in_cpu_bf16
    print("| way | " + " | ".join(NAMES) + " | Fréchet |", "|---" * (len(NAMES) + 2) + "|", sep="\n")
    for way, (bf16, products) in WAYS.items():
        convolution._in_cpu_bf16 = suits if products else lambda *_: False
        rows = []
        for seed in range(arguments.seeds):
            torch.manual_seed(seed)
            generator = dcgan.Generator(data.image_shape, Z_DIM, WIDTH)
            discriminator = dcgan.Discriminator(data.image_shape, WIDTH)
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                gan_cli.train(
                    generator, discriminator, data, losses.nonsaturating, adam, adam, run_dir=folder, seed=seed,
                    plan=Plan(
                        arguments.steps, log_every=10, sample_every=arguments.steps, checkpoint_every=arguments.steps
                    ),
                    compute=Compute(bf16=bf16), update="shared",
                )  # fmt: skip
                records = read_metrics(Path(folder))
            late = records[len(records) // 2 :]
            drawn = torch.cat(list(sampling.generate(generator, sampling.latents(Noise("normal", Z_DIM), N, seed=0))))
            distance = frechet_distance(real, extractor.features(drawn, 256, "samples"))
            rows.append([*(sum(r[name] for r in late) / len(late) for name in NAMES), distance])
        cells = (mean_std(column) for column in zip(*rows, strict=True))
        print(
            f"| {way} | " + " | ".join(f"{m:.3g}" + (f" ± {s:.2g}" if s else "") for m, s in cells) + " |", flush=True
        )


if __name__ == "__main__":
    main()
