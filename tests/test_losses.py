"""The losses against their closed forms, in float64, and at the logits where naive code breaks."""

import math

import pytest
import torch

from gan_cli.losses import minimax, nonsaturating

LOGITS = torch.linspace(-12, 12, 49, dtype=torch.float64)
BOTH = pytest.mark.parametrize("loss", [minimax, nonsaturating])


@BOTH
def test_the_discriminator_term_is_minus_equation_1(loss):
    real, fake = LOGITS, LOGITS.flip(0) + 1
    d_real, d_fake = 1 / (1 + torch.exp(-real)), 1 / (1 + torch.exp(-fake))
    expected = -torch.log(d_real) - torch.log(1 - d_fake)
    torch.testing.assert_close(loss(real, fake)[0], expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(loss(real, fake, half=True)[0], expected / 2, rtol=1e-9, atol=1e-9)


def test_the_generator_terms_are_the_papers():
    d_fake = 1 / (1 + torch.exp(-LOGITS))
    torch.testing.assert_close(minimax(LOGITS, LOGITS)[1], torch.log(1 - d_fake), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(nonsaturating(LOGITS, LOGITS)[1], -torch.log(d_fake), rtol=1e-9, atol=1e-9)


@BOTH
def test_at_equilibrium_the_value_is_minus_log_4(loss):
    assert loss(torch.zeros(3), torch.zeros(3))[0].tolist() == pytest.approx([math.log(4)] * 3)


@BOTH
def test_gradients_match_finite_differences(loss):
    real, fake = LOGITS.clone().requires_grad_(), LOGITS.flip(0).clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (real, fake))


@BOTH
@pytest.mark.parametrize("logit", [-1e4, -1e2, 0.0, 1e2, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_with_finite_gradients_at_extreme_logits(loss, logit, dtype):
    real = torch.full((2,), logit, dtype=dtype, requires_grad=True)
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
