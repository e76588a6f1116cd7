"""Penalties on the discriminator: one family, one signature.

A penalty is a function of the discriminator, real images and generated images: ``[N, C, H, W]`` in [-1, 1] each, or
points ``[N, d]``. It returns per-sample terms ``[N]``. The loop averages these terms and adds them to the
discriminator's loss. Two options in a penalty's configuration belong to the loop. With ``interval=8`` the loop adds the
penalty on every 8th discriminator step, multiplied by 8 (lazy regularisation, Karras et al. 2020, arXiv 1912.04958,
section 3.1). ``clip`` bounds D's weights by :func:`clip_weights`.

A penalty with state, such as :class:`LeCam`, is a module that keeps its state in buffers.

The discriminator that a game hands to a penalty remembers the logits of the loss. Called with the very tensors ``real``
or ``fake``, it returns these logits and computes nothing. Both tensors require gradients then, so R1 and R2
differentiate the pass of the loss. Called with other images, it computes a pass.

Gradient penalties need a separate gradient for each image, hence a discriminator without batch normalisation.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from gan_cli import processes

Discriminator = Callable[[Tensor], Tensor]


def r1(discriminator: Discriminator, real: Tensor, fake: Tensor, gamma: float = 1.0) -> Tensor:
    """R1, the zero-centred gradient penalty on real data: ``gamma / 2 * |grad_x D(x)|^2``, summed over C, H, W.

    Mescheder et al. 2018 (arXiv 1801.04406), equation 9, with D the logit. ``fake`` is unused.
    """
    return gamma / 2 * _squared_slopes(discriminator, real)


def r2(discriminator: Discriminator, real: Tensor, fake: Tensor, gamma: float = 1.0) -> Tensor:
    """R2, the same as R1 on generated data: ``gamma / 2 * |grad D(G(z))|^2``. ``real`` is unused.

    Mescheder et al. 2018 (arXiv 1801.04406), equation 10.
    """
    return gamma / 2 * _squared_slopes(discriminator, fake)


def r1r2(discriminator: Discriminator, real: Tensor, fake: Tensor, gamma: float = 1.0) -> Tensor:
    """R1 + R2 with one ``gamma``: Huang et al. 2024 (R3GAN, arXiv 2501.05441), section 2.2; there on every step."""
    return gamma / 2 * _squared_slopes(discriminator, real, fake)


def gradient_penalty(
    discriminator: Discriminator, real: Tensor, fake: Tensor, weight: float = 10.0, one_sided: bool = False
) -> Tensor:
    """WGAN-GP: ``weight * (|grad D(y)| - 1)^2``, with ``y`` a random point between a real and a generated image.

    Gulrajani et al. 2017 (arXiv 1704.00028), equation 3. ``one_sided`` penalises only slopes above 1, which is enough
    for a 1-Lipschitz critic: ``weight * max(0, |grad D(y)| - 1)^2`` (Petzka et al. 2018, arXiv 1709.08894).
    """
    between = torch.lerp(fake.detach(), real.detach(), _uniform_per_sample(real))
    return _slope_penalty(discriminator, between, weight, one_sided)


def dragan(
    discriminator: Discriminator, real: Tensor, fake: Tensor, weight: float = 10.0, perturbation: float = 0.5
) -> Tensor:
    """DRAGAN: ``weight * (|grad D(x + noise)| - 1)^2``, the two-sided penalty near real data only.

    Kodali et al. 2017 (arXiv 1705.07215). The noise is as in the authors' code: ``perturbation`` times the batch's
    standard deviation, times U(0, 1) for each value, times U(0, 1) for each image. ``fake`` is unused.
    """
    real = real.detach()
    mean = processes.mean(real.mean())
    std = processes.mean((real - mean).square().mean()).sqrt()
    noise = perturbation * std * torch.rand_like(real) * _uniform_per_sample(real)
    return _slope_penalty(discriminator, real + noise, weight, one_sided=False)


class LeCam(nn.Module):
    """LeCam: pulls D's logits on real images to the EMA of its logits on generated images, and the other way round.

    ``weight * ((D(x) - a_F)^2 + (D(G(z)) - a_R)^2)``, with ``a_R`` and ``a_F`` the exponential moving averages of D's
    mean logit on real and on generated images: Tseng et al. 2021 (arXiv 2104.03310), section 3. Each call first updates
    both EMAs and corrects them for their start at 0, so the first call uses the batch's own means. The formula is the
    paper's; the authors' code adds a relu around both differences. ValueError unless ``0 <= decay < 1``.
    """

    means: Tensor
    filled: Tensor
    needs_whole_minibatch = "penalty=lecam"

    def __init__(self, weight: float = 0.3, decay: float = 0.99) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay} should be from 0 up and below 1")
        self.weight, self.decay = weight, decay
        self.register_buffer("means", torch.zeros(2))  # of D(x) and of D(G(z))
        self.register_buffer("filled", torch.zeros(()))  # the EMA of 1: means / filled corrects the start at 0

    def forward(self, discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
        logits = torch.stack([discriminator(real), discriminator(fake)]).to(self.means.dtype)
        with torch.no_grad():
            self.means.mul_(self.decay).add_(processes.mean(logits.mean(dim=1)), alpha=1 - self.decay)
            self.filled.mul_(self.decay).add_(1 - self.decay)
            others = (self.means / self.filled).flip(0)
        return self.weight * (logits - others[:, None]).square().sum(dim=0)


@torch.no_grad()
def clip_weights(module: nn.Module, clip: float) -> None:
    """Move every parameter of ``module`` into [-clip, clip], in place: Arjovsky et al. 2017 (arXiv 1701.07875), alg. 1.

    A network with bounded weights is Lipschitz. Its constant is unknown. Frozen parameters stay as they are.
    """
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.clamp_(-clip, clip)


def _gradients(discriminator: Discriminator, *points: Tensor) -> tuple[Tensor, ...]:
    """The gradient of D at each sample of each of the ``points``, of their shape. It can be differentiated again."""
    points = tuple(x if x.requires_grad else x.detach().requires_grad_() for x in points)
    logits = [discriminator(x) for x in points]
    return torch.autograd.grad(logits, points, [torch.ones_like(some) for some in logits], create_graph=True)


def _squared_slopes(discriminator: Discriminator, *points: Tensor) -> Tensor:
    """``|grad D(x)|^2`` at each sample x, summed over the ``points``, ``[N]``."""
    first, *others = (g.flatten(1).square().sum(dim=1) for g in _gradients(discriminator, *points))
    return sum(others, start=first)


def _slope_penalty(discriminator: Discriminator, x: Tensor, weight: float, one_sided: bool) -> Tensor:
    """``weight * (|grad D(x)| - 1)^2`` at each sample of ``x``; with ``one_sided`` only where the slope is above 1."""
    (gradient,) = _gradients(discriminator, x)
    slope = torch.linalg.vector_norm(
        gradient.flatten(1), dim=1
    )  # its gradient at 0 is 0; that of a square root is infinite
    excess = relu(slope - 1) if one_sided else slope - 1
    return weight * excess.square()


def _uniform_per_sample(batch: Tensor) -> Tensor:
    """U(0, 1), one number for each sample, ``[N, 1, …]``."""
    return torch.rand(len(batch), *[1] * (batch.dim() - 1), dtype=batch.dtype, device=batch.device)
