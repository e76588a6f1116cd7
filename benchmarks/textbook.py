"""The yardstick of speed.py: GANs on MNIST written as tutorials write them, in float32, image by image.

What tutorials have in common, and what their readers run: a DataLoader over PIL images with per-image transforms,
sigmoid outputs and BCELoss, default Adam, ``.item()`` and a line of print at every step, gradients of D's weights in
G's step that nobody uses. The networks compute the same functions as those of ``gan_cli.networks``; a test counts both.
The periodic pictures and checkpoints that tutorials write as well are left out here, as they are on the other side.
"""

import itertools
import os
from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Digits(Dataset[tuple[Tensor, int]]):
    """MNIST as torchvision's dataset hands it out: each image a PIL image first, then through the transforms."""

    def __init__(self, images: Tensor, labels: Tensor, size: int) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [transforms.Resize(size), transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index].numpy())), int(self.labels[index])


def mlp() -> tuple[nn.Module, nn.Module]:
    """G and D of PyTorch-GAN's ``gan.py``: 100-128-256-512-1024-784 and 784-512-256-1."""
    generator: list[nn.Module] = [nn.Linear(100, 128), nn.LeakyReLU(0.2, inplace=True)]
    for width in (256, 512, 1024):
        generator += [nn.Linear(width // 2, width), nn.BatchNorm1d(width), nn.LeakyReLU(0.2, inplace=True)]
    generator += [nn.Linear(1024, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28))]
    discriminator = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 512),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Linear(512, 256),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Linear(256, 1),
        nn.Sigmoid(),
    )
    return nn.Sequential(*generator), discriminator


def conv() -> tuple[nn.Module, nn.Module]:
    """The small convolutional pair of ``gan_cli.networks.conv``, latents of 16."""
    generator = nn.Sequential(
        nn.Linear(16, 64 * 7 * 7, bias=False),
        nn.Unflatten(1, (64, 7, 7)),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        nn.Conv2d(16, 1, 3, padding=1),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(32, 64, 4, 2, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Flatten(),
        nn.Linear(64 * 3 * 3, 1),
        nn.Sigmoid(),
    )
    return generator, discriminator


def dcgan() -> tuple[nn.Module, nn.Module]:
    """G and D of pytorch/examples' ``dcgan`` at 64x64 with one channel, ngf = ndf = 64, latents of 100."""
    generator: list[nn.Module] = [nn.Unflatten(1, (100, 1, 1)), nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False)]
    for maps in (512, 256, 128):
        generator += [nn.BatchNorm2d(maps), nn.ReLU(inplace=True)]
        generator += [nn.ConvTranspose2d(maps, maps // 2, 4, 2, 1, bias=False)]
    generator += [nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.ConvTranspose2d(64, 1, 4, 2, 1, bias=False), nn.Tanh()]
    discriminator: list[nn.Module] = [nn.Conv2d(1, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for maps in (128, 256, 512):
        discriminator += [nn.Conv2d(maps // 2, maps, 4, 2, 1, bias=False), nn.BatchNorm2d(maps)]
        discriminator += [nn.LeakyReLU(0.2, inplace=True)]
    discriminator += [nn.Conv2d(512, 1, 4, 1, 0, bias=False), nn.Flatten(), nn.Sigmoid()]
    pair = nn.Sequential(*generator), nn.Sequential(*discriminator)
    for module in itertools.chain(*(network.modules() for network in pair)):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
    return pair


def adam(network: nn.Module) -> torch.optim.Adam:
    """Both tutorials' optimizer."""
    return torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))


def generator_first(
    networks: tuple[nn.Module, nn.Module], digits: Digits, z_dim: int, device: torch.device
) -> Iterator[int]:
    """Train in the order of PyTorch-GAN's ``gan.py``, for ever; gives the batch's size after each step.

    G's step on a batch of fakes, then D's on the same fakes: one pass of G, three of D. No workers.
    """
    generator, discriminator = (network.to(device) for network in networks)
    loader = DataLoader(digits, batch_size=64, shuffle=True)
    criterion = nn.BCELoss()
    optimizer_g, optimizer_d = (adam(network) for network in (generator, discriminator))
    with open(os.devnull, "w") as out:
        for epoch in itertools.count():
            for i, (images, _) in enumerate(loader):
                real = images.to(device)
                ones, zeros = torch.ones(len(real), 1, device=device), torch.zeros(len(real), 1, device=device)

                optimizer_g.zero_grad()
                fake = generator(torch.randn(len(real), z_dim, device=device))
                loss_g = criterion(discriminator(fake), ones)
                loss_g.backward()
                optimizer_g.step()

                optimizer_d.zero_grad()
                loss_real = criterion(discriminator(real), ones)
                loss_fake = criterion(discriminator(fake.detach()), zeros)
                loss_d = (loss_real + loss_fake) / 2
                loss_d.backward()
                optimizer_d.step()

                print(f"epoch {epoch}, batch {i}/{len(loader)}: D {loss_d.item():f}, G {loss_g.item():f}", file=out)
                yield len(real)


def discriminator_first(
    networks: tuple[nn.Module, nn.Module], digits: Digits, z_dim: int, device: torch.device
) -> Iterator[int]:
    """Train in the order of pytorch/examples' ``dcgan``, for ever; gives the batch's size after each step.

    D's step on real images and on fakes, one backward each, then G's on the same fakes through the updated D: one pass
    of G, three of D. Two workers.
    """
    generator, discriminator = (network.to(device) for network in networks)
    loader = DataLoader(digits, batch_size=64, shuffle=True, num_workers=2)
    criterion = nn.BCELoss()
    optimizer_g, optimizer_d = (adam(network) for network in (generator, discriminator))
    with open(os.devnull, "w") as out:
        for epoch in itertools.count():
            for i, (images, _) in enumerate(loader):
                discriminator.zero_grad()
                real = images.to(device)
                label = torch.full((len(real),), 1.0, device=device)
                output = discriminator(real).view(-1)
                loss_real = criterion(output, label)
                loss_real.backward()
                d_real = output.mean().item()

                fake = generator(torch.randn(len(real), z_dim, device=device))
                label.fill_(0.0)
                output = discriminator(fake.detach()).view(-1)
                loss_fake = criterion(output, label)
                loss_fake.backward()
                d_fake = output.mean().item()
                loss_d = loss_real + loss_fake
                optimizer_d.step()

                generator.zero_grad()
                label.fill_(1.0)
                output = discriminator(fake).view(-1)
                loss_g = criterion(output, label)
                loss_g.backward()
                d_fake_after = output.mean().item()
                optimizer_g.step()

                print(
                    f"[{epoch}][{i}/{len(loader)}] loss D {loss_d.item():.4f}, G {loss_g.item():.4f}, "
                    f"D(x) {d_real:.4f}, D(G(z)) {d_fake:.4f} / {d_fake_after:.4f}",
                    file=out,
                )
                yield len(real)
