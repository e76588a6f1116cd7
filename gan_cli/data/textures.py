"""Digits on coloured textures, the target of a classifier that has labels of plain digits alone.

After MNIST-M of Ganin et al. 2016 (arXiv 1505.07818), which blends digits with photographs. The textures are made here.
"""

import torch
from torch import Tensor

from gan_cli.data import Dataset
from gan_cli.data.idx import mnist
from gan_cli.data.pairs import Domains, Jitter, Pairs, Unpaired

SIDE, SHEETS = 512, 8  # of the textures from which all crops are cut
STEEPNESS = 1.5
SEEDS = {"train": 0, "test": 1}


def digits_on_textures(
    root: str | None = None, split: str = "train", size: int | None = None, n: int | None = None
) -> Domains:
    """Sources: digits with labels, in colour ``[N, 3, H, W]``. Targets: digits on textures, ``|texture - digit|``.

    The split ``train`` has every other digit of :func:`gan_cli.data.idx.mnist` as a source, and the rest, without
    labels, as targets: no digit is in both. The split ``test`` shows each test digit in both domains, as
    :class:`Pairs`; the labels are those of both. ``n`` is the number of digits that are used, from the first on; null:
    all. ``root`` is as for mnist. The images are the same in every run.
    """
    digits = mnist(root, split, size)
    images, labels = digits.images[:n].expand(-1, 3, -1, -1), digits.labels[:n]  # type: ignore[index]
    rng = torch.Generator().manual_seed(SEEDS[split])
    if split == "train":
        sources, labels, targets = images[::2], labels[::2], blended(images[1::2], rng)
        return Unpaired(
            sources, 3, _whole(digits), labels=labels, class_names=digits.class_names, others=targets,
            description=f"{len(sources):,} labelled digits, and {len(targets):,} digits on textures without labels",
            fingerprint=digits.fingerprint,
        )  # fmt: skip
    both = torch.cat([images, blended(images, rng)], dim=1)
    return Pairs(both, 3, _whole(digits), labels=labels, class_names=digits.class_names)


def _whole(digits: Dataset) -> Jitter:
    """No jitter: digits as they are."""
    return Jitter((digits.image_shape[1], digits.image_shape[2]))


def blended(digits: Tensor, rng: torch.Generator) -> Tensor:
    """uint8 ``digits`` ``[N, 3, H, W]``, each on a texture of its own: the absolute difference of their pixels."""
    sheets, (height, width) = _sheets(rng), digits.shape[-2:]
    which = torch.randint(SHEETS, (len(digits),), generator=rng).tolist()
    tops, lefts = (torch.randint(SIDE - side, (len(digits),), generator=rng).tolist() for side in (height, width))
    crops = [sheets[i, :, y : y + height, x : x + width] for i, y, x in zip(which, tops, lefts, strict=True)]
    return (torch.stack(crops).short() - digits.short()).abs().byte()


def _sheets(rng: torch.Generator) -> Tensor:
    """Textures, uint8 ``[SHEETS, 3, SIDE, SIDE]``: Gaussian noise in each channel, smooth clouds of colour.

    Amplitudes fall as ``frequency ** -STEEPNESS``; those of photographs fall about as 1 / frequency (Field 1987), in
    fine grain. A channel has the mean 128 and a standard deviation of 50, and is cut to [0, 255].
    """
    down, across = torch.fft.fftfreq(SIDE)[:, None], torch.fft.rfftfreq(SIDE)[None]
    frequency = (down**2 + across**2).sqrt()
    frequency[0, 0] = torch.inf
    noise = torch.fft.rfft2(torch.randn(SHEETS, 3, SIDE, SIDE, generator=rng))
    maps = torch.fft.irfft2(noise / frequency**STEEPNESS, s=(SIDE, SIDE))
    return (128 + 50 * maps / maps.std(dim=(-2, -1), keepdim=True)).clamp(0, 255).byte()
