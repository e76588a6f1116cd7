"""The adversarial losses: one family, one signature, computed from logits.

A loss is a function of the discriminator's logits on real and on generated images, both of shape ``[N]``, and returns
two tensors of per-sample terms, also ``[N]``: the discriminator's and the generator's. Both networks descend their own.
The loop averages the terms and calls ``backward``; a loss never does. In the generator's step ``real_logits`` are
those of the last discriminator step and carry no gradient.

Where D is a classifier (:func:`minimax`, :func:`nonsaturating`, :func:`relativistic`), ``D(x) = sigmoid(logit)`` is
never formed: with ``softplus(a) = log(1 + e^a)``,

    -log D(x) = softplus(-logit)        -log(1 - D(x)) = softplus(logit),

both finite, and with finite gradients, at any finite logit. Section 3 of Goodfellow et al. 2014 notes why that matters:
early in training D(G(z)) is nearly 0, and a log of it taken the plain way is minus infinity.

As binary cross-entropy: ``softplus(-logit)`` is BCE against the target 1 (real), ``softplus(logit)`` BCE against the
target 0 (generated). The paper's V(D, G) is the plain sum of both expectations; many codes, the original one among
them, train D on their mean, ``(r_loss + f_loss) / 2``. That halves D's gradient and no more, which matters to plain
SGD and not to Adam: ``half=True`` does it. One-sided label smoothing (Salimans et al. 2016, arXiv 1606.03498, section
3.4) makes the target of real images ``1 - smoothing``: ``smoothing * real_logits`` more, since
``(1 - s) softplus(-a) + s softplus(a) = softplus(-a) + s a``.

The others (:func:`lsgan`, :func:`wgan`, :func:`hinge`) take the logit itself for the papers' D(x), which there is any
real number.
"""

from torch import Tensor
from torch.nn.functional import relu, softplus


def discriminator_bce(real_logits: Tensor, fake_logits: Tensor, half: bool = False, smoothing: float = 0.0) -> Tensor:
    """Minus the terms of V(D, G), Goodfellow et al. 2014, equation 1: ``-log D(x) - log(1 - D(G(z)))``, shape ``[N]``.

    With ``half`` the mean of both binary cross-entropies instead of their sum. Range ``[0, inf)``; at D = 1/2
    everywhere it is ``log 4`` (``log 2`` with ``half``), whatever ``smoothing``, by which the target of real images
    stays below 1. ValueError unless ``0 <= smoothing < 1``.
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

    The generator's term lies in ``(-inf, 0]`` and its gradient in the logit is ``-D(G(z))``: where D is sure that a
    sample is generated, G learns nothing. This is the saturation of section 3; see :func:`nonsaturating`.
    """
    return discriminator_bce(real_logits, fake_logits, half, smoothing), -softplus(fake_logits)


def nonsaturating(
    real_logits: Tensor, fake_logits: Tensor, half: bool = False, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The loss the paper trains with (Goodfellow et al. 2014, section 3): G descends ``-log D(G(z))``.

    The same fixed point as :func:`minimax`, but the gradient in the logit is ``D(G(z)) - 1``: strongest where D rejects
    the sample. The generator's term, BCE(D(G(z)), 1), lies in ``[0, inf)``.
    """
    return discriminator_bce(real_logits, fake_logits, half, smoothing), softplus(-fake_logits)


def relativistic(real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Relativistic pairing: D tells which image of a pair is real (Jolicoeur-Martineau 2018, arXiv 1807.00734).

    ``softplus(-(D(x) - D(G(z))))`` and, for the generator, ``softplus(-(D(G(z)) - D(x)))``, pair by pair, as R3GAN
    trains with it (Huang et al. 2024, arXiv 2501.05441, equation 2), there with :func:`gan_cli.penalties.r1r2`. In the
    generator's step D(x) is that of the last discriminator step, before D moved, and without a gradient, which G would
    not see anyway. Both lie in ``[0, inf)``, ``log 2`` where D gives both images the same.
    """
    margin = real_logits - fake_logits
    return softplus(-margin), softplus(margin)


def lsgan(real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares: Mao et al. 2017 (arXiv 1611.04076), equation 2 with the targets of equation 9, its 1/2 included.

    ``(D(x) - 1)^2 / 2 + D(G(z))^2 / 2`` and ``(D(G(z)) - 1)^2 / 2``, both in ``[0, inf)``; at D = 1/2 everywhere 1/4
    and 1/8.
    """
    return ((real_logits - 1).square() + fake_logits.square()) / 2, (fake_logits - 1).square() / 2


def wgan(real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
    """The Wasserstein critic's ``D(G(z)) - D(x)``; G descends ``-D(G(z))``. Any real number.

    Arjovsky et al. 2017 (arXiv 1701.07875), algorithm 1. Minus the critic's mean is the earth mover's distance, up to
    the Lipschitz constant, as long as D is Lipschitz: by ``penalty=gradient_penalty``, ``penalty=weight_clip`` or
    spectral normalisation. Alone it has no minimum.
    """
    return fake_logits - real_logits, -fake_logits


def hinge(real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
    """The hinge loss: Lim & Ye 2017 (arXiv 1705.02894); Miyato et al. 2018 (arXiv 1802.05957), equations 16 and 17.

    ``max(0, 1 - D(x)) + max(0, 1 + D(G(z)))``, in ``[0, inf)``: D no longer learns from images beyond the margin. The
    generator's term, ``-D(G(z))``, is any real number. At D = 0 everywhere 2 and 0.
    """
    return relu(1 - real_logits) + relu(1 + fake_logits), -fake_logits
