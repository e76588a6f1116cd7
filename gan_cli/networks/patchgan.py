"""The PatchGAN of pix2pix and CycleGAN: Isola et al. 2017 (arXiv 1611.07004), sections 3.2.2 and 6.1.2.

It judges overlapping patches of an image, and gives a logit for each. The patch is the receptive field of a logit:
1, 16, 34, 70, 142 or 286 pixels a side for 0 to 5 layers.
"""

from collections.abc import Sequence

from torch import nn

from gan_cli.networks.layers import constrain, sides
from gan_cli.networks.translator_layers import halving, initialise, normalisation

NORMS = ("batch", "instance", "spectral", "none")
MOST_LAYERS = 5


class Discriminator(nn.Sequential):
    """Images ``[N, Cs + C, H, W]`` -> logits ``[N, 1, h, w]``. 256x256 gives 30x30 logits.

    ``n_layers`` convolutions of 4x4 halve the sides, 0 to 5, and two more keep them but for a pixel. With 0 layers all
    convolutions are 1x1. ``width`` is the number of maps of the first layer. It doubles with each layer, up to
    ``8 * width``. ``norm`` is batch, instance or none, after all layers except the first and the last; or it is
    spectral, in every layer. ``antialias`` filters before subsampling. ``condition_channels`` is Cs, the channels of
    the source, which a conditional discriminator sees beside an image; 0 for a discriminator that sees images alone.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        condition_channels: int = 0,
        width: int = 64,
        n_layers: int = 3,
        norm: str = "batch",
        antialias: bool = False,
    ) -> None:
        if norm not in NORMS:
            raise ValueError(f"no norm {norm!r}; choose from {', '.join(NORMS)}")
        channels, height, breadth = sides(image_shape)
        if not 0 <= n_layers <= MOST_LAYERS:
            raise ValueError(f"n_layers={n_layers} should be from 0 to {MOST_LAYERS}")
        if n_layers and min(height, breadth) >> n_layers < 3:
            fits = max(n for n in range(n_layers) if n == 0 or min(height, breadth) >> n >= 3)
            raise ValueError(
                f"n_layers={n_layers} halves {height}x{breadth} too often: add net.discriminator.n_layers={fits}"
            )
        seen, bias = condition_channels + channels, norm != "batch"
        if n_layers == 0:
            layers: list[nn.Module] = [nn.Conv2d(seen, width, 1), nn.LeakyReLU(0.2)]
            layers += [nn.Conv2d(width, 2 * width, 1, bias=bias), *normalisation(norm, 2 * width), nn.LeakyReLU(0.2)]
            layers.append(nn.Conv2d(2 * width, 1, 1, bias=bias))
        else:
            maps = [min(width << layer, 8 * width) for layer in range(n_layers + 1)]
            layers = [halving(seen, maps[0], True, antialias), nn.LeakyReLU(0.2)]
            for layer in range(1, n_layers + 1):
                here = maps[layer - 1], maps[layer], bias
                keeps = nn.Conv2d(*here[:2], 4, padding=1, bias=bias)
                layers += [halving(*here, antialias) if layer < n_layers else keeps]
                layers += [*normalisation(norm, maps[layer]), nn.LeakyReLU(0.2)]
            layers.append(nn.Conv2d(maps[-1], 1, 4, padding=1))
        super().__init__(*layers)
        self.apply(initialise)
        if norm == "spectral":
            constrain(self)
