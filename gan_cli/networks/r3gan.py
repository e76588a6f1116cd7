"""R3GAN: Huang et al. 2024, *The GAN is dead; long live the GAN!* (arXiv 2501.05441), section 4 and figure 2.

The networks are residual blocks without normalisation, with bilinear resampling between them. Each block starts as the
identity. The networks are made for the paper's loss: ``loss=relativistic penalty=r1r2``. The published code is
brownvc/R3GAN, ``Networks.py``.

A stage is one size of the image. The largest stage has ``width`` maps. Each halving doubles the number of maps, up to
``max_width``. A stage has ``blocks`` residual blocks. Inside a block there are ``expansion`` times as many maps, and
its grouped convolution has ``group_width`` maps per group. In the paper z has 64 dimensions, blocks is 2, expansion 2
and group_width 16. CIFAR-10 has width 768; FFHQ at 64x64 has width 384 and max_width 768.

``patch`` is an addition to the paper, for CPUs: ``patch`` x ``patch`` pixels become the channels of one place. With
``patch=2`` instead of the paper's 1 the largest stage is absent, which saves most of the time.

With ``classes`` > 0 both networks take ``labels`` (int64, ``[N]``) as a second argument. The generator concatenates the
label's embedding to z. The discriminator's logit is the scaled product of image features and label embedding.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from gan_cli.networks.convolution import Conv2d
from gan_cli.networks.layers import LeakyReLU, downsample, pyramid, upsample

SLOPE = 0.2
GAIN = nn.init.calculate_gain("leaky_relu", SLOPE)  # sqrt(2 / (1 + 0.2^2)): keeps the variance through LeakyReLU


def _initialised(layer: Conv2d | nn.Linear, gain: float = 1.0) -> Conv2d | nn.Linear:
    """Weights from N(0, gain^2 / fan-in), He et al. 2015 (arXiv 1502.01852); biases 0."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _pointwise(fan_in: int, fan_out: int, gain: float = 1.0, bias: bool = False) -> nn.Module:
    """A 1x1 convolution."""
    return _initialised(Conv2d(fan_in, fan_out, 1, bias=bias), gain)


class Block(nn.Module):
    """``x + f(x)``, ``[N, width, H, W]``: f is 1x1 -> grouped 3x3 -> 1x1 with LeakyReLU(0.2) between (figure 2).

    Fix-up initialisation (Zhang et al. 2019, arXiv 1901.09321): the last convolution starts at 0. The weights of the
    other convolutions are scaled by ``depth ** (-1 / 4)``, with ``depth`` the number of blocks in the network.
    """

    def __init__(self, width: int, expansion: int, group_width: int, depth: int) -> None:
        super().__init__()
        inner = width * expansion
        if group_width < 1 or inner % group_width:
            raise ValueError(
                f"a width of {width} * expansion={expansion} should be a multiple of group_width={group_width}"
            )
        gain = GAIN * depth**-0.25
        self.layers = nn.Sequential(
            _pointwise(width, inner, gain, bias=True),
            LeakyReLU(SLOPE),
            _initialised(Conv2d(inner, inner, 3, padding=1, groups=inner // group_width), gain),
            LeakyReLU(SLOPE),
            _pointwise(inner, width, gain=0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _stages(
    image_shape: Sequence[int], patch: int, width: int, max_width: int, blocks: int, expansion: int, group_width: int
) -> tuple[list[tuple[int, int]], list[int], list[nn.Sequential]]:
    """Each stage's size (H, W), width and residual blocks, from the largest down."""
    sizes = pyramid(image_shape, "r3gan")
    while sizes and sizes[0][0] * patch > image_shape[1]:
        del sizes[0]
    if not sizes or sizes[0][0] * patch != image_shape[1]:
        raise ValueError(f"patch={patch} should be 1, 2, 4, … and leave a side of 4 or more")
    widths = [min(width << halvings, max_width) for halvings in range(len(sizes))]
    depth = blocks * len(sizes)
    stages = [nn.Sequential(*[Block(w, expansion, group_width, depth) for _ in range(blocks)]) for w in widths]
    return sizes, widths, stages


class Generator(nn.Module):
    """Latents ``[N, z_dim]`` -> images ``[N, C, H, W]``, linear: only training keeps the images in [-1, 1].

    The first stage has a shorter side of 4 to 7. Its input is learned maps, each scaled by a linear function of z.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        z_dim: int,
        width: int = 32,
        max_width: int = 64,
        blocks: int = 1,
        expansion: int = 2,
        group_width: int = 16,
        patch: int = 2,
        classes: int = 0,
    ) -> None:
        super().__init__()
        sizes, widths, stages = _stages(image_shape, patch, width, max_width, blocks, expansion, group_width)
        self.embed = nn.Embedding(classes, z_dim) if classes else None
        self.scales = _initialised(nn.Linear(z_dim * (1 + bool(classes)), widths[-1], bias=False))
        self.basis = nn.Parameter(torch.randn(widths[-1], *sizes[-1]))
        self.stages = nn.ModuleList(reversed(stages))
        self.transitions = nn.ModuleList(
            nn.Identity() if a == b else _pointwise(a, b) for a, b in pairwise(reversed(widths))
        )
        self.to_image = nn.Sequential(_pointwise(widths[0], image_shape[0] * patch**2), nn.PixelShuffle(patch))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.embed is not None:
            z = torch.cat([z, self.embed(labels)], dim=1)
        x = self.stages[0](self.basis * self.scales(z)[:, :, None, None])
        for transition, stage in zip(self.transitions, self.stages[1:], strict=True):
            x = stage(upsample(transition(x)))
        return self.to_image(x)


class Discriminator(nn.Module):
    """Images ``[N, C, H, W]`` -> logits ``[N]``: the generator's mirror image.

    The last stage has a shorter side of 4 to 7. Each of its feature maps is weighted by a learned map and summed.
    """

    group = 1

    def __init__(
        self,
        image_shape: Sequence[int],
        width: int = 32,
        max_width: int = 64,
        blocks: int = 1,
        expansion: int = 2,
        group_width: int = 16,
        patch: int = 2,
        classes: int = 0,
    ) -> None:
        super().__init__()
        sizes, widths, stages = _stages(image_shape, patch, width, max_width, blocks, expansion, group_width)
        self.from_image = _initialised(Conv2d(image_shape[0], widths[0], patch, stride=patch, bias=False))
        self.stages = nn.ModuleList(stages)
        self.transitions = nn.ModuleList(nn.Identity() if a == b else _pointwise(a, b) for a, b in pairwise(widths))
        self.basis = nn.Parameter(torch.randn(widths[-1], *sizes[-1]) / math.sqrt(math.prod(sizes[-1])))
        self.embed = nn.Embedding(classes, widths[-1]) if classes else None
        self.score = _initialised(nn.Linear(widths[-1], widths[-1] if classes else 1, bias=False))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.stages[0](self.from_image(images))
        for transition, stage in zip(self.transitions, self.stages[1:], strict=True):
            x = stage(transition(downsample(x)))
        features = self.score((x * self.basis).sum(dim=(2, 3)))
        if self.embed is None:
            return features.squeeze(1)
        return (features * self.embed(labels)).sum(dim=1) / math.sqrt(features.shape[1])
