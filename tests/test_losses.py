"""The losses against their closed forms, in float64, and at the logits where naive code breaks."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from gan_cli.losses import hinge, lsgan, minimax, nonsaturating, relativistic, wgan

LOGITS = torch.linspace(-12, 12, 49, dtype=torch.float64)
BOTH = pytest.mark.parametrize("loss", [minimax, nonsaturating])
ALL = [
    minimax,
    nonsaturating,
    partial(minimax, half=True, smoothing=0.1),
    partial(nonsaturating, smoothing=0.1),
    relativistic,
    lsgan,
    wgan,
    hinge,
]
EACH = pytest.mark.parametrize("loss", ALL)


@BOTH
def test_the_discriminator_term_is_minus_equation_1(loss):
    real, fake = LOGITS, LOGITS.flip(0) + 1
    d_real, d_fake = 1 / (1 + torch.exp(-real)), 1 / (1 + torch.exp(-fake))
    expected = -torch.log(d_real) - torch.log(1 - d_fake)
    torch.testing.assert_close(loss(real, fake)[0], expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(loss(real, fake, half=True)[0], expected / 2, rtol=1e-9, atol=1e-9)


@BOTH
@pytest.mark.parametrize("half", [False, True])
def test_smoothing_is_a_cross_entropy_against_a_lower_target_of_real_images(loss, half):
    real, fake = LOGITS, LOGITS.flip(0) + 1
    target = torch.full_like(real, 0.9)
    expected = bce(real, target, reduction="none") + bce(fake, torch.zeros_like(fake), reduction="none")
    terms_d, terms_g = loss(real, fake, half=half, smoothing=0.1)
    torch.testing.assert_close(terms_d, expected / 2 if half else expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(terms_g, loss(real, fake)[1], rtol=0, atol=0)  # one-sided, and not for G


def test_with_smoothing_the_best_discriminator_of_equal_sets_is_not_a_half():
    """Salimans et al. 2016, section 3.4: D* = (1 - s) p_data / (p_data + p_g), here with p_data = p_g."""
    best = torch.logit(torch.tensor(0.9 / 2, dtype=torch.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(nonsaturating(best, best, smoothing=0.1)[0], best)
    assert gradient.item() == pytest.approx(0, abs=1e-12)


@BOTH
@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_a_target_beyond_0_and_1_is_refused(loss, smoothing):
    with pytest.raises(ValueError, match="smoothing"):
        loss(LOGITS, LOGITS, smoothing=smoothing)


CLOSED = {  # loss: D's terms, G's terms
    lsgan: (lambda r, f: 0.5 * (r - 1) ** 2 + 0.5 * f**2, lambda r, f: 0.5 * (f - 1) ** 2),
    wgan: (lambda r, f: -r + f, lambda r, f: -f),
    hinge: (lambda r, f: np.maximum(0, 1 - r) + np.maximum(0, 1 + f), lambda r, f: -f),
    relativistic: (lambda r, f: np.log(1 + np.exp(f - r)), lambda r, f: np.log(1 + np.exp(r - f))),
}


@pytest.mark.parametrize("loss", CLOSED)
def test_the_other_losses_are_their_papers(loss):
    real, fake = LOGITS, LOGITS.flip(0) / 2 + 1
    for terms, expected in zip(loss(real, fake), CLOSED[loss], strict=True):
        np.testing.assert_allclose(terms.numpy(), expected(real.numpy(), fake.numpy()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("loss", "logit", "of_d", "of_g"),
    [
        (lsgan, 0.5, 1 / 4, 1 / 8),
        (wgan, 3.0, 0, -3),
        (hinge, 0.0, 2, 0),
        (relativistic, 7.0, math.log(2), math.log(2)),
    ],
)
def test_at_equilibrium_no_discriminator_does_better(loss, logit, of_d, of_g):
    """Where real and generated images are the same and so are their logits, D's loss is as low as D can make it."""
    logits = torch.full((4,), logit, dtype=torch.float64, requires_grad=True)
    terms_d, terms_g = loss(logits, logits)
    assert terms_d.tolist() == pytest.approx([of_d] * 4)
    assert terms_g.tolist() == pytest.approx([of_g] * 4)
    (gradient,) = torch.autograd.grad(terms_d.sum(), logits)
    assert gradient.tolist() == pytest.approx([0] * 4)


def test_the_least_squares_discriminator_is_best_at_the_density_ratio():
    """Mao et al. 2017: D* = (b p_data + a p_g) / (p_data + p_g), here with a = 0, b = 1 and three real to one fake."""
    logit = torch.tensor(3 / 4, dtype=torch.float64, requires_grad=True)
    of_real, of_fake = lsgan(logit, torch.zeros(()))[0], lsgan(torch.ones(()), logit)[0]
    (gradient,) = torch.autograd.grad(3 * of_real + of_fake, logit)
    assert gradient.item() == pytest.approx(0, abs=1e-12)


def test_the_hinge_learns_nothing_beyond_the_margin():
    real, fake = torch.tensor([1.5, 0.5], requires_grad=True), torch.tensor([-1.5, -0.5], requires_grad=True)
    gradients = torch.autograd.grad(hinge(real, fake)[0].sum(), (real, fake))
    assert [g.tolist() for g in gradients] == [[0, -1], [0, 1]]


@pytest.mark.parametrize("loss", [wgan, relativistic])
def test_only_the_difference_of_logits_counts(loss):
    real, fake = LOGITS, LOGITS.flip(0)
    torch.testing.assert_close(loss(real + 5, fake + 5)[0], loss(real, fake)[0])


def test_the_generator_terms_are_the_papers():
    d_fake = 1 / (1 + torch.exp(-LOGITS))
    torch.testing.assert_close(minimax(LOGITS, LOGITS)[1], torch.log(1 - d_fake), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(nonsaturating(LOGITS, LOGITS)[1], -torch.log(d_fake), rtol=1e-9, atol=1e-9)


@BOTH
def test_at_equilibrium_the_value_is_minus_log_4(loss):
    assert loss(torch.zeros(3), torch.zeros(3))[0].tolist() == pytest.approx([math.log(4)] * 3)


@EACH
def test_gradients_match_finite_differences(loss):
    real, fake = (LOGITS + 0.1).requires_grad_(), (LOGITS.flip(0) / 2 + 0.15).requires_grad_()  # off hinge's corners
    assert torch.autograd.gradcheck(loss, (real, fake))


@EACH
@pytest.mark.parametrize("logit", [-1e4, -1e2, 0.0, 1e2, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_with_finite_gradients_at_extreme_logits(loss, logit, dtype):
    real = torch.tensor([logit, -logit], dtype=dtype, requires_grad=True)
    fake = torch.full((2,), logit, dtype=dtype, requires_grad=True)
    terms = loss(real, fake)
    gradients = torch.autograd.grad(terms[0].sum() + terms[1].sum(), (real, fake))
    assert all(torch.isfinite(t).all() for t in (*terms, *gradients))


def test_where_the_discriminator_is_sure_only_the_nonsaturating_gradient_lives():
    fake = torch.tensor([-20.0], requires_grad=True)
    (saturated,) = torch.autograd.grad(minimax(fake.detach(), fake)[1].sum(), fake)
    (alive,) = torch.autograd.grad(nonsaturating(fake.detach(), fake)[1].sum(), fake)
    assert abs(saturated.item()) < 1e-8
    assert alive.item() == pytest.approx(-1)
