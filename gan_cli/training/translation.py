"""Games that translate images of one domain, the sources, into images of another, the targets.

A batch holds source and target in the channels of ``real``: see :mod:`gan_cli.data.pairs`. The discriminator moves
first in each step, as in Algorithm 1 and in the code of pix2pix. The code of CycleGAN moves the generators first.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gan_cli.training import ema
from gan_cli.training.batches import Batch
from gan_cli.training.device import Compute
from gan_cli.training.games import Average, Game, Loss
from gan_cli.training.logits import accuracies, full, outputs
from gan_cli.training.pool import Pool
from gan_cli.training.terms import Term, Terms

Networks = tuple[nn.Module, nn.Module]  # a generator and a discriminator


class Translation(Game):
    """What games of translation share: networks on their device, averages, and the adversarial terms.

    ``sees_source`` says whether a discriminator is shown the source beside an image. ``source_channels`` is the number
    of channels of a source. ``adversarial`` is the weight of G's adversarial term; with 0, G does not learn from D.
    """

    sees_source: ClassVar[bool] = False
    averages: ClassVar[dict[str, str]] = {"generator": "ema"}  # the averaged generators, by the generators' names

    def __init__(
        self, networks: dict[str, nn.Module], source_channels: int, loss: Loss, average: Average, compute: Compute,
        adversarial: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self._compute, self._loss, self._average, self.adversarial = compute, loss, average, adversarial
        self._channels = source_channels
        # The mapping hides compiled networks from the module's children, whose weights they share.
        self._forward: dict[str, Callable[..., Tensor]] = {}
        for name, network in networks.items():
            self.register_module(name, compute.placed(network))
            self._forward[name] = compute.compiled(network)
        for name, averaged in self.averages.items():
            self.register_module(averaged, copy.deepcopy(networks[name]).requires_grad_(False))
        self._tensors = [
            (ema.tensors(self.get_submodule(averaged)), ema.tensors(self.get_submodule(name)))
            for name, averaged in self.averages.items()
        ]
        self._apart = {name: any(isinstance(part, MIXING) for part in network.modules())
                       for name, network in networks.items()}  # fmt: skip
        self._real_logits: dict[tuple[str, int], Tensor] = {}  # of D's last update, by network and share
        self._fake_logits: dict[tuple[str, int], Tensor] = {}

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sources and the targets of ``batch``."""
        return batch.real[:, : self._channels], batch.real[:, self._channels :]

    def apply_to(self, name: str, *images: Tensor) -> list[Tensor]:
        """The output of the network ``name`` for each of ``images``.

        One pass takes all of them, unless the network normalises over a batch or drops out: then each has its own.
        """
        with self._compute.autocast():
            if self._apart[name] or len(images) == 1:
                return [full(self._forward[name](some)) for some in images]
            return list(full(self._forward[name](torch.cat(images))).split([len(some) for some in images]))

    def told_apart(self, batch: Batch, name: str, real: Tensor, fake: Tensor, suffix: str = "") -> dict[str, Term]:
        """The discriminator's terms on ``real`` and ``fake`` images: its loss, and its outputs for the record."""
        real_logits, fake_logits = (patches(logits) for logits in self.apply_to(name, real, fake))
        self._real_logits[name, batch.part] = real_logits.detach()
        self._fake_logits[name, batch.part] = fake_logits.detach()
        terms = {f"loss_d{suffix}": _mean(self._loss(real_logits.flatten(), fake_logits.flatten())[0], real)}
        if not suffix:
            seen = outputs(real_logits.detach().flatten(), fake_logits.detach().flatten())
            terms |= {key: _mean(term.values, real, None) for key, term in seen.items()}
        return terms

    def fooling(self, batch: Batch, name: str, fake: Tensor, suffix: str = "") -> dict[str, Term]:
        """The generator's adversarial term: per-patch losses, averaged over each image."""
        if not self.adversarial:
            return {}
        (logits,) = self.apply_to(name, fake)
        values = self._loss(self._real_logits[name, batch.part].flatten(), patches(logits).flatten())[1]
        return {f"loss_g{suffix}": _mean(values, fake, self.adversarial)}

    def signals(self) -> Mapping[str, Tensor]:
        return accuracies(self._real_logits.values(), self._fake_logits.values()) if self._real_logits else {}

    def average(self, step: int, batch_size: int) -> None:
        decay = ema.decay(step * batch_size, batch_size, self._average.half_life, self._average.ramp)
        for averaged, latest in self._tensors:
            ema.update(averaged, latest, decay)


MIXING = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)  # layers by which images share statistics


def patches(logits: Tensor) -> Tensor:
    """The logits of each image in a row: ``[N, 1, h, w]`` -> ``[N, h * w]``."""
    return logits.reshape(len(logits), -1)


def _mean(values: Tensor, images: Tensor, weight: float | None = 1.0) -> Term:
    """A term from ``values`` of all patches, ``[N * h * w]``: their mean for each of the N ``images``."""
    return Term(values.reshape(len(images), -1).mean(dim=1), weight)


def distance(images: Tensor, others: Tensor) -> Tensor:
    """The mean absolute difference of each image from the other, ``[N, C, H, W]`` each -> ``[N]``."""
    return (images - others).abs().flatten(1).mean(dim=1)


class Pix2Pix(Translation):
    """pix2pix: Isola et al. 2017 (arXiv 1611.07004), equation 4: ``G* = arg min_G max_D L_cGAN(G, D) + l1 * L_L1(G)``.

    ``generator`` maps sources ``[N, Cs, H, W]`` to images ``[N, Ct, H, W]``. ``discriminator`` maps a source and an
    image, concatenated, to logits ``[N, 1, h, w]``. The noise is the generator's dropout. ``l1`` weights the mean
    absolute difference from the target. The authors' code uses binary cross-entropy (``loss=nonsaturating``), weights
    D's loss by 1/2 (``loss.half=true``), and takes G's step on the images of D's step (``update=shared``).
    """

    sees_source = True

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: Loss,
        source_channels: int,
        average: Average = Average(),
        compute: Compute = Compute(),
        l1: float = 100.0,
        adversarial: float = 1.0,
    ) -> None:
        networks = {"generator": generator, "discriminator": discriminator}
        super().__init__(networks, source_channels, loss, average, compute, adversarial)
        self.l1 = l1

    def generate(self, batch: Batch) -> Tensor:
        return self.apply_to("generator", self.split(batch)[0])[0]

    def discriminator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        source, _ = self.split(batch)
        return self.told_apart(batch, "discriminator", batch.real, torch.cat([source, fake.detach()], dim=1))

    def generator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        source, target = self.split(batch)
        terms = self.fooling(batch, "discriminator", torch.cat([source, fake], dim=1))
        return {**terms, "l1": Term(distance(fake, target), self.l1)}


class Fakes(NamedTuple):
    """The images that both generators make of a batch: of the target domain and of the source domain.

    ``identity`` are G(target) and F(source), which should change nothing.
    """

    target: Tensor
    source: Tensor
    identity: Sequence[Tensor]


class CycleGAN(Translation):
    """CycleGAN: Zhu et al. 2017 (arXiv 1703.10593), equation 3: translation without pairs.

    ``generator`` is the paper's G, from sources to targets, and ``backward_generator`` its F. ``discriminator`` judges
    targets and ``backward_discriminator`` sources. ``reverse`` makes the backward networks. ``cycle`` weights
    ``|F(G(x)) - x|`` and ``|G(F(y)) - y|``, equation 2. ``identity``, times ``cycle``, weights ``|G(y) - y|`` and
    ``|F(x) - x|``, section 5.2. Each D sees images from a pool of the last ``pool`` ones, section 4. The loss is least
    squares (``loss=lsgan``), whose terms have a factor of 1/2 here that CycleGAN's generators lack: hence
    ``adversarial`` is 2. ValueError if ``identity`` is above 0 and the domains differ in channels.
    """

    sides: ClassVar[dict[str, tuple[str, ...]]] = {
        "discriminator": ("discriminator", "backward_discriminator"),
        "generator": ("generator", "backward_generator"),
    }
    averages: ClassVar[dict[str, str]] = {"generator": "ema", "backward_generator": "backward_ema"}

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        reverse: Callable[[], Networks],
        loss: Loss,
        source_channels: int,
        image_shape: Sequence[int],
        average: Average = Average(),
        compute: Compute = Compute(),
        cycle: float = 10.0,
        identity: float = 0.5,
        pool: int = 50,
        adversarial: float = 2.0,
    ) -> None:
        channels, *sides = image_shape
        if identity and channels != source_channels:
            raise ValueError("identity needs domains with the same channels: add game.identity=0")
        backward_generator, backward_discriminator = reverse()
        networks = {
            "generator": generator, "backward_generator": backward_generator,
            "discriminator": discriminator, "backward_discriminator": backward_discriminator,
        }  # fmt: skip
        super().__init__(networks, source_channels, loss, average, compute, adversarial)
        self.cycle, self.identity = cycle, identity
        self.pool = Pool(pool, (channels, *sides), compute.device)
        self.backward_pool = Pool(pool, (source_channels, *sides), compute.device)

    def generate(self, batch: Batch) -> Fakes:
        source, target = self.split(batch)
        if not self.identity:
            return Fakes(self.apply_to("generator", source)[0], self.apply_to("backward_generator", target)[0], [])
        forward = self.apply_to("generator", source, target)
        backward = self.apply_to("backward_generator", target, source)
        return Fakes(forward[0], backward[0], [forward[1], backward[1]])

    def discriminator_terms(self, batch: Batch, fake: Fakes) -> Terms:
        source, target = self.split(batch)
        return {
            **self.told_apart(batch, "discriminator", target, self.pool(fake.target.detach())),
            **self.told_apart(
                batch, "backward_discriminator", source, self.backward_pool(fake.source.detach()), "_backward"
            ),
        }

    def generator_terms(self, batch: Batch, fake: Fakes) -> Terms:
        source, target = self.split(batch)
        terms = {
            **self.fooling(batch, "discriminator", fake.target),
            **self.fooling(batch, "backward_discriminator", fake.source, "_backward"),
        }
        (again,), (again_target,) = (
            self.apply_to("backward_generator", fake.target),
            self.apply_to("generator", fake.source),
        )
        terms["cycle"] = Term(distance(again, source), self.cycle)
        terms["cycle_backward"] = Term(distance(again_target, target), self.cycle)
        if self.identity:
            unchanged = distance(fake.identity[0], target) + distance(fake.identity[1], source)
            terms["identity"] = Term(unchanged, self.cycle * self.identity)
        return terms
