"""The optimizers against their recursions, written out in float64."""

import pytest
import torch

from gan_cli.optimizers import AnnealedSGD
from gan_cli.training.state import in_memory_order


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


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_in_memory_order_is_adam(make):
    """Against torch's plain loop in float64; moments keep the shape of the weights, as checkpoints need them."""
    rng = torch.Generator().manual_seed(0)
    shapes = [(8, 16, 4, 4), (8,), (5, 3), (6, 4, 1, 1), (2, 7, 3, 3)]
    start = [torch.randn(shape, generator=rng) for shape in shapes]
    ours = [torch.nn.Parameter(w.to(memory_format=torch.channels_last) if w.dim() == 4 else w.clone()) for w in start]
    theirs = [torch.nn.Parameter(w.double()) for w in start]
    fused = in_memory_order(make(ours, lr=0.01, betas=(0.5, 0.9), fused=True))
    plain = make(theirs, lr=0.01, betas=(0.5, 0.9), foreach=False)
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            other.grad = torch.randn(one.shape, generator=rng).double()
            one.grad = (
                other.grad.float().to(memory_format=torch.channels_last) if one.dim() == 4 else other.grad.float()
            )
        fused.step(), plain.step()
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one.double(), other, rtol=1e-5, atol=1e-6)
        assert fused.state[one]["exp_avg"].shape == one.shape
        assert torch.allclose(fused.state[one]["exp_avg_sq"].double(), plain.state[other]["exp_avg_sq"], rtol=1e-5)
