"""MNIST and related datasets, read from plain or gzipped files in the IDX format."""

import gzip
import math
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan_cli.data import Dataset, resized
from gan_cli.data.download import cache_folder, download
from gan_cli.data.fingerprint import of_tensors
from gan_cli.errors import UserError

SHIPPED = Path(__file__).parent / "files"
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
STACKS = tuple(f"{i:03d}" for i in range(1000))  # the classes of stacked digits: red, green, blue
MOST_STACKS = 1_000_000
DIGITS = tuple("0123456789")
_PREFIX = {"train": "train", "test": "t10k"}


def read_idx(path: Path) -> Tensor:
    """One IDX file of unsigned bytes, plain or gzipped, as a uint8 tensor of the shape in its header.

    The format (on the MNIST page): two zero bytes, the type code 8, the number of dimensions, each dimension as a
    big-endian 32-bit integer, then the data. UserError if the file has another format or not the size in its header.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"can't read {path}: {error}; fetch the file again") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise UserError(
            f"{path} is not an IDX file of unsigned bytes (it begins with {content[:4].hex() or 'nothing'})"
        )
    start = 4 + 4 * content[3]
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    if len(content) - start != math.prod(shape):
        raise UserError(f"{path} is cut off or damaged: {shape} bytes announced, {len(content) - start} found")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).copy()).reshape(shape)


def read_idx_pair(root: Path, split: str, class_names: tuple[str, ...], size: int | None) -> Dataset:
    """Images and labels of ``split`` (train or test) from a folder of the usual four files, each plain or ``.gz``."""

    def find(kind: str) -> Path:
        name = f"{_PREFIX[split]}-{kind}-ubyte"
        for path in (root / f"{name}.gz", root / name):
            if path.is_file():
                return path
        raise UserError(
            f"{root} holds no {name}[.gz]; put the four IDX files there, or set dataset.root to their folder; for a "
            "folder of images add dataset=folder"
        )

    images, labels = read_idx(find("images-idx3")), read_idx(find("labels-idx1"))
    if images.dim() != 3 or labels.shape != images.shape[:1]:
        raise UserError(f"{root}: {list(images.shape)} images and {list(labels.shape)} labels don't belong together")
    found = of_tensors(images, labels)
    return Dataset(resized(images.unsqueeze(1), size), labels.long(), class_names, fingerprint=found)


def mnist(root: str | None = None, split: str = "train", size: int | None = None, limit: int | None = None) -> Dataset:
    """MNIST: 60,000 + 10,000 digits of 28x28 (LeCun, Cortes, Burges). This package contains the files.

    ``root`` names another folder with files of the same names, for example KMNIST. The tensors of the shipped files may
    be shared with other callers: copy before writing into them. With ``limit`` the split ``train``
    is the first ``limit`` training images, and the split ``validation`` is the others: Goodfellow et al. 2014 trained
    on 50,000 images and chose the Parzen window on the others.
    """
    file = "train" if split == "validation" else split
    whole = read_idx_pair(Path(root), file, DIGITS, None) if root else _shipped(file)
    part = slice(None)
    if file == "train" and limit is not None:
        if not 1 <= limit < len(whole):
            raise UserError(f"dataset.limit={limit} should be at least 1 and less than all {len(whole)} images")
        part = slice(limit) if split == "train" else slice(limit, None)
    images, labels = resized(whole.images[part], size), whole.labels[part]  # type: ignore[index]
    return replace(whole, images=images, labels=labels)


@cache
def _shipped(split: str) -> Dataset:
    """The shipped digits, read once in a process: gan-eval and a sweep ask for them several times."""
    return read_idx_pair(SHIPPED / "mnist", split, DIGITS, None)


def stacked_mnist(root: str | None = None, split: str = "train", size: int | None = None, n: int = 50_000) -> Dataset:
    """Stacked MNIST (Metz et al. 2017, arXiv 1611.02163): three digits as one RGB image, in 1000 classes.

    The images are ``n`` triplets of MNIST's digits of ``split``, drawn independently, the same in every run. ``root``
    is as for :func:`mnist`. The label is the number formed by red, green and blue: ``100 r + 10 g + b``.
    """
    if not 1 <= n <= MOST_STACKS:
        raise UserError(f"dataset.n={n} should be at least 1 and at most {MOST_STACKS}")
    digits = mnist(root, split, size)
    which = torch.randint(len(digits), (n, 3), generator=torch.Generator().manual_seed(0))
    labels = (torch.as_tensor(digits.labels)[which] * torch.tensor([100, 10, 1])).sum(dim=1)
    return Dataset(digits.images[:, 0][which], labels, STACKS, fingerprint=digits.fingerprint)


def fashion_mnist(root: str | None = None, split: str = "train", size: int | None = None) -> Dataset:
    """Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747): MNIST's format and sizes, ten kinds of clothing.

    The files come from ``root``, else from Debian's package ``dataset-fashion-mnist``, else from one download by
    torchvision.
    """
    names = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
    if root is None and DEBIAN_FASHION_MNIST.is_dir():
        root = str(DEBIAN_FASHION_MNIST)
    if root is None:
        from torchvision.datasets import FashionMNIST

        cache = cache_folder()
        folder = cache / "FashionMNIST" / "raw"
        wanted = "the four files of Fashion-MNIST (train-images-idx3-ubyte.gz, …)"
        download(lambda: FashionMNIST(cache, download=True), wanted, folder)
        root = str(folder)
    return read_idx_pair(Path(root), split, names, size)
