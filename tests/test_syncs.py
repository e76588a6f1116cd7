"""Between ticks no step waits for the device, and no step copies a number to it."""

import collections
import types

import pytest
import torch
from helpers import train_networks
from torch.utils._python_dispatch import TorchDispatchMode

from gan_cli import penalties
from gan_cli.augment import ADA, DiffAugment, InstanceNoise
from gan_cli.data import Dataset
from gan_cli.networks import conv, dcgan, mlp, r3gan, stylegan2
from gan_cli.training.run import Run

# Operations whose result the host reads, so that it waits; and those by which a Python number becomes a tensor.
WAITS = {"_local_scalar_dense", "equal", "is_nonzero", "item", "nonzero", "unique2", "masked_select"}
COPIES = {"lift_fresh", "lift_fresh_copy"}
LOG_EVERY = 4
RUNS = {
    "conv, R1, ADA": (conv, {"width": 4}, {"penalty": penalties.r1, "penalty_interval": 2, "augment": ADA()}),
    "dcgan, noise": (dcgan, {"width": 4}, {"augment": InstanceNoise()}),
    "mlp, LeCam": (mlp, {"widths": [8]}, {"penalty": penalties.LeCam(), "k": 2, "update": "shared"}),
    "r3gan, R1 + R2": (r3gan, {"width": 8, "max_width": 8, "group_width": 4}, {"penalty": penalties.r1r2}),
    "stylegan2, GP": (stylegan2, {"width": 4, "max_width": 4},
                      {"penalty": penalties.gradient_penalty, "augment": DiffAugment(), "update": "simultaneous"}),
}  # fmt: skip


class _Watched(TorchDispatchMode):
    """Counts the operations of WAITS and COPIES at each step."""

    def __init__(self):
        super().__init__()
        self.step, self.seen = 0, collections.defaultdict(list)

    def __torch_dispatch__(self, func, kinds, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in WAITS | COPIES:
            self.seen[self.step].append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", RUNS)
def test_no_step_waits_for_the_device(name, tmp_path, monkeypatch):
    module, widths, options = RUNS[name]
    watched, steps = _Watched(), Run.steps

    def elsewhere(run):
        run.state.device = types.SimpleNamespace(type="elsewhere")  # a CPU is asked after every step
        for watched.step in steps(run):
            yield watched.step

    monkeypatch.setattr(Run, "steps", elsewhere)
    shape = (3, 8, 8)
    images = torch.randint(256, (64, *shape), dtype=torch.uint8)
    with watched:
        train_networks(
            module.Generator(shape, 4, **widths), module.Discriminator(shape, **widths), Dataset(images), tmp_path,
            steps=2 * LOG_EVERY, batch_size=4, z_dim=4, log_every=LOG_EVERY, sample_every=100, checkpoint_every=100,
            samples=1, sinks={}, **options,
        )  # fmt: skip
    assert watched.step == 2 * LOG_EVERY
    assert "_local_scalar_dense" in watched.seen[LOG_EVERY], "a tick reads"
    later = {step: found for step, found in watched.seen.items() if step > 1}  # constants are made in the first step
    assert {step for step in later if step % LOG_EVERY} == set()
