"""The adversarial losses: one family, one signature, computed from logits.

A loss is a function of the discriminator's logits on real and on generated images, both of shape ``[N]``. It returns
two tensors of per-sample terms, also ``[N]``: the discriminator's and the generator's. Each network minimises its own
terms. The loop, not the loss, averages the terms and calls ``backward``. In the generator's step ``real_logits`` are
those of the last discriminator step and carry no gradient.

Three losses treat D as a classifier: :func:`minimax`, :func:`nonsaturating`, :func:`relativistic`. They use the logit
and never compute ``D(x) = sigmoid(logit)``. With ``softplus(a) = log(1 + e^a)``,

    -log D(x) = softplus(-logit)        -log(1 - D(x)) = softplus(logit).

Both are finite, with finite gradients, at any finite logit. This matters early in training: D(G(z)) is then nearly 0
(Goodfellow et al. 2014, section 3), and the log of a probability that is rounded to 0 is minus infinity.

As binary cross-entropy: ``softplus(-logit)`` is BCE against the target 1 (real), ``softplus(logit)`` BCE against the
target 0 (generated). The paper's V(D, G) is the sum of both expectations. Many programs, the original one among them,
train D on their mean, ``(r_loss + f_loss) / 2``; so does ``half=True``. The mean only halves D's gradient, which
changes plain SGD but not Adam. One-sided label smoothing (Salimans et al. 2016, arXiv 1606.03498, section 3.4) makes
the target of real images ``1 - smoothing``. It adds ``smoothing * real_logits`` to the loss, since
``(1 - s) softplus(-a) + s softplus(a) = softplus(-a) + s a``.

In the other losses (:func:`lsgan`, :func:`wgan`, :func:`hinge`) the papers' D(x) is any real number: the logit itself.
"""

from torch import Tensor
from torch.nn.functional import relu, softplus


def discriminator_bce(real_logits: Tensor, fake_logits: Tensor, half: bool = False, smoothing: float = 0.0) -> Tensor:
    """Minus the terms of V(D, G), Goodfellow et al. 2014, equation 1: ``-log D(x) - log(1 - D(G(z)))``, shape ``[N]``.

    With ``half`` it is the mean of both binary cross-entropies instead of their sum. The target of real images is
    ``1 - smoothing``. The range is ``[0, inf)``. At D = 1/2 everywhere the value is ``log 4`` (``log 2`` with
    ``half``), for any ``smoothing``. ValueError unless ``0 <= smoothing < 1``.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing={smoothing} should be from 0 up and below 1")
    terms = softplus(-real_logits) + softplus(fake_logits)
    if smoothing:
        terms = terms + smoothing * real_logits
    return terms / 2 if half else terms


def minimax(
    real_logits: Tensor, fake_logits: Tensor, half: bool = False, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The zero-sum game of Goodfellow et al. 2014, equation 1: G descends ``log(1 - D(G(z)))``.

    The generator's term lies in ``(-inf, 0]``. Its gradient in the logit is ``-D(G(z))``: if D is sure that a sample is
    generated, G learns nothing from it. Section 3 calls this saturation; :func:`nonsaturating` avoids it.
    """
    return discriminator_bce(real_logits, fake_logits, half, smoothing), -softplus(fake_logits)


def nonsaturating(
    real_logits: Tensor, fake_logits: Tensor, half: bool = False, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The loss of the paper's experiments (Goodfellow et al. 2014, section 3): G descends ``-log D(G(z))``.

    The fixed point is that of :func:`minimax`, but the gradient in the logit is ``D(G(z)) - 1``: it is strongest where
    D rejects the sample. The generator's term, BCE(D(G(z)), 1), lies in ``[0, inf)``.
    """
    return discriminator_bce(real_logits, fake_logits, half, smoothing), softplus(-fake_logits)


def relativistic(real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Relativistic pairing: D tells which image of a pair is real (Jolicoeur-Martineau 2018, arXiv 1807.00734).

    D's term is ``softplus(-(D(x) - D(G(z))))`` and G's term is ``softplus(-(D(G(z)) - D(x)))``, pair by pair. R3GAN
    trains with this loss and :func:`gan_cli.penalties.r1r2` (Huang et al. 2024, arXiv 2501.05441, equation 2). In the
    generator's step D(x) comes from the last discriminator step, before D's update. It has no gradient, and G needs
    none from it. Both terms lie in ``[0, inf)``. They are ``log 2`` where D gives both images the same logit.
    """
    margin = real_logits - fake_logits
    return softplus(-margin), softplus(margin)


def lsgan(real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares: Mao et al. 2017 (arXiv 1611.04076), equation 2 with the targets of equation 9, its 1/2 included.

    D's term is ``(D(x) - 1)^2 / 2 + D(G(z))^2 / 2`` and G's term is ``(D(G(z)) - 1)^2 / 2``, both in ``[0, inf)``. At
    D = 1/2 everywhere they are 1/4 and 1/8.
    """
    return ((real_logits - 1).square() + fake_logits.square()) / 2, (fake_logits - 1).square() / 2


def wgan(real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
    """The Wasserstein loss: the critic descends ``D(G(z)) - D(x)``, G descends ``-D(G(z))``. Both are any real number.

    Arjovsky et al. 2017 (arXiv 1701.07875), algorithm 1. D must be kept Lipschitz by ``penalty=gradient_penalty``,
    ``penalty=weight_clip`` or spectral normalisation; otherwise the critic's loss has no minimum. Minus the critic's
    mean loss then estimates the earth mover's distance times the Lipschitz constant.
    """
    return fake_logits - real_logits, -fake_logits


def hinge(real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
    """The hinge loss: Lim & Ye 2017 (arXiv 1705.02894); Miyato et al. 2018 (arXiv 1802.05957), equations 16 and 17.

    D's term is ``max(0, 1 - D(x)) + max(0, 1 + D(G(z)))``, in ``[0, inf)``: D does not learn from images beyond the
    margin. G's term, ``-D(G(z))``, is any real number. At D = 0 everywhere the terms are 2 and 0.
    """
    return relu(1 - real_logits) + relu(1 + fake_logits), -fake_logits
