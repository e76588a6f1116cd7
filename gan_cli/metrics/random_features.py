"""Features of a fixed network with random weights, for images that no trained network here knows.

Naeem et al. 2020 (arXiv 2002.09797), section 4.2, recommend random embeddings where the features of ImageNet do not fit
the data. A distance of such features is no FID, and is not comparable with one.
"""

import hashlib
import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, max_pool2d

SIZE = 64  # pixels a side of what the network sees
WIDTHS = (16, 32, 64, 128)
SEED = 0
LAYER = "convolution, ReLU, maximum of 2x2, x / sqrt(1 + mean of x^2 over the maps)"  # to be changed with forward


class RandomFeatures(nn.Module):
    """uint8 images ``[N, 3, H, W]`` -> features ``[N, 512]``, by a VGG-like network that was never trained.

    The images are resized to 64x64 (bilinear, antialiased). Each of four 3x3 convolutions is followed by a ReLU and a
    2x2 maximum pooling, and each place ``x`` of its maps is divided by ``sqrt(1 + mean(x^2))``, the response
    normalisation of Krizhevsky et al. 2012, section 3.3, over all maps. It lets faint contours count beside areas of
    strong colour. The last 128 maps are averaged over each quarter of the image. The weights have no biases and are
    normal with the variance of He et al. 2015 (arXiv 1502.01852), equation 10. They are drawn from :data:`SEED`.
    """

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(SEED)
        drawn = (
            torch.randn(width, fan, 3, 3, generator=rng) * math.sqrt(2 / (9 * fan))
            for fan, width in pairwise([3, *WIDTHS])
        )
        self.weights = nn.ParameterList(
            nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False) for weight in drawn
        )

    def forward(self, images: Tensor) -> Tensor:
        x = images.float() / 127.5 - 1
        if x.shape[-2:] != (SIZE, SIZE):
            x = interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True)
        x = x.contiguous(memory_format=torch.channels_last)
        for weight in self.weights:
            x = max_pool2d(conv2d(x, weight, padding=1).relu(), 2)
            x = x * (x.square().mean(dim=1, keepdim=True) + 1).rsqrt()
        return avg_pool2d(x, 2).flatten(1)

    @property
    def sha256(self) -> str:
        """The digest of :data:`LAYER` and of the weights, as float32, in the order of the layers."""
        found = hashlib.sha256(LAYER.encode())
        for weight in self.weights:
            found.update(weight.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()
