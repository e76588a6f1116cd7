"""Signals of a generator's samples, beside the same number of the data: cheap enough for every tick of a run."""

import math

import torch
from torch import Tensor

EXTREME = 2  # of 255 levels: pixels as near as this to black or white count as saturated
LEAST_ENERGY = 1e-8  # of the data at the Nyquist frequency: what the rounding to 256 levels leaves of it


def diversity(samples: Tensor, real: Tensor) -> dict[str, float]:
    """``sample_std`` and ``sample_distance`` of ``samples`` ``[N, …]``, as parts of those of ``real`` ``[M, …]``.

    ``sample_std`` is the standard deviation over the set, averaged over the pixels or the coordinates.
    ``sample_distance`` is the median Euclidean distance of all pairs of the set. Both are 1 for samples that differ as
    the data do, and 0 if all samples are the same. Both sets need two members or more.
    """
    fake, data = samples.flatten(1).float(), real.flatten(1).float()
    return {
        "sample_std": float(fake.std(dim=0).mean() / data.std(dim=0).mean().clamp(min=1e-12)),
        "sample_distance": float(torch.pdist(fake).median() / torch.pdist(data).median().clamp(min=1e-12)),
    }


def saturation(samples: Tensor, real: Tensor) -> float:
    """The share of black and of white values in uint8 ``samples`` ``[N, C, H, W]``, minus that share of ``real``."""
    return float(_extremes(samples) - _extremes(real))


def memorisation(train: Tensor, held_out: Tensor, fake: Tensor) -> float:
    """r_v of Karras et al. 2020 (arXiv 2006.06676), equation 1, from D's logits, ``[N]`` of each kind of image.

    ``(E[D(train)] - E[D(held_out)]) / (E[D(train)] - E[D(fake)])``: 0 if D takes held-out images for training images, 1
    if it takes them for fake ones. NaN if D does not put training images above fake ones.
    """
    gap = float(train.mean() - fake.mean())
    return float(train.mean() - held_out.mean()) / gap if gap > 0 else math.nan


def _extremes(images: Tensor) -> Tensor:
    return ((images <= EXTREME) | (images >= 255 - EXTREME)).float().mean()


def checkerboard(samples: Tensor, real: Tensor) -> float:
    """The energy of uint8 ``samples`` ``[N, C, H, W]`` at the Nyquist frequencies, as a multiple of that of ``real``.

    Upsampling by a kernel that its stride doesn't divide leaves a pattern of period 2 (Odena et al. 2016, Distill,
    "Deconvolution and checkerboard artifacts"): rows, columns or a checkerboard of alternating brightness.
    """
    return float(_nyquist(samples) / _nyquist(real).clamp(min=LEAST_ENERGY))


def _nyquist(images: Tensor) -> Tensor:
    """The mean square of the three Fourier coefficients with a period of 2 along one side or both, of pixels in [0, 1].

    An odd last row or column is left out.
    """
    height, width = (side // 2 * 2 for side in images.shape[-2:])
    pixels = images[..., :height, :width].float() / 255
    rows = 1 - 2 * (torch.arange(height) % 2).float()
    columns = 1 - 2 * (torch.arange(width) % 2).float()
    flat = torch.ones(1)
    patterns = [rows[:, None] * flat, flat * columns, rows[:, None] * columns]
    return torch.stack([(pixels * pattern).mean(dim=(-2, -1)).square().mean() for pattern in patterns]).mean()
