"""Metrics of translated images: against the targets of pairs, against the targets as a whole, and there and back."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from gan_cli.metrics.extractor import Extractor, pixel_extractor
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.sampling import over_white
from gan_cli.translating import translate

WINDOW, SIGMA = 11, 1.5  # of SSIM, in pixels
K1, K2 = 0.01, 0.03


def errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean absolute error of each output, float64 ``[N]`` in [0, 1]; uint8 images ``[N, C, H, W]`` each."""
    return (_unit(outputs) - _unit(targets)).abs().flatten(1).mean(dim=1)


def psnr(outputs: Tensor, targets: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of each output in dB, float64 ``[N]``: ``-10 log10`` of its mean squared error.

    Two images that are the same get 100 dB in place of infinity.
    """
    squares = (_unit(outputs) - _unit(targets)).square().flatten(1).mean(dim=1)
    return -10 * squares.clamp(min=1e-10).log10()


def ssim(outputs: Tensor, targets: Tensor) -> Tensor:
    """The structural similarity of each output, float64 ``[N]`` in [-1, 1]: Wang et al. 2004, equation 13, its mean.

    A Gaussian window of 11x11 pixels and a standard deviation of 1.5 weights the statistics. Each channel is compared
    on its own. Only windows that lie within the image count. ValueError for sides below 11.
    """
    if min(outputs.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM needs images of {WINDOW}x{WINDOW} or more, not {list(outputs.shape[-2:])}")
    taps = torch.exp(-((torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    taps = taps / taps.sum()

    def blurred(images: Tensor) -> Tensor:
        flat = images.flatten(0, 1)[:, None]
        return conv2d(conv2d(flat, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1)).view(*images.shape[:2], -1)

    x, y = _unit(outputs), _unit(targets)
    mean_x, mean_y = blurred(x), blurred(y)
    var_x, var_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + K1**2) / (mean_x**2 + mean_y**2 + K1**2)
    return (luminance * (2 * covariance + K2**2) / (var_x + var_y + K2**2)).flatten(1).mean(dim=1)


def paired(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """``mae``, ``psnr`` and ``ssim``, each its mean over the images. Images of fewer than 11 pixels have no SSIM."""
    found = {"mae": errors(outputs, targets).mean().item(), "psnr": psnr(outputs, targets).mean().item()}
    if min(outputs.shape[-2:]) >= WINDOW:
        found["ssim"] = torch.cat(
            [ssim(*some) for some in zip(outputs.split(64), targets.split(64), strict=True)]
        ).mean().item()  # fmt: skip
    return found


def frechet(outputs: Tensor, targets: Tensor, extractor: Extractor) -> float:
    """The Fréchet distance of all outputs from all targets, which need not be pairs."""
    return frechet_distance(extractor.features(targets), extractor.features(outputs))


def cycle_error(backward: nn.Module, outputs: Tensor, sources: Tensor, mode: str) -> float:
    """How far the outputs, translated back by ``backward``, are from the sources: the mean absolute error."""
    return errors(translate(backward, outputs, mode), sources).mean().item()


def scores(
    generator: nn.Module, sources: Tensor, targets: Tensor, pairs: bool, mode: str, backward: nn.Module | None = None
) -> dict[str, float]:
    """The scores during a run; a lower first one is better.

    ``mae``, ``psnr`` and ``ssim`` if sources and targets are ``pairs``. ``frechet`` of outputs against targets, in
    pixels: see :func:`gan_cli.metrics.extractor.pixel_extractor`. ``cycle_error`` if ``backward`` translates back.
    ``mode`` is that of :func:`gan_cli.translating.translate`.
    """
    outputs = translate(generator, sources, mode)
    found = paired(outputs, targets) if pairs else {}
    found["frechet"] = frechet(outputs, targets, pixel_extractor(targets.shape[1:]))
    if backward is not None:
        found["cycle_error"] = cycle_error(backward, outputs, sources, mode)
    return found


def _unit(images: Tensor) -> Tensor:
    """uint8 images in [0, 1], float64; transparent ones over white."""
    return over_white(images).double() / 255
