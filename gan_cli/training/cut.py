"""CUT: contrastive translation without pairs. Park et al. 2020 (arXiv 2007.15651)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from gan_cli.training.batches import Batch
from gan_cli.training.device import Compute
from gan_cli.training.games import Average, Loss
from gan_cli.training.logits import full
from gan_cli.training.terms import Term, Terms
from gan_cli.training.translation import Translation

EMBEDDING = 256  # of a patch, and the hidden units of a head: section 4 of the paper


class Heads(nn.ModuleList):
    """A perceptron of two layers for each layer of features: H_l of the paper. ``maps`` are the features' channels."""

    def __init__(self, maps: Iterable[int]) -> None:
        heads = [nn.Sequential(nn.Linear(n, EMBEDDING), nn.ReLU(), nn.Linear(EMBEDDING, EMBEDDING)) for n in maps]
        super().__init__(heads)

    def forward(self, features: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        """Unit vectors ``[N, K, 256]`` of the features ``[N, C, h, w]`` of each layer at its ``places`` ``[N, K]``."""
        embedded = []
        for head, maps, chosen in zip(self, features, places, strict=True):
            patches = maps.flatten(2).transpose(1, 2)  # [N, h * w, C]
            patches = patches.gather(1, chosen.unsqueeze(2).expand(-1, -1, patches.shape[2]))
            embedded.append(normalize(full(head(patches)), dim=2))
        return embedded


def patch_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Equation 3, the mean over the patches of each image: unit vectors ``[N, K, F]`` twice -> ``[N]``.

    It is the cross entropy of finding the key at a query's own place among the keys at all K places of the image.
    """
    similarities = queries @ keys.transpose(1, 2) / temperature  # [N, query, key]
    own = torch.arange(keys.shape[1], device=keys.device).expand(len(keys), -1)
    return cross_entropy(similarities.transpose(1, 2), own, reduction="none").mean(dim=1)


class CUT(Translation):
    """Equation 5: ``L_GAN(G, D) + nce * PatchNCE(G, H, X) + identity * PatchNCE(G, H, Y)``: one generator, no cycle.

    A patch of G(x) should resemble the patch of x at the same place more than other patches of x, by the features of
    G's own first half, ``generator.features``, and of the ``heads``, H. The last term asks the same of G(y) and y. The
    published code halves both PatchNCE terms if it uses both. ``identity=0 nce=10`` is FastCUT. ``patches`` places are
    drawn in each image and layer. ``adversarial`` is 2 for ``loss=lsgan``: see :class:`.translation.CycleGAN`.
    ValueError if ``generator`` has no ``features``, or if the domains differ in channels.
    """

    sides: ClassVar[dict[str, tuple[str, ...]]] = {
        "discriminator": ("discriminator",),
        "generator": ("generator", "heads"),
    }

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: Loss,
        source_channels: int,
        image_shape: Sequence[int],
        average: Average = Average(),
        compute: Compute = Compute(),
        nce: float = 1.0,
        identity: float = 1.0,
        patches: int = 256,
        temperature: float = 0.07,
        adversarial: float = 2.0,
    ) -> None:
        encoder: Any = generator
        if not hasattr(encoder, "features"):
            raise ValueError("game=cut needs a generator with features: use net=resnet_translator")
        if image_shape[0] != source_channels:  # the generator is given its own outputs
            raise ValueError("game=cut needs domains with the same channels: use game=cyclegan game.identity=0")
        if patches < 2 or not temperature > 0:
            raise ValueError(f"patches={patches} should be 2 or more, and temperature={temperature} above 0")
        networks = {"generator": generator, "discriminator": discriminator, "heads": Heads(encoder.feature_maps)}
        super().__init__(networks, source_channels, loss, average, compute, adversarial)
        self._features: Callable[[Tensor], list[Tensor]] = encoder.features
        self.nce, self.identity, self.patches, self.temperature = nce, identity, patches, temperature

    def generate(self, batch: Batch) -> list[Tensor]:
        """G(x), and G(y) if it is wanted."""
        source, target = self.split(batch)
        return self.apply_to("generator", *([source, target] if self.identity else [source]))

    def discriminator_terms(self, batch: Batch, fake: list[Tensor]) -> Terms:
        return self.told_apart(batch, "discriminator", self.split(batch)[1], fake[0].detach())

    def generator_terms(self, batch: Batch, fake: list[Tensor]) -> Terms:
        source, target = self.split(batch)
        terms = self.fooling(batch, "discriminator", fake[0])
        terms["nce"] = Term(self.contrast(source, fake[0]), self.nce)
        if self.identity:
            terms["nce_identity"] = Term(self.contrast(target, fake[1]), self.identity)
        return terms

    def contrast(self, original: Tensor, made: Tensor) -> Tensor:
        """PatchNCE of the images ``made`` of the ``original`` ones, ``[N]``: the mean over the layers of features."""
        with self._compute.autocast():
            features = self._features(made)
            places = [self._places(maps) for maps in features]
            queries = self._forward["heads"](features, places)
            with torch.no_grad():  # the paper's keys have no gradient
                keys = self._forward["heads"](self._features(original), places)
        layers = [patch_nce(*pair, self.temperature) for pair in zip(queries, keys, strict=True)]
        return torch.stack(layers).mean(dim=0)

    def _places(self, maps: Tensor) -> Tensor:
        """Distinct places of each image of ``maps`` ``[N, C, h, w]``, at random: ``[N, K]``."""
        order = torch.rand(len(maps), maps[0, 0].numel(), device=maps.device).argsort(dim=1)
        return order[:, : self.patches]
