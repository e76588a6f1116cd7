"""The optimizers against their recursions, written out in float64."""

import pytest
import torch

from gan_cli.optimizers import AnnealedSGD


def test_annealed_sgd_is_its_recursion():
    """v <- m v + grad, w <- w - lr v on f(w) = w^2 / 2, with lr and m as they stand at each update."""
    weight = torch.nn.Parameter(torch.tensor(1.0))
    optimizer = AnnealedSGD([weight], lr=0.1, momentum=0.5, final_momentum=0.9, saturate=4, decay=1.5, min_lr=0.03)
    w, v = 1.0, 0.0
    for update in range(8):
        optimizer.zero_grad()
        (weight**2 / 2).backward()
        optimizer.step()
        v = (0.5 + 0.4 * min(1, update / 4)) * v + w
        w -= max(0.1 / 1.5**update, 0.03) * v
        assert weight.item() == pytest.approx(w, rel=1e-5)
    assert optimizer.param_groups[0]["lr"] == 0.1  # the rate it was given stays: the loop sets it


def test_the_floor_is_no_floor_for_rates_below_it():
    weight = torch.nn.Parameter(torch.tensor(1.0))
    optimizer = AnnealedSGD([weight], lr=1e-9, min_lr=1e-6)
    weight.grad = torch.tensor(1.0)
    optimizer.step()
    assert 1 - weight.item() < 1e-6
