"""The averaged generator against the recursion written out."""

import copy

import pytest
import torch
from torch import nn

from gan_cli.training import ema


def test_update_is_the_recursion_for_weights_and_running_statistics():
    torch.manual_seed(0)
    current = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = copy.deepcopy(current).requires_grad_(False)
    expected = {name: value.clone() for name, value in average.state_dict().items()}
    for step in range(1, 6):
        current(torch.randn(8, 3) + step)  # moves the running statistics
        with torch.no_grad():
            current[0].weight.add_(torch.randn(4, 3))
        decay = ema.decay(step * 8, 8, half_life=100, ramp=None)
        ema.update(ema.tensors(average), ema.tensors(current), decay)
        for name, value in current.state_dict().items():
            if value.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * value
            else:
                expected[name] = value.clone()
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_the_half_life_halves():
    """After half_life images of a new constant, half of the old one is left."""
    average, current = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.ones_(average.weight)
    nn.init.zeros_(current.weight)
    averaged, latest = ema.tensors(average), ema.tensors(current)
    for step in range(1, 26):
        ema.update(averaged, latest, ema.decay(step * 40, 40, half_life=1000, ramp=None))
    assert average.weight.item() == pytest.approx(0.5)


def test_the_ramp_bounds_the_half_life():
    assert ema.decay(1_000, 64, half_life=10_000, ramp=0.05) == pytest.approx(0.5 ** (64 / 50))
    assert ema.decay(10**9, 64, half_life=10_000, ramp=0.05) == pytest.approx(0.5 ** (64 / 10_000))
    assert ema.decay(64, 64, half_life=0, ramp=None) == 0
