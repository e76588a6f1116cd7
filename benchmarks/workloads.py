"""What the benchmarks of steps train: networks of the recipes on images of noise, through gan_cli.train."""

import contextlib
import functools
import io
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

import gan_cli
from gan_cli import Compute, Noise, Penalty, Plan, losses, penalties
from gan_cli.data import Dataset
from gan_cli.training.device import bf16


class Workload(NamedTuple):
    """The networks' family, the shape (C, H, W) of the images, z's dimensions, the loss, the penalty."""

    network: str
    shape: tuple[int, int, int]
    z_dim: int
    loss: Any = losses.nonsaturating
    penalty: Penalty = Penalty()


WORKLOADS = {
    "mlp": Workload("mlp", (1, 28, 28), 100),
    "conv": Workload("conv", (1, 28, 28), 16, penalty=Penalty(penalties.r1, 8)),
    "dcgan": Workload("dcgan", (3, 64, 64), 100),
    "r3gan32": Workload("r3gan", (3, 32, 32), 64, losses.relativistic, Penalty(penalties.r1r2)),
    "r3gan64": Workload("r3gan", (3, 64, 64), 64, losses.relativistic, Penalty(penalties.r1r2)),
    "stylegan2": Workload("stylegan2", (3, 64, 64), 128, penalty=Penalty(penalties.r1r2)),
    "stylegan2_folder": Workload("stylegan2", (3, 64, 64), 128, penalty=Penalty(penalties.r1, 16)),
}
CPU = torch.device("cpu")


@contextlib.contextmanager
def silent_folder() -> Iterator[str]:
    """A folder for a run whose lines nobody reads. It is removed in the end."""
    silence = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(silence),
        contextlib.redirect_stderr(silence),
    ):
        yield folder


def train(
    workload: Workload, steps: int, batch_size: int = 32, precision: str = "auto", device: torch.device = CPU,
    log_every: int = 1,
) -> list[float]:  # fmt: skip
    """Train new networks for ``steps``. Return the processor's seconds at each tick, this process's."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (4 * batch_size, *workload.shape), dtype=torch.uint8, generator=generator)
    network, shape = f"gan_cli.networks.{workload.network}", workload.shape
    adam = functools.partial(torch.optim.Adam, lr=1e-4, betas=(0.0, 0.99), fused=True)
    clock: list[float] = []
    torch.manual_seed(0)
    with silent_folder() as folder:
        gan_cli.train(
            {"_target_": f"{network}.Generator"}, {"_target_": f"{network}.Discriminator"}, Dataset(images),
            workload.loss, adam, adam, run_dir=folder, batch_size=batch_size, noise=Noise(z_dim=workload.z_dim),
            plan=Plan(steps, log_every=log_every, sample_every=steps, checkpoint_every=steps), penalty=workload.penalty,
            compute=Compute(device, bf16(precision, device)), samples=1,
            sinks={"clock": lambda *_: clock.append(time.process_time())},
        )  # fmt: skip
    assert len(shape) == 3
    return clock
