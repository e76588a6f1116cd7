"""Games: the networks of each side, and the objective that each side minimises.

A game is a ``torch.nn.Module``. A checkpoint holds its children under their names, and a resumed run loads them. To
add a game, write a subclass of :class:`Game` or of :class:`Adversarial`, and a YAML file that names it. docs/extend.md
shows an example.
"""

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from gan_cli import processes
from gan_cli.augment import ADA, Augment
from gan_cli.noise import Noise, sample_noise
from gan_cli.training import ema
from gan_cli.training.batches import Batch
from gan_cli.training.device import Compute
from gan_cli.training.logits import accuracies, full, outputs
from gan_cli.training.terms import Term, Terms

PRECISIONS = ("auto", "fp32", "bf16")
Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Penalty(NamedTuple):
    """The regularisation of the discriminator D.

    ``function`` maps (D, real, fake) to per-sample terms: see :mod:`gan_cli.penalties`. The penalty is added every
    ``interval``-th update of D, multiplied by ``interval``. ``clip`` bounds the weights of D after each update of D.
    ``precision`` is that of D in these updates: ``auto``, that of the networks, or ``fp32``, or ``bf16``.
    """

    function: Callable[..., Tensor] | None = None
    interval: int = 1
    clip: float | None = None
    precision: str = "auto"


@dataclass(frozen=True)
class Average:
    """The averaged generator (EMA): its half-life in images, and its limit as a part of the images so far.

    A ``half_life`` of 0 means no averaging. See :func:`gan_cli.training.ema.decay`.
    """

    half_life: float = 20_000
    ramp: float | None = 0.04


class Game(nn.Module):
    """The game that :func:`gan_cli.training.algorithm.train` trains: two sides, each of one or several networks.

    A subclass sets its networks as attributes, names them in ``sides``, and defines :meth:`generate`,
    :meth:`discriminator_terms` and :meth:`generator_terms`. Its networks and their inputs belong on one device.
    """

    # The names of each side's networks. Each side has one optimizer.
    sides: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "discriminator": ("discriminator",),
        "generator": ("generator",),
    }

    # The values of a schedule that the game follows: see Schedule.
    follows: ClassVar[frozenset[str]] = frozenset()

    def networks(self, side: str) -> dict[str, nn.Module]:
        """The networks of ``side``, by name."""
        return {name: self.get_submodule(name) for name in self.sides[side]}

    def sampled(self) -> nn.Module:
        """The generator from which samples are drawn: the network named ``ema``, if the game has one."""
        generator = next(iter(self.networks("generator").values()))
        return self.get_submodule("ema") if "ema" in dict(self.named_children()) else generator

    def generate(self, batch: Batch) -> Any:
        """The generator's output for ``batch``. Both sides' terms get this output as ``fake``."""
        raise NotImplementedError(f"{type(self).__name__} should define generate(batch)")

    def discriminator_terms(self, batch: Batch, fake: Any) -> Terms:
        """The terms that the discriminator minimises. This method must detach ``fake``."""
        raise NotImplementedError(f"{type(self).__name__} should define discriminator_terms(batch, fake)")

    def generator_terms(self, batch: Batch, fake: Any) -> Terms:
        """The terms that the generator minimises. The discriminator's weights are frozen during this call."""
        raise NotImplementedError(f"{type(self).__name__} should define generator_terms(batch, fake)")

    def kind(self, batch: Batch) -> Hashable:
        """The kind of the update on ``batch``. All updates of a kind have the same operations, on the device alone.

        CUDA graphs replay steps whose updates have kinds. None, as here, means that an update has no kind.
        """
        return None

    def latest(self) -> Sequence[dict[Any, Tensor]]:
        """What a step leaves for :meth:`signals`. A replayed step puts its tensors into these mappings again."""
        return ()

    def follow(self, values: Mapping[str, float]) -> None:
        """Take the ``values`` of the run's schedule, by name. Called before each step."""

    def average(self, step: int, batch_size: int) -> None:
        """Update the averages. Called after both sides' updates of each step; ``step`` counts from 1."""

    def signals(self) -> Mapping[str, Tensor]:
        """Numbers of the last step for the record, scalars: means over this process's share. Asked for at ticks."""
        return {}


class Adversarial(Game):
    """The game of Goodfellow et al. 2014: G maps noise to images, D tells real images from fake images.

    ``generator`` maps latents ``[N, z_dim]`` (and labels ``[N]``) to images ``[N, C, H, W]`` in [-1, 1], or to points.
    ``discriminator`` maps images or points (and labels) to logits ``[N]``. ``loss`` maps real and fake logits to
    per-sample terms of each network. ``augment`` changes every image that D sees, real or fake. Samples are drawn from
    ``ema``, the averaged generator. Networks run in the precision of ``compute``. In an update with a penalty D runs in
    the precision of the ``penalty``, and is not compiled, because a compiled D can't be differentiated twice.
    """

    follows = frozenset({"penalty", "half_life", "augment_p"})

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: Loss,
        noise: Noise = Noise(),
        penalty: Penalty = Penalty(),
        augment: Augment | None = None,
        average: Average = Average(),
        compute: Compute = Compute(),
    ) -> None:
        super().__init__()
        self.generator, self.discriminator = compute.placed(generator), compute.placed(discriminator)
        self.ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.augment = augment.to(compute.device) if augment else None
        function = penalty.function
        self.penalty = function.to(compute.device, compute.dtype) if isinstance(function, nn.Module) else function
        self._loss, self._noise, self._interval, self._average = loss, noise, penalty.interval, average
        self._scheduled: Mapping[str, float] = {}
        self._compute = compute
        self._penalised = compute if penalty.precision == "auto" else replace(compute, bf16=penalty.precision == "bf16")
        # The tuple hides the compiled networks from the module's children, whose weights they share.
        self._forward = compute.compiled(self.generator), compute.compiled(self.discriminator)
        self._averaged, self._latest = ema.tensors(self.ema), ema.tensors(self.generator)
        self._real_logits: dict[int, Tensor] = {}  # of D's last update, by share
        self._fake_logits: dict[int, Tensor] = {}

    def generate(self, batch: Batch) -> Tensor:
        """Fake images from fresh noise and the batch's labels, as many as the batch has real images."""
        z = sample_noise(self._noise.prior, len(batch.real), self._noise.z_dim, batch.real.device)
        with self._compute.autocast():
            return full(self._forward[0](z.to(self._compute.dtype), *batch.given))

    def judge(self, batch: Batch, *images: Tensor, penalised: bool = False) -> list[Tensor]:
        """D's logits on each set of ``images`` after augmentation, float32 ``[N]``: in one pass if D has a ``group``.

        ``penalised`` means the pass of an update with a penalty.
        """
        views = [self._seen(some) for some in images]
        compute, network = (self._penalised, self.discriminator) if penalised else (self._compute, self._forward[1])
        n, sets = len(batch.real), len(views)
        group = getattr(self.discriminator, "group", None)
        with compute.autocast():  # one context for all sets: the weights are cast once
            if not group or n % group or sets == 1:
                return [full(network(view, *batch.given)) for view in views]
            # Image by image, real beside fake, the groups stay as they are in passes of their own.
            dim = 0 if group == 1 else 1
            together, *given = (
                torch.stack(each, dim).flatten(0, 1) for each in (views, *([x] * sets for x in batch.given))
            )
            return list(full(network(together, *given)).unflatten(0, (sets, n) if dim == 0 else (n, sets)).unbind(dim))

    def discriminator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        due = self.penalty_due(batch)
        real, fake = (images.detach().requires_grad_(due) for images in (batch.real, fake))
        real_logits, fake_logits = self.judge(batch, real, fake, penalised=due)
        terms = {"loss_d": Term(self._loss(real_logits, fake_logits)[0])}
        self._real_logits[batch.part], self._fake_logits[batch.part] = real_logits.detach(), fake_logits.detach()
        terms |= outputs(real_logits.detach(), fake_logits.detach())
        if self.penalty and due:
            critic = partial(self._critic, batch, {real: real_logits, fake: fake_logits})
            weight = self._interval * self._scheduled.get("penalty", 1)
            terms["penalty"] = Term(self.penalty(critic, real, fake), weight)
        if self.augment and batch.last and "augment_p" not in self._scheduled:
            self.augment.observe(processes.whole(torch.cat([*self._real_logits.values()])))
        return terms

    def generator_terms(self, batch: Batch, fake: Tensor) -> Terms:
        (fake_logits,) = self.judge(batch, fake)
        return {"loss_g": Term(self._loss(self._real_logits[batch.part], fake_logits)[1])}

    def follow(self, values: Mapping[str, float]) -> None:
        self._scheduled = values
        if "augment_p" in values and isinstance(self.augment, ADA):
            self.augment.p.fill_(values["augment_p"])

    def average(self, step: int, batch_size: int) -> None:
        half_life = self._average.half_life * self._scheduled.get("half_life", 1)
        decay = ema.decay(step * batch_size, batch_size, half_life, self._average.ramp)
        ema.update(self._averaged, self._latest, decay)

    def signals(self) -> Mapping[str, Tensor]:
        adaptive = {"augment_p": self.augment.p} if isinstance(self.augment, ADA) else {}
        return {**accuracies(self._real_logits.values(), self._fake_logits.values()), **adaptive}

    def latest(self) -> Sequence[dict[Any, Tensor]]:
        return self._real_logits, self._fake_logits

    def kind(self, batch: Batch) -> Hashable:
        return self.penalty_due(batch)

    def penalty_due(self, batch: Batch) -> bool:
        """Whether the update of D on ``batch`` has a penalty."""
        return self.penalty is not None and batch.number % self._interval == 0

    def _critic(self, batch: Batch, judged: Mapping[Tensor, Tensor], images: Tensor) -> Tensor:
        """D as a penalty calls it: the logits of images that the loss ``judged``, else those of a pass of its own."""
        return judged[images] if images in judged else self.judge(batch, images, penalised=True)[0]

    def _seen(self, images: Tensor) -> Tensor:
        return self.augment(images) if self.augment else images
