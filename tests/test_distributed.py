"""Several processes that share a run, and minibatches in parts: the result is that of one process."""

from pathlib import Path

import pytest
import torch
from helpers import torchrun
from PIL import Image
from safetensors.torch import load_file

import gan_cli
from gan_cli import losses, penalties, processes
from gan_cli.augment import ADA, DiffAugment, InstanceNoise
from gan_cli.data import Dataset, Points
from gan_cli.errors import UserError
from gan_cli.networks import conv, cs231n, dcgan, maxout, mlp, r3gan, resnet, stylegan2, toy
from gan_cli.rundir.records import read_metrics
from gan_cli.training.shares import check

STEPS, BATCH = 20, 48
PROCESSES = 1, 2, 3
R1, R1R2 = gan_cli.Penalty(penalties.r1, interval=2), gan_cli.Penalty(penalties.r1r2)
GP, DRAGAN = gan_cli.Penalty(penalties.gradient_penalty), gan_cli.Penalty(penalties.dragan)
SMALL = {"widths": [8]}
NO_NORM = {"widths": [8], "norm": False}
# Networks, size of the images, options of the generator and of the discriminator, options of the run.
CASES = {
    "mlp": (mlp, 8, SMALL, SMALL, {"update": "shared", "k": 2}),
    "conv": (conv, 28, {"width": 2}, {"width": 2}, {"penalty": R1}),
    "dcgan": (dcgan, 16, {"width": 2}, {"width": 2}, {"conditional": True}),
    "maxout": (maxout, 8, {"width": 16}, {"width": 8}, {"update": "simultaneous"}),
    "resnet": (resnet, 32, {"width": 2}, {"width": 2}, {}),
    "cs231n": (cs231n, 28, {}, {}, {}),
    "r3gan": (r3gan, 16, {"width": 8}, {"width": 8}, {"loss": losses.relativistic, "augment": ADA, "penalty": R1R2}),
    "stylegan2": (stylegan2, 16, {"width": 4}, {"width": 4}, {"augment": InstanceNoise, "penalty": R1}),
    "toy": (toy, 0, SMALL, {**SMALL, "batch_mean": True}, {}),
    "wgan_gp": (mlp, 8, NO_NORM, SMALL, {"augment": DiffAugment, "penalty": GP}),
    "dragan": (mlp, 8, SMALL, SMALL, {"penalty": DRAGAN}),
    "lecam": (mlp, 8, NO_NORM, SMALL, {"penalty": penalties.LeCam}),
}
PICTURE = Image.new("L", (4, 4))
IN_PARTS = ("r3gan", "stylegan2", "wgan_gp")  # no layer mixes images, but in whole groups


def _train(name, folder, accumulate=1):
    """One of the CASES in float64, in ``folder``, in all processes that share this call."""
    networks, size, of_g, of_d, options = CASES[name]
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 1, size, size), dtype=torch.uint8, generator=random)
    images = Dataset(images, torch.arange(60) % 3, class_names=("a", "b", "c"))
    data = images if size else Points(torch.randn(60, 2, generator=random))
    classes = {"classes": 3} if "conditional" in options else {}
    made = {"augment": options["augment"]()} if "augment" in options else {}
    if options.get("penalty") is penalties.LeCam:
        made["penalty"] = gan_cli.Penalty(penalties.LeCam())
    torch.manual_seed(0)
    gan_cli.train(
        networks.Generator(data.image_shape, 4, **of_g, **classes),
        networks.Discriminator(data.image_shape, **of_d, **classes),
        data, run_dir=folder / f"{name}-{accumulate}", plan=gan_cli.Plan(STEPS, log_every=5, sample_every=100),
        batch_size=BATCH, accumulate=accumulate, noise=gan_cli.Noise(z_dim=4, prior="normal"),
        compute=gan_cli.Compute(dtype=torch.float64), sinks={}, draw=lambda *_: PICTURE, **{**options, **made},
    )  # fmt: skip


def _train_all():
    """What each of the processes does in the folder it is started in."""
    torch.set_num_threads(1)
    for name in CASES:
        _train(name, Path.cwd())
    for name in IN_PARTS:
        _train(name, Path.cwd(), accumulate=2)
    processes.leave()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All CASES, by 1, 2 and 3 processes: the folder of each."""
    folders = {n: tmp_path_factory.mktemp(f"processes{n}") for n in PROCESSES}
    for n, folder in folders.items():  # one after the other: waiting processes take time as well
        for process in torchrun(n, "train", [], folder, _train_all):
            assert process.wait(120) == 0, process.err.read_text()
            assert process.err.read_text() == ""
    return folders


def _last(run_dir):
    return load_file(run_dir / "checkpoints" / "last.safetensors")


def _agree(run_dir, other):
    """All tensors agree to 1e-10, relative to the largest number of each; random states and counts exactly."""
    ours, theirs = _last(run_dir), _last(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        if not tensor.is_floating_point():
            assert torch.equal(tensor, theirs[name]), name
        elif tensor.numel():
            error = (tensor - theirs[name]).abs().max() / tensor.abs().max().clamp(min=1)
            assert error < 1e-10, (name, error)


@pytest.mark.parametrize("n", PROCESSES[1:])
@pytest.mark.parametrize("name", CASES)
def test_the_result_does_not_depend_on_the_number_of_processes(trained, name, n):
    _agree(trained[1] / f"{name}-1", trained[n] / f"{name}-1")
    rows = [read_metrics(trained[i] / f"{name}-1") for i in (1, n)]
    for ours, theirs in zip(*rows, strict=True):
        for term in ours.keys() - {"time", "seconds", "images_per_second"}:
            assert theirs[term] == pytest.approx(ours[term], rel=1e-9, abs=1e-12), term


@pytest.mark.parametrize("n", PROCESSES)
@pytest.mark.parametrize("name", IN_PARTS)
def test_the_result_does_not_depend_on_the_number_of_parts(trained, name, n):
    _agree(trained[1] / f"{name}-1", trained[n] / f"{name}-2")


def test_a_minibatch_that_cannot_be_divided_is_refused():
    networks = [mlp.Generator((1, 8, 8), 4), mlp.Discriminator((1, 8, 8))]
    with pytest.raises(UserError, match="batch_size=32 can't be divided by 3.*use batch_size=30 or 33"):
        check(32, 3, "alternating", networks[1:])
    with pytest.raises(UserError, match="accumulate=2 needs update=alternating"):
        check(32, 2, "shared", networks[1:])
    with pytest.raises(UserError, match="accumulate=2: batch normalisation needs the whole minibatch"):
        check(32, 2, "alternating", networks)


def test_layers_that_need_the_whole_minibatch_refuse_a_part():
    with processes.divided(2), pytest.raises(UserError, match="needs the whole minibatch at once"):
        penalties.LeCam()(lambda images: images.mean((1, 2, 3)), torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4))
    with processes.divided(2), pytest.raises(UserError, match="no whole groups of minibatch_std"):
        stylegan2.minibatch_std(torch.zeros(6, 1, 4, 4))
