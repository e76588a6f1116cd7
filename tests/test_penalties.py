"""R1 against closed forms."""

import pytest
import torch

from gan_cli.penalties import r1


def test_r1_of_a_linear_discriminator_is_its_weights_squared_norm():
    w = torch.randn(3, 4, 4)
    penalty = r1(lambda x: (x * w).sum(dim=(1, 2, 3)), torch.randn(5, 3, 4, 4), torch.empty(0), gamma=2.5)
    assert penalty.shape == (5,)
    assert penalty.tolist() == pytest.approx([2.5 / 2 * w.square().sum().item()] * 5)


def test_r1_of_a_quadratic_discriminator_and_its_gradient_in_the_weights():
    a, x = torch.randn(6, 6, requires_grad=True), torch.randn(4, 1, 2, 3)
    symmetric = a + a.T
    penalty = r1(lambda images: torch.einsum("ni,ij,nj->n", images.flatten(1), a, images.flatten(1)), x, x)
    flat = x.flatten(1)
    expected = 0.5 * (flat @ symmetric).square().sum(dim=1)  # the gradient of x'Ax is (A + A')x
    torch.testing.assert_close(penalty, expected)
    (gradient,) = torch.autograd.grad(penalty.sum(), a)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), a)
    torch.testing.assert_close(gradient, expected_gradient)


def test_r1_stays_float32_under_autocast():
    w = torch.nn.Linear(8, 1)
    with torch.autocast("cpu", torch.bfloat16):
        penalty = r1(lambda x: w(x.flatten(1)).squeeze(1), torch.randn(2, 1, 2, 4), torch.empty(0))
    assert penalty.dtype == torch.float32
    assert penalty.tolist() == pytest.approx([0.5 * w.weight.square().sum().item()] * 2)
