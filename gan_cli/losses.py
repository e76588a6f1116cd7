"""The adversarial losses: one family, one signature, computed from logits.

A loss is a function of the discriminator's logits on real and on generated images, both of shape ``[N]``, and returns
two tensors of per-sample terms, also ``[N]``: the discriminator's and the generator's. Both networks descend their own.
The loop averages the terms and calls ``backward``; a loss never does. In the generator's step ``real_logits`` are
those of the last discriminator step and carry no gradient.

``D(x) = sigmoid(logit)`` is never formed: with ``softplus(a) = log(1 + e^a)``,

    -log D(x) = softplus(-logit)        -log(1 - D(x)) = softplus(logit),

both finite, and with finite gradients, at any finite logit. Section 3 of Goodfellow et al. 2014 notes why that matters:
early in training D(G(z)) is nearly 0, and a log of it taken the plain way is minus infinity.

As binary cross-entropy: ``softplus(-logit)`` is BCE against the target 1 (real), ``softplus(logit)`` BCE against the
target 0 (generated). The paper's V(D, G) is the plain sum of both expectations; many codes, the original one among
them, train D on their mean, ``(r_loss + f_loss) / 2``. That halves D's gradient and no more, which matters to plain
SGD and not to Adam: ``half=True`` does it.
"""

from torch import Tensor
from torch.nn.functional import softplus


def discriminator_bce(real_logits: Tensor, fake_logits: Tensor, half: bool = False) -> Tensor:
    """Minus the terms of V(D, G), Goodfellow et al. 2014, equation 1: ``-log D(x) - log(1 - D(G(z)))``, shape ``[N]``.

    With ``half`` the mean of both binary cross-entropies instead of their sum. Range ``[0, inf)``; at D = 1/2
    everywhere it is ``log 4`` (``log 2`` with ``half``).
    """
    terms = softplus(-real_logits) + softplus(fake_logits)
    return terms / 2 if half else terms


def minimax(real_logits: Tensor, fake_logits: Tensor, half: bool = False) -> tuple[Tensor, Tensor]:
    """The zero-sum game of Goodfellow et al. 2014, equation 1: G descends ``log(1 - D(G(z)))``.

    The generator's term lies in ``(-inf, 0]`` and its gradient in the logit is ``-D(G(z))``: where D is sure that a
    sample is generated, G learns nothing. This is the saturation of section 3; see :func:`nonsaturating`.
    """
    return discriminator_bce(real_logits, fake_logits, half), -softplus(fake_logits)


def nonsaturating(real_logits: Tensor, fake_logits: Tensor, half: bool = False) -> tuple[Tensor, Tensor]:
    """The loss the paper trains with (Goodfellow et al. 2014, section 3): G descends ``-log D(G(z))``.

    The same fixed point as :func:`minimax`, but the gradient in the logit is ``D(G(z)) - 1``: strongest where D rejects
    the sample. The generator's term, BCE(D(G(z)), 1), lies in ``[0, inf)``.
    """
    return discriminator_bce(real_logits, fake_logits, half), softplus(-fake_logits)
