"""CIFAR-10 (Krizhevsky 2009), through torchvision."""

from itertools import islice
from pathlib import Path

import torch

from gan_cli.data import Dataset, resized
from gan_cli.data.download import cache_folder, download
from gan_cli.errors import UserError


def cifar10(root: str | None = None, split: str = "train", size: int | None = None) -> Dataset:
    """CIFAR-10: 50,000 + 10,000 colour images of 32x32 in ten classes, from ``root`` or downloaded once.

    ``root`` is the folder that contains ``cifar-10-batches-py``. Torchvision checks each file's md5 before reading it.
    """
    from torchvision.datasets import CIFAR10

    folder = Path(root) if root else cache_folder()
    wanted = "cifar-10-python.tar.gz"
    if root and not any((folder / name).exists() for name in (wanted, "cifar-10-batches-py")) and _has_images(folder):
        raise UserError(f"{root} holds images, and no {wanted}; for a folder of images add dataset=folder")
    loaded = download(lambda: CIFAR10(folder, train=split == "train", download=True), wanted, folder)
    images = torch.from_numpy(loaded.data).permute(0, 3, 1, 2).contiguous()
    return Dataset(resized(images, size), torch.tensor(loaded.targets), tuple(loaded.classes))


def _has_images(folder: Path) -> bool:
    """Whether an image file is among the first files below ``folder``. Nothing is downloaded into such a folder."""
    return any(
        path.suffix.lower() in (".bmp", ".jpg", ".jpeg", ".png", ".webp") for path in islice(folder.rglob("*"), 1000)
    )
