"""Images per second of pix2pix at 128x128 and CycleGAN at 64x64, by turns with a loop as the published code has it.

    python benchmarks/translation.py [--rounds 3] [--steps 5] [--batch-size 1]

The other loop is written here after junyanz/pytorch-CycleGAN-and-pix2pix: the same networks, float32, batch 1, a pass
for each set of images, Adam as torch has it by default. It takes no data: both get random images.
"""

import argparse
import itertools
import random
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, mse_loss

from gan_cli.losses import lsgan, nonsaturating
from gan_cli.networks import patchgan, resnet_translator, unet
from gan_cli.training import device as devices
from gan_cli.training.algorithm import differentiate, frozen
from gan_cli.training.batches import Batch
from gan_cli.training.device import Compute
from gan_cli.training.games import Average, Game
from gan_cli.training.state import make_optimizers
from gan_cli.training.translation import CycleGAN, Pix2Pix

Step = Callable[[Tensor], None]
ADAM = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999))


def ours(game: Game) -> Step:
    """A step of gan-train: Algorithm 1 with ``update=shared``."""
    optimizers = make_optimizers(game, dict.fromkeys(("generator", "discriminator"), partial(ADAM, fused=True)))

    def step(images: Tensor) -> None:
        batch = Batch(images, None, 1)
        fake = game.generate(batch)
        optimizers["discriminator"].zero_grad()
        differentiate(game.discriminator_terms(batch, fake))
        optimizers["discriminator"].step()
        with frozen(game.networks("discriminator")):
            optimizers["generator"].zero_grad()
            differentiate(game.generator_terms(batch, fake))
        optimizers["generator"].step()

    return step


def target(logits: Tensor, real: bool) -> Tensor:
    return torch.full_like(logits, float(real))


def published_pix2pix(generator: nn.Module, discriminator: nn.Module) -> Step:
    optimizer_g, optimizer_d = ADAM(generator.parameters()), ADAM(discriminator.parameters())
    bce = binary_cross_entropy_with_logits

    def step(images: Tensor) -> None:
        source, real = images[:, :3], images[:, 3:]
        fake = generator(source)
        discriminator.requires_grad_(True)
        optimizer_d.zero_grad()
        on_fake = discriminator(torch.cat((source, fake), 1).detach())
        on_real = discriminator(torch.cat((source, real), 1))
        ((bce(on_fake, target(on_fake, False)) + bce(on_real, target(on_real, True))) * 0.5).backward()
        optimizer_d.step()
        discriminator.requires_grad_(False)
        optimizer_g.zero_grad()
        judged = discriminator(torch.cat((source, fake), 1))
        (bce(judged, target(judged, True)) + 100 * l1_loss(fake, real)).backward()
        optimizer_g.step()

    return step


class Pool:
    """The pool of old images, as a list."""

    def __init__(self, size: int = 50) -> None:
        self.size, self.images = size, list[Tensor]()

    def query(self, images: Tensor) -> Tensor:
        shown = []
        for image in images.detach():
            shown.append(image)
            if len(self.images) < self.size:
                self.images.append(image)
            elif random.random() > 0.5:
                place = random.randrange(self.size)
                shown[-1], self.images[place] = self.images[place], image
        return torch.stack(shown)


def published_cyclegan(g: nn.Module, f: nn.Module, d_y: nn.Module, d_x: nn.Module) -> Step:
    optimizer_g = ADAM(itertools.chain(g.parameters(), f.parameters()))
    optimizer_d = ADAM(itertools.chain(d_y.parameters(), d_x.parameters()))
    pools = Pool(), Pool()

    def step(images: Tensor) -> None:
        x, y = images[:, :3], images[:, 3:]
        fake_y, fake_x = g(x), f(y)
        again_x, again_y = f(fake_y), g(fake_x)
        d_y.requires_grad_(False), d_x.requires_grad_(False)
        optimizer_g.zero_grad()
        identity = l1_loss(g(y), y) * 5 + l1_loss(f(x), x) * 5
        on_y, on_x = d_y(fake_y), d_x(fake_x)
        fooling = mse_loss(on_y, target(on_y, True)) + mse_loss(on_x, target(on_x, True))
        (fooling + 10 * l1_loss(again_x, x) + 10 * l1_loss(again_y, y) + identity).backward()
        optimizer_g.step()
        d_y.requires_grad_(True), d_x.requires_grad_(True)
        optimizer_d.zero_grad()
        for d, real, fake, pool in ((d_y, y, fake_y, pools[0]), (d_x, x, fake_x, pools[1])):
            on_real, on_fake = d(real), d(pool.query(fake))
            ((mse_loss(on_real, target(on_real, True)) + mse_loss(on_fake, target(on_fake, False))) * 0.5).backward()
        optimizer_d.step()

    return step


def pix2pix(compute: Compute) -> tuple[Step, Step, int]:
    side = 128

    def networks() -> tuple[nn.Module, nn.Module]:
        torch.manual_seed(0)
        return unet.Generator((3, side, side), 3), patchgan.Discriminator((3, side, side), 3)

    game = Pix2Pix(*networks(), partial(nonsaturating, half=True), 3, Average(0), compute)
    return ours(game), published_pix2pix(*networks()), side


def cyclegan(compute: Compute) -> tuple[Step, Step, int]:
    side = 64

    def networks() -> tuple[nn.Module, nn.Module]:
        return resnet_translator.Generator((3, side, side)), patchgan.Discriminator((3, side, side), norm="instance")

    torch.manual_seed(0)
    game = CycleGAN(*networks(), networks, lsgan, 3, (3, side, side), Average(0), compute)
    (g, d_y), (f, d_x) = networks(), networks()
    return ours(game), published_cyclegan(g, f, d_y, d_x), side


def seconds(step: Step, batches: Tensor) -> float:
    began = time.perf_counter()
    for images in batches:
        step(images)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=1)
    options = parser.parse_args()
    on = devices.device("cpu")
    devices.prepare(on)
    compute = Compute(on, devices.bf16("auto", on))
    for name, build in {"pix2pix 128x128": pix2pix, "CycleGAN 64x64": cyclegan}.items():
        mine, published, side = build(compute)
        batches = torch.rand(options.steps, options.batch_size, 6, side, side) * 2 - 1
        for step in (mine, published):  # the first step is slower
            seconds(step, batches[:1])
        taken = [(seconds(mine, batches), seconds(published, batches)) for _ in range(options.rounds)]
        images = options.steps * options.batch_size
        ratios = " ".join(f"{other / own:.2f}" for own, other in taken)
        own, other = (sum(column) / len(taken) for column in zip(*taken, strict=True))
        print(f"{name}: {images / own:.2f} against {images / other:.2f} images/s, {other / own:.2f} times; {ratios}")


if __name__ == "__main__":
    main()
