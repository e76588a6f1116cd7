"""The layers that unet, resnet_translator and patchgan share: resampling, normalisation, the first weights."""

from torch import Tensor, nn

from gan_cli.networks.convolution import KERNEL, DoublingConvTranspose2d, HalvingConv2d
from gan_cli.networks.layers import downsample

NORMS = ("batch", "instance", "none")


def normalisation(norm: str, maps: int) -> list[nn.Module]:
    """The layer that normalises ``maps``, as a list: batch, with gain and shift; instance, without; none, or spectral.

    Instance normalisation is that of Ulyanov et al. 2016 (arXiv 1607.08022). It keeps no running statistics.
    """
    match norm:
        case "batch":
            return [nn.BatchNorm2d(maps)]
        case "instance":
            return [nn.InstanceNorm2d(maps)]
    return []


def halving(maps_in: int, maps_out: int, bias: bool, antialias: bool, kernel: int = KERNEL) -> nn.Module:
    """A convolution that halves the sides: of 4x4 or 3x3 and stride 2; with ``antialias`` 3x3, then a low-pass filter.

    The filter precedes the subsampling: Zhang 2019 (arXiv 1904.11486), section 3.2.
    """
    if antialias:
        return nn.Sequential(nn.Conv2d(maps_in, maps_out, 3, padding=1, bias=bias), Downsample())
    if kernel == KERNEL:
        return HalvingConv2d(maps_in, maps_out, bias=bias)
    return nn.Conv2d(maps_in, maps_out, kernel, stride=2, padding=1, bias=bias)


def doubling(maps_in: int, maps_out: int, bias: bool, upsampling: str, kernel: int = KERNEL) -> nn.Module:
    """A layer that doubles the sides: a transposed convolution, or with ``resize`` nearest neighbours, then 3x3.

    A transposed convolution may leave a checkerboard in the image; resizing leaves none (Odena et al. 2016).
    ValueError for another ``upsampling``.
    """
    if upsampling == "resize":
        return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(maps_in, maps_out, 3, padding=1, bias=bias))
    if upsampling != "transposed":
        raise ValueError(f"no upsampling {upsampling!r}; choose from resize, transposed")
    if kernel == KERNEL:
        return DoublingConvTranspose2d(maps_in, maps_out, bias=bias)
    return nn.ConvTranspose2d(maps_in, maps_out, kernel, stride=2, padding=1, output_padding=1, bias=bias)


class Downsample(nn.Module):
    """:func:`downsample` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return downsample(x)


def initialise(module: nn.Module) -> None:
    """Convolutions from N(0, 0.02), batch normalisation's scale from N(1, 0.02), biases and shifts 0.

    Isola et al. 2017 (arXiv 1611.07004), section 6.2.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
