"""The penalties against closed forms, and their gradients in the weights against finite differences in float64."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from gan_cli.penalties import LeCam, clip_weights, dragan, gradient_penalty, r1, r1r2, r2

SHAPES = pytest.mark.parametrize("shape", [(5, 3, 4, 4), (5, 2)])
SLOPED = pytest.mark.parametrize("penalty", [gradient_penalty, dragan])


def _linear(w):
    return lambda x: (x * w).flatten(1).sum(dim=1)


@SHAPES
@pytest.mark.parametrize(("penalty", "times"), [(r1, 1), (r2, 1), (r1r2, 2)])
def test_of_a_linear_discriminator_it_is_the_weights_squared_norm(shape, penalty, times):
    w = torch.randn(shape[1:])
    terms = penalty(_linear(w), torch.randn(shape), torch.randn(shape), gamma=2.5)
    assert terms.shape == (5,)
    assert terms.tolist() == pytest.approx([times * 2.5 / 2 * w.square().sum().item()] * 5)


def test_of_a_quadratic_discriminator_and_its_gradient_in_the_weights():
    a, real, fake = torch.randn(6, 6, requires_grad=True), torch.randn(4, 1, 2, 3), torch.randn(4, 1, 2, 3)

    def quadratic(images):
        return torch.einsum("ni,ij,nj->n", images.flatten(1), a, images.flatten(1))

    # The gradient of x'Ax is (A + A')x.
    of_real, of_fake = (0.5 * (x.flatten(1) @ (a + a.T)).square().sum(dim=1) for x in (real, fake))
    for penalty, expected in ((r1, of_real), (r2, of_fake), (r1r2, of_real + of_fake)):
        terms = penalty(quadratic, real, fake)
        torch.testing.assert_close(terms, expected)
        (gradient,) = torch.autograd.grad(terms.sum(), a, retain_graph=True)
        (expected_gradient,) = torch.autograd.grad(expected.sum(), a, retain_graph=True)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("penalty", [r1, r2, r1r2, gradient_penalty, partial(gradient_penalty, one_sided=True), dragan])
def test_gradients_in_the_weights_match_finite_differences(penalty):
    generator = torch.Generator().manual_seed(0)
    real, fake, w, v = (torch.randn(s, dtype=torch.float64, generator=generator) for s in [(3, 4), (3, 4), (4, 5), 5])

    def terms(w, v):
        torch.manual_seed(1)  # the same points each time
        return penalty(lambda x: torch.tanh(x @ w) @ v, real, fake)

    assert torch.autograd.gradcheck(terms, (w.requires_grad_(), v.requires_grad_()))


@SHAPES
@SLOPED
def test_a_slope_of_1_is_free_and_others_cost_their_squared_distance(shape, penalty):
    w = torch.randn(shape[1:])
    real, fake = torch.randn(shape), torch.randn(shape)
    for slope in (0.25, 1.0, 3.0):
        terms = penalty(_linear(slope * w / w.norm()), real, fake, weight=2.0)
        assert terms.shape == (5,)
        assert terms.tolist() == pytest.approx([2 * (slope - 1) ** 2] * 5, abs=1e-5)


def test_one_sided_leaves_slopes_below_1_alone():
    w, x = torch.tensor([3.0, 4.0]) / 5, torch.randn(3, 2)
    below, above = (gradient_penalty(_linear(slope * w), x, x, one_sided=True) for slope in (0.5, 1.5))
    assert below.tolist() == [0, 0, 0]
    assert above.tolist() == pytest.approx([2.5] * 3)


@SLOPED
def test_a_flat_discriminator_has_finite_gradients(penalty):
    w = torch.zeros(4, requires_grad=True)
    terms = penalty(_linear(w), torch.randn(3, 4), torch.randn(3, 4))
    (gradient,) = torch.autograd.grad(terms.sum(), w)
    assert terms.tolist() == pytest.approx([10] * 3)
    assert torch.isfinite(gradient).all()


def _points_seen(penalty, real, fake):
    """The points at which ``penalty`` takes the gradient."""
    seen = []
    penalty(lambda x: (seen.append(x.detach()), x.flatten(1).sum(dim=1))[1], real, fake)
    return seen[0]


@SHAPES
def test_the_gradient_penalty_looks_between_real_and_fake(shape):
    real, fake = torch.randn(shape), torch.randn(shape)
    fractions = ((_points_seen(gradient_penalty, real, fake) - fake) / (real - fake)).flatten(1)
    assert ((fractions >= 0) & (fractions <= 1)).all()
    torch.testing.assert_close(fractions, fractions[:, :1].expand_as(fractions), rtol=1e-3, atol=1e-3)
    assert fractions.std(dim=0).min() > 0.01  # one for each image


@SHAPES
def test_dragan_looks_beside_the_data(shape):
    real = torch.randn(shape)
    noise = _points_seen(dragan, real, torch.empty(0)) - real
    assert noise.min() >= -1e-6
    assert noise.max() <= 0.5 * real.std(correction=0) + 1e-6
    assert noise.unique().numel() == noise.numel()


def test_lecam_against_a_loop_in_numpy():
    lecam, rng = LeCam(weight=0.7, decay=0.9), np.random.default_rng(0)
    mean_real = mean_fake = filled = 0.0
    for _ in range(20):
        real, fake = rng.normal(1, 1, (6, 2)), rng.normal(-1, 2, (6, 2))
        mean_real = 0.9 * mean_real + 0.1 * real.sum(1).mean()
        mean_fake = 0.9 * mean_fake + 0.1 * fake.sum(1).mean()
        filled = 0.9 * filled + 0.1
        expected = 0.7 * ((real.sum(1) - mean_fake / filled) ** 2 + (fake.sum(1) - mean_real / filled) ** 2)
        terms = lecam(lambda x: x.sum(dim=1), torch.from_numpy(real).float(), torch.from_numpy(fake).float())
        np.testing.assert_allclose(terms.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_lecam_pulls_logits_to_the_means_of_the_other_kind_which_are_saved():
    def judge(x):
        return scale * x.flatten(1).sum(dim=1)

    scale = torch.ones((), requires_grad=True)
    lecam, real, fake = LeCam(weight=1.0), torch.full((3, 1, 1, 1), 2.0), torch.full((3, 1, 1, 1), -1.0)
    terms = lecam(judge, real, fake)
    assert terms.tolist() == pytest.approx([18.0] * 3)  # (2 - -1)^2 + (-1 - 2)^2
    (gradient,) = torch.autograd.grad(terms.mean(), scale)
    assert gradient.item() == pytest.approx(2 * 3 * 2 + 2 * -3 * -1)  # the means are constants

    resumed = LeCam(weight=1.0)
    resumed.load_state_dict(lecam.state_dict())
    assert torch.equal(resumed(judge, -real, fake), lecam(judge, -real, fake))
    assert not list(lecam.parameters())


def test_lecam_takes_the_means_of_bfloat16_logits_in_float32():
    lecam, x = LeCam(), torch.tensor([[1.0], [1 + 2**-7]])  # neighbours in bfloat16
    terms = lecam(lambda x: x.squeeze(1).bfloat16(), x, x)
    assert terms.dtype == torch.float32
    assert (lecam.means / lecam.filled).tolist() == pytest.approx([1 + 2**-8] * 2, abs=1e-6)


def test_clipped_weights_are_bounded_and_others_left_alone():
    network = nn.Sequential(nn.Linear(40, 20), nn.BatchNorm1d(20))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    clip_weights(network, 0.05)
    for parameter, was in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter, was.clamp(-0.05, 0.05))
        assert parameter.requires_grad
    assert max(parameter.abs().max().item() for parameter in network.parameters()) == pytest.approx(0.05)


def test_a_clipped_perceptron_is_lipschitz():
    """The constant of a perceptron with 1-Lipschitz activations is at most the product of its layers' norms."""
    critic = nn.Sequential(nn.Linear(6, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    clip_weights(critic, 0.1)
    bound = 0.1 * (6 * 16) ** 0.5 * 0.1 * 16**0.5
    x, y = torch.randn(200, 6), torch.randn(200, 6)
    slopes = (critic(x) - critic(y)).squeeze(1).abs() / (x - y).norm(dim=1)
    assert slopes.max() <= bound
