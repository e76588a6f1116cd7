"""Sections 3 and 4 of Goodfellow et al. 2014, trained by the loop and held to closed forms."""

import math
import sys
from pathlib import Path

import pytest
import torch
from scipy import integrate, stats

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
import theory


def _scipy_jsd(mean, std):
    p, q = stats.norm(0, 1).pdf, stats.norm(mean, std).pdf

    def integrand(x):
        m = (p(x) + q(x)) / 2
        return (p(x) * math.log(p(x) / m) + q(x) * math.log(q(x) / m)) / 2

    return integrate.quad(integrand, -7, 9, points=(0, mean), limit=200)[0]


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.0, 1.0), (0.0, 0.5)])
def test_a_trained_discriminator_is_the_optimal_one_and_v_is_theorem_1s(mean, std):
    found = theory.near_optimal(mean, std, steps=1000)
    jsd = _scipy_jsd(mean, std)
    assert found.jsd == pytest.approx(jsd, abs=1e-6)
    assert theory.distance_from_best(found) < 0.04
    assert found.value == pytest.approx(-math.log(4) + 2 * jsd, abs=2e-3)
    assert found.value < -math.log(4) + 2 * jsd + 1e-6, "no discriminator is better than the best"


def test_a_poor_discriminator_is_told_from_the_optimal_one():
    found = theory.near_optimal(1.0, 1.0, steps=1)
    assert theory.distance_from_best(found) > 0.1
    assert found.value < theory.predicted(found) - 0.05


@pytest.mark.parametrize("shift", [-8.0, -1.0, 0.0, 3.0])
def test_the_gradients_of_both_losses_are_the_closed_forms(shift):
    z = torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
    found = theory.generator_gradients(theory.Affine(shift, 1.0), torch.nn.Flatten(0), z)  # the logit is G(z)
    z = z.double().flatten()
    d = (shift + z).sigmoid()
    for name, in_logit in {"minimax": -d, "nonsaturating": d - 1}.items():
        in_mean, in_std = in_logit.mean(), (in_logit * z).mean()
        assert found[name] == pytest.approx(math.hypot(in_mean, in_std), rel=1e-4)
    assert found["d_of_g"] == pytest.approx(d.mean().item(), rel=1e-4)


def test_a_k_of_5_descends_the_divergence():
    jsd = [value for _, value in theory.divergences(5, seed=0, steps=100)]
    assert max(jsd[-2:]) < 0.03 < jsd[0] * 2


def test_steps_on_xy_spiral_or_circle():
    eta, steps = 0.1, 200
    squares = theory.descent(alternating=False, eta=eta, steps=steps).square().sum(dim=1)
    assert torch.allclose(squares, (1 + eta**2) ** torch.arange(steps + 1, dtype=torch.float64))
    x, y = theory.descent(alternating=True, eta=eta, steps=steps).T
    assert torch.allclose(x * x + y * y - eta * x * y, torch.ones(steps + 1, dtype=torch.float64))
    assert x.min() < -0.9 and y.min() < -0.9, "all round the equilibrium"
