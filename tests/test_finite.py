"""The watch over non-finite numbers: what it names, and that it never waits for the device."""

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gan_cli.errors import TrainingDiverged
from gan_cli.training.nonfinite import Watch


@pytest.fixture
def sides():
    return {
        "discriminator": {"discriminator": nn.Linear(2, 1)},
        "generator": {"generator": nn.Linear(1, 2)},
    }


class Waits(TorchDispatchMode):
    """Counts the operations that hand a value to the host: on a GPU each waits for all that is queued."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return func(*args, **(kwargs or {}))


def test_only_check_waits_for_the_device(sides):
    watch = Watch(sides, torch.device("cpu"))
    with Waits() as waits:
        for step in range(1, 4):
            watch.add("discriminator", "loss_d", torch.ones(()))
            watch.add("generator", "loss_g", torch.ones(()))
            watch.end_step(step)
        assert waits.count == 0
        watch.check()
        assert waits.count == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_step_is_named_however_late_one_looks(sides, bad):
    watch = Watch(sides, torch.device("cpu"))
    for step in range(1, 9):
        watch.add("discriminator", "penalty", torch.tensor(bad if step in (3, 5) else 1.0))
        if step == 4:
            with torch.no_grad():
                sides["generator"]["generator"].weight[0] = bad
        watch.end_step(step)
    with pytest.raises(TrainingDiverged, match="^step 3: no longer finite: penalty$"):
        watch.check()
    watch.reset()
    watch.check()
    watch.end_step(9)
    with pytest.raises(TrainingDiverged, match="^step 9: no longer finite: generator.weight$"):
        watch.check()


def test_infinities_that_cancel_out_are_still_seen(sides):
    watch = Watch(sides, torch.device("cpu"))
    watch.add("discriminator", "loss_d", torch.tensor(math.inf))
    watch.add("discriminator", "loss_d", torch.tensor(-math.inf))
    with torch.no_grad():
        sides["discriminator"]["discriminator"].weight.copy_(torch.tensor([[math.inf, -math.inf]]))
    watch.end_step(1)
    with pytest.raises(TrainingDiverged, match="loss_d, discriminator.weight$"):
        watch.check()
