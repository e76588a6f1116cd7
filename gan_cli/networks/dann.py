"""The networks of domain-adversarial training on digits: Ganin et al. 2016 (arXiv 1505.07818), figure 4a.

The generator of this game makes features and classifies them. The discriminator sees features and names their domain.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from gan_cli.networks.layers import divisible_sides


class Generator(nn.Module):
    """Images ``[N, source_channels, H, W]`` -> logits ``[N, classes]``, through features ``[N, features]``.

    Each channel of an image is normalised. Two convolutions of 5x5, each with a maximum of 2x2 and a ReLU, make the
    features: maps of a quarter of the size, flattened. The first convolution has half as many maps as the second. Three
    linear layers classify them. The paper has 32 and 48 maps, and does not normalise. ValueError without classes, and
    for features that are no whole number of maps.
    """

    def __init__(self, image_shape: Sequence[int], source_channels: int, features: int, classes: int = 0) -> None:
        super().__init__()
        if not classes:
            raise ValueError("it classifies, and needs labelled sources: add conditional=true")
        _, height, width = divisible_sides(image_shape, "dann")
        places = height // 4 * (width // 4)
        maps, rest = divmod(features, places)
        if rest or not maps:
            raise ValueError(f"features of {height}x{width} are a multiple of {places}: add net.features={32 * places}")
        self.features = nn.Sequential(
            nn.InstanceNorm2d(source_channels),
            *_halving(source_channels, -(-maps // 2)),
            *_halving(-(-maps // 2), maps),
            nn.Flatten(),
        )
        self.classify = nn.Sequential(
            nn.Linear(features, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images))


def _halving(before: int, maps: int) -> list[nn.Module]:
    # The maximum comes before the ReLU: the result is the same, and costs less.
    return [nn.Conv2d(before, maps, 5, padding=2), nn.MaxPool2d(2), nn.ReLU()]


class Discriminator(nn.Sequential):
    """Features ``[N, features]`` -> ``width``, ReLU -> the logit ``[N]`` of the source domain."""

    def __init__(self, features: int, width: int = 100) -> None:
        super().__init__(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, 1), nn.Flatten(0))
