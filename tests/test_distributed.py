"""Several processes that share a run, and minibatches in parts: the result is that of one process."""

import contextlib
import itertools
import json
import math
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from helpers import FAST, torchrun
from PIL import Image
from safetensors.torch import load_file

import gan_cli
from gan_cli import cli, losses, meeting, penalties, processes
from gan_cli.augment import ADA, DiffAugment, InstanceNoise
from gan_cli.commands import train as commands_train
from gan_cli.data import Dataset, Points, pairs
from gan_cli.errors import UserError
from gan_cli.metrics import quality
from gan_cli.networks import (
    conv,
    cs231n,
    dann,
    dcgan,
    maxout,
    minibatch,
    mlp,
    patchgan,
    pictures,
    r3gan,
    resnet,
    resnet_translator,
    stylegan2,
    toy,
    unet,
)
from gan_cli.rundir import checkpoint
from gan_cli.rundir.records import read_metrics
from gan_cli.training import algorithm
from gan_cli.training.batches import Batches
from gan_cli.training.batchnorm import SharedStatistics
from gan_cli.training.cut import CUT
from gan_cli.training.dann import DANN
from gan_cli.training.device import CPU
from gan_cli.training.path_length import PathLength, Spread
from gan_cli.training.pool import Pool
from gan_cli.training.run import Run
from gan_cli.training.shares import check, shares
from gan_cli.training.state import State, make_optimizers
from gan_cli.training.translation import CycleGAN, Pix2Pix

BATCH = 48
# Adam divides by a gradient's size. Where a gradient is almost 0, the default eps of 1e-8 magnifies rounding.
ADAM = partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.99), eps=1e-5)
R1, R1R2 = gan_cli.Penalty(penalties.r1, interval=2), gan_cli.Penalty(penalties.r1r2)
GP, DRAGAN = gan_cli.Penalty(penalties.gradient_penalty), gan_cli.Penalty(penalties.dragan)
SMALL = {"widths": [8]}
NO_NORM = {"widths": [8], "norm": False}
# Networks, size of the images, options of the generator and of the discriminator, options of the run.
CASES = {
    "mlp": (mlp, 8, SMALL, SMALL, {"update": "shared", "k": 2}),
    "conv": (conv, 28, {"width": 2}, {"width": 2}, {"penalty": R1}),
    "pictures": (pictures, 16, {"width": 2}, {"width": 2}, {"penalty": R1}),
    "dcgan": (dcgan, 16, {"width": 2}, {"width": 2}, {"conditional": True, "penalty": R1}),
    "maxout": (maxout, 8, {"width": 16}, {"width": 8}, {"update": "simultaneous"}),
    "resnet": (resnet, 32, {"width": 2}, {"width": 2}, {}),
    "cs231n": (cs231n, 28, {}, {}, {}),
    "r3gan": (r3gan, 8, {"width": 8}, {"width": 8}, {"loss": losses.relativistic, "augment": ADA, "penalty": R1R2}),
    "stylegan2": (stylegan2, 8, {"width": 4}, {"width": 4}, {"augment": InstanceNoise, "penalty": R1}),
    "path_length": (stylegan2, 8, {"width": 4}, {"width": 4}, {"game": partial(PathLength, interval=2)}),
    "toy": (toy, 0, SMALL, {**SMALL, "batch_mean": True}, {}),
    "wgan_gp": (mlp, 8, NO_NORM, SMALL, {"augment": DiffAugment, "penalty": GP}),
    "dragan": (mlp, 8, SMALL, SMALL, {"penalty": DRAGAN}),
    "lecam": (mlp, 8, NO_NORM, SMALL, {"penalty": penalties.LeCam}),
}
PICTURE = Image.new("L", (4, 4))
QUICK = ("mlp", "maxout", "r3gan", "stylegan2", "toy", "lecam", "wgan_gp")
IN_PARTS = ("r3gan", "stylegan2", "wgan_gp")  # no layer mixes images, but in whole groups


def _noise(size):
    """60 grey images of ``size``."""
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (60, 1, size, size), dtype=torch.uint8, generator=random)


def _train(name, folder, steps, accumulate=1, **more):
    """One of the CASES in float64, in ``folder``, in all processes that share this call."""
    networks, size, of_g, of_d, options = CASES[name]
    data = Dataset(_noise(size), torch.arange(60) % 3, class_names=("a", "b", "c"))
    data = data if size else Points(torch.randn(60, 2, generator=torch.Generator().manual_seed(0)))
    classes = {"classes": 3} if "conditional" in options else {}
    made = {"augment": options["augment"]()} if "augment" in options else {}
    if options.get("penalty") is penalties.LeCam:
        made["penalty"] = gan_cli.Penalty(penalties.LeCam())
    torch.manual_seed(0)
    plan = gan_cli.Plan(steps, log_every=2, sample_every=100)
    gan_cli.train(
        networks.Generator(data.image_shape, 4, **of_g, **classes),
        networks.Discriminator(data.image_shape, **of_d, **classes),
        data, run_dir=folder / f"{name}-{accumulate}", batch_size=BATCH, accumulate=accumulate,
        noise=gan_cli.Noise(z_dim=4, prior="normal"), optimizer_g=ADAM, optimizer_d=ADAM,
        compute=gan_cli.Compute(dtype=torch.float64), sinks={}, draw=lambda *_: PICTURE,
        **{"plan": plan, **options, **made, **more},
    )  # fmt: skip


TROUBLE = "trouble"


def _train_in_trouble(folder, steps):
    """The disk is full after steps 1 and 2; then one image, in the last process's share, has a loss that is no number.

    So the leader alone knows of the first trouble, and the last process of the second.
    """
    fsync, refused, calls = os.fsync, [], []

    def full(descriptor):
        if 1 <= len(calls) <= 4:
            refused.append(descriptor)
            raise OSError(28, "No space left on device")
        return fsync(descriptor)

    def loss(real_logits, fake_logits):
        calls.append(None)  # once for D and once for G in each step
        of_d, of_g = losses.nonsaturating(real_logits, fake_logits)
        if len(calls) == 5 and processes.rank() == processes.count() - 1:
            of_d = torch.cat([of_d[:-1], of_d[-1:] * math.nan])
        return of_d, of_g

    evaluate = quality.feature_scores(_noise(28), gan_cli.Noise("normal", 4), n=21)
    plan = gan_cli.Plan(steps, log_every=2, sample_every=100, checkpoint_every=1, eval_every=2)
    with mock.patch.object(os, "fsync", full):
        _train("conv", folder / TROUBLE, steps, loss=loss, penalty=R1, plan=plan, evaluate=evaluate)
    assert bool(refused) == processes.leads()


class Quiet:
    """A display that shows nothing."""

    def __init__(self, *_):
        pass

    def step(self, *_):
        pass

    tick = say = rewind = close = step


TWO_DOMAINS = ("pix2pix", "cyclegan", "cut", "dann")


def _translate(name, folder, steps):
    """A game of two domains in float64, with dropout, jitter and a pool: pix2pix's on pairs, the others' without.

    DANN's has labels of one domain.
    """
    random = torch.Generator().manual_seed(0)
    images, others = torch.randint(0, 256, (2, 30, 2, 10, 10), dtype=torch.uint8, generator=random)
    jitter, compute = pairs.Jitter((8, 8), flip=True), gan_cli.Compute(dtype=torch.float64)
    torch.manual_seed(0)
    if name == "pix2pix":
        data = pairs.Pairs(images, source_channels=1, jitter=jitter)
        networks = unet.Generator((1, 8, 8), width=4), patchgan.Discriminator((1, 8, 8), 1, width=4, n_layers=1)
        game = Pix2Pix(*networks, losses.relativistic, 1, compute=compute)
    elif name == "dann":
        labels = torch.arange(30) % 3
        data = pairs.Unpaired(
            images[:, :1], source_channels=1, jitter=jitter, labels=labels, class_names=("a", "b", "c"),
            others=others[:, :1],
        )  # fmt: skip
        networks = dann.Generator((1, 8, 8), 1, features=16, classes=3), dann.Discriminator(16, width=8)
        game = DANN(*networks, losses.nonsaturating, 1, compute=compute, ramp=10)
    else:
        data = pairs.Unpaired(images[:, :1], source_channels=1, jitter=jitter, others=others[:, :1])

        def make():
            translator = resnet_translator.Generator((1, 8, 8), width=4, blocks=1)
            return translator, patchgan.Discriminator((1, 8, 8), width=4, n_layers=1, norm="instance")

        if name == "cyclegan":
            game = CycleGAN(*make(), make, losses.lsgan, 1, (1, 8, 8), compute=compute, pool=5)
        else:
            game = CUT(*make(), losses.lsgan, 1, (1, 8, 8), compute=compute, patches=4)
    batches = Batches(data, 6, 0, compute.device, labelled=name == "dann", dtype=compute.dtype)
    # At a rate of 1e-3 a difference of these two generators grows tenfold in a step: rounding would not stay small.
    optimizer = ADAM if name == "pix2pix" else partial(ADAM, lr=2e-5)
    state = State(game, make_optimizers(game, dict.fromkeys(("generator", "discriminator"), optimizer)), batches, CPU)
    plan = gan_cli.Plan(steps, log_every=2, sample_every=100)
    with Run(state, plan, folder / f"{name}-1", Quiet, draw=lambda _: PICTURE, sinks={}) as run:
        algorithm.train(game, batches, state.optimizers, run)


def _train_all(names, steps):
    """What each of the processes does in the folder it is started in."""
    torch.set_num_threads(1)
    meeting.join()
    rows = torch.arange(14.0).view(7, 2)  # no number of processes divides 7
    assert torch.equal(processes.whole(processes.share(rows))[:7], rows)
    for name in names:
        _train(name, Path.cwd(), steps)
        if name in IN_PARTS:
            _train(name, Path.cwd(), steps, accumulate=2)
    for name in TWO_DOMAINS:
        _translate(name, Path.cwd(), steps)
    _train_in_trouble(Path.cwd(), steps)
    meeting.leave()


def _trained(names, steps, numbers, folder):
    """``names`` of CASES, by 1 process and by each of ``numbers`` of them, in a folder for each number."""
    for n in (1, *numbers):  # one after the other: waiting processes take time as well
        (folder / str(n)).mkdir()
        for rank, process in enumerate(torchrun(n, "train", [], folder / str(n), partial(_train_all, names, steps))):
            assert process.wait(200) == 0, process.err.read_text()
            assert rank == 0 or process.err.read_text() == ""  # the first tells findings: some are too small to learn
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Four steps of QUICK, by 1 and 2 processes."""
    return _trained(QUICK, 4, [2], tmp_path_factory.mktemp("processes"))


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


def _rows_agree(run_dir, other):
    for ours, theirs in zip(read_metrics(run_dir), read_metrics(other), strict=True):
        for term in ours.keys() - {"time", "seconds", "images_per_second"}:
            assert theirs[term] == pytest.approx(ours[term], rel=1e-9, abs=1e-12), term


@pytest.mark.parametrize("name", [*QUICK, *TWO_DOMAINS])
def test_the_result_does_not_depend_on_the_number_of_processes(trained, name):
    _agree(trained / f"1/{name}-1", trained / f"2/{name}-1")
    _rows_agree(trained / f"1/{name}-1", trained / f"2/{name}-1")


def test_processes_agree_on_a_full_disk_a_rollback_and_scores(trained):
    ours, theirs = (trained / f"{n}/{TROUBLE}/conv-1" for n in (1, 2))
    _agree(ours, theirs)
    _rows_agree(ours, theirs)
    assert checkpoint.read(theirs).progress.lr_scale == 0.5
    assert [row["step"] for row in read_metrics(theirs) if "frechet_random" in row] == [2, 4]


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("name", IN_PARTS)
def test_the_result_does_not_depend_on_the_number_of_parts(trained, name, n):
    _agree(trained / f"1/{name}-1", trained / f"{n}/{name}-2")
    _rows_agree(trained / f"1/{name}-1", trained / f"{n}/{name}-2")


@pytest.mark.slow
def test_all_families_agree_over_20_steps_on_1_2_and_3_processes(tmp_path):
    folder = _trained(list(CASES), 20, [2, 3], tmp_path)
    for n, name in itertools.product((2, 3), [*CASES, *TWO_DOMAINS]):
        _agree(folder / f"1/{name}-1", folder / f"{n}/{name}-1")
    for n, name in itertools.product((1, 2, 3), IN_PARTS):
        _agree(folder / f"1/{name}-1", folder / f"{n}/{name}-2")


def test_a_minibatch_that_cannot_be_divided_is_refused():
    networks = [mlp.Generator((1, 8, 8), 4), mlp.Discriminator((1, 8, 8))]
    with pytest.raises(UserError, match="batch_size=32 can't be divided by 3.*use batch_size=30 or 33"):
        check(32, 3, "alternating", networks[1:])
    with pytest.raises(UserError, match="accumulate=2 needs update=alternating"):
        check(32, 2, "shared", networks[1:])
    with pytest.raises(UserError, match="accumulate=2: batch normalisation needs the whole minibatch"):
        check(32, 2, "alternating", networks)
    parts = {"game=path_length": Spread(0.1), "penalty=lecam": penalties.LeCam(), "pool": Pool(2, (1, 8, 8))}
    for name, part in parts.items():
        check(32, 1, "alternating", [part])
        with pytest.raises(UserError, match=f"accumulate=2: .*{name}.* needs the whole minibatch"):
            check(32, 2, "alternating", [part])
    check(32, 2, "alternating", [Pool(0, (1, 8, 8))])


@pytest.mark.parametrize("draw", [lambda: torch.randperm(4), lambda: torch.multinomial(torch.ones(3), 2)])
def test_draws_that_cannot_be_divided_are_refused(draw):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    batch = SimpleNamespace(parts=2, real=torch.zeros(4), share=lambda index: None)
    divided = shares(batch, torch.nn.Module(), optimizer)
    next(divided)
    with pytest.raises(UserError, match="permutes the minibatch|from weights"):
        draw()
    divided.close()


def test_layers_that_need_the_whole_minibatch_refuse_a_part():
    with processes.divided(2), pytest.raises(UserError, match="needs the whole minibatch at once"):
        penalties.LeCam()(lambda images: images.mean((1, 2, 3)), torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4))
    with processes.divided(2), pytest.raises(UserError, match="no whole groups of minibatch_std"):
        minibatch.minibatch_std(torch.zeros(6, 1, 4, 4))


@pytest.mark.parametrize("affine", [True, False])
def test_batch_normalisation_over_processes_is_that_of_torch_in_every_derivative(affine):
    random = torch.Generator().manual_seed(0)
    x, up, across = (torch.randn(6, 3, 2, 2, generator=random, dtype=torch.float64) for _ in range(3))
    parameters = [torch.randn(3, generator=random, dtype=torch.float64).requires_grad_() for _ in range(2 * affine)]
    found = []
    for context in (SharedStatistics(), contextlib.nullcontext()):
        sources = [x.clone().requires_grad_(), *parameters]
        running = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
        with context:
            y = torch.nn.functional.batch_norm(sources[0], *running, *(parameters or [None, None]), training=True)
        once = torch.autograd.grad(y, sources, up, retain_graph=True)
        (through,) = torch.autograd.grad(y.sin(), sources[0], up, create_graph=True)
        twice = torch.autograd.grad(through, sources[: 1 + affine], across)
        found.append([y, *running, *once, *twice])
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def _words(run_dir, *more):
    return [*FAST, "batch_size=6", "keep=20", "precision=fp32", f"run_dir={run_dir}", *more]


def _end(processes_, folder):
    """The statuses of processes, and what the first and the others printed."""
    statuses = [process.wait() for process in processes_]
    told = [(process.out.read_text(), process.err.read_text()) for process in processes_]
    return statuses, told[0], told[1:]


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory):
    """A run of six steps by the command, in two processes, and what it printed."""
    folder = tmp_path_factory.mktemp("shared")
    return folder, _end(torchrun(2, "gan-train", _words("run", "steps=6"), folder), folder)


def test_the_first_of_the_processes_alone_writes_and_speaks(shared_run):
    folder, (statuses, (out, err), others) = shared_run
    assert (statuses, err, others) == ([0, 0], "", [("", "")])
    assert out.startswith("on 2 processes, 3 images each: CPU")
    assert sorted(path.name for path in folder.iterdir()) == ["0.err", "0.out", "1.err", "1.out", "run"]
    assert json.loads((folder / "run" / "status.json").read_text())["status"] == "complete"


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(shared_run, tmp_path, call):
    folder, _ = shared_run
    shutil.copytree(folder / "run", tmp_path / "run")
    statuses, (out, err), _ = _end(torchrun(3, "gan-train", ["resume=run", "steps=9"], tmp_path), tmp_path)
    assert (statuses, err) == ([0, 0, 0], "") and out.startswith("on 3 processes, 2 images each")
    done = call("gan-train", "resume=run", "steps=12")
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == list(range(1, 13))
    assert call("gan-train", *_words("alone", "steps=12")).returncode == 0
    far, near = (_moved(tmp_path / "alone", tmp_path / other) for other in ("alone", "run"))
    assert near < 0.05 * far, "in float32 the order of summation shows, far below what a run moves"


def _moved(run_dir, other):
    """How far the weights of a run lie at its end from those of another at its end, or of its own beginning."""
    end, at = _last(run_dir), _last(other)
    if run_dir == other:
        at = load_file(run_dir / "checkpoints" / "00000000.safetensors")
    names = [name for name in end if name.split(".")[0] in ("generator", "discriminator") and "running" not in name]
    return sum((end[name].double() - at[name].double()).square().sum() for name in names).sqrt()


def test_mistakes_get_one_line_from_the_first_process(shared_run, tmp_path, call, monkeypatch):
    folder, _ = shared_run
    for words, line in [
        (_words("new", "batch_size=7"), "batch_size=7 can't be divided by 2"),
        (_words("new", "k=0"), "k=0 is too small: at least 1"),
        (_words(folder / "run"), "holds a run already"),
        *[([*word, *_words("new")], "a sweep can't share its runs among torchrun's") for word in (["-m"], ["--multi"])],
        (_words("new", "hydra.mode=MULTIRUN"), "a sweep can't share its runs among torchrun's processes"),
        (_words("new", "plan=true"), "plan=true is for one process: start it without torchrun"),
    ]:
        statuses, (out, err), others = _end(torchrun(2, "gan-train", words, tmp_path), tmp_path)
        assert statuses[0] == 2 and out == "" and err.count("\n") == 1 and line in err, err
        assert others == [("", "")]
        assert not (tmp_path / "new").exists() and not (tmp_path / "outputs").exists()


def _until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def going(tmp_path):
    """A run of two processes that has made some steps and will not end by itself."""
    started = torchrun(2, "gan-train", _words("run", "steps=1000000", "log_every=5"), tmp_path)
    _until(lambda: len(read_metrics(tmp_path / "run")) > 1)
    yield started, tmp_path / "run"
    for process in started:
        process.kill()


def test_all_processes_end_alike_on_a_signal_to_one(going):
    (first, second), run_dir = going
    second.send_signal(signal.SIGTERM)
    assert [first.wait(), second.wait()] == [128 + signal.SIGTERM] * 2
    assert first.out.read_text().splitlines()[-1].startswith("to go on:  gan-train resume=run")
    step = int(sorted((run_dir / "checkpoints").glob("0*"))[-1].stem)
    state = json.loads((run_dir / "status.json").read_text())
    assert (state["status"], state["step"], state["error"]) == ("stopped", step, None)


def _stumble(*_, **__):
    if not processes.leads():
        raise UserError("the second has stumbled")
    processes.total(torch.zeros(1))


def _train_and_stumble():
    with mock.patch.object(algorithm, "train", _stumble), mock.patch.object(commands_train, "GRACE", GRACE):
        cli.train()


GRACE = timedelta(seconds=0.5)


def test_what_happens_in_one_process_alone_ends_all_of_them(tmp_path):
    started = torchrun(2, "gan-train", _words("run", "steps=2"), tmp_path, _train_and_stumble)
    statuses, (_, err), ((_, other),) = _end(started, tmp_path)
    assert statuses == [2, 2] and err == f"gan-train: {processes.LOST}\n"
    assert other == "gan-train: the second has stumbled\n"


@pytest.mark.slow
def test_one_of_the_processes_that_are_left_speaks(tmp_path):
    started = torchrun(3, "gan-train", _words("run", "steps=1000000", "log_every=5"), tmp_path)
    _until(lambda: len(read_metrics(tmp_path / "run")) > 1)
    started[2].kill()
    assert [process.wait(30) for process in started[:2]] == [2, 2]
    assert [process.err.read_text() for process in started] == [f"gan-train: {processes.LOST}\n", "", ""]


def test_processes_meet_under_a_name_that_no_earlier_attempt_had():
    store = torch.distributed.HashStore()
    names = []
    for _ in range(2):  # the second time, all that the first attempt wrote is there
        with ThreadPoolExecutor(3) as pool:
            found = {*pool.map(lambda rank: meeting._attempt(store, rank, 3), (2, 0, 1))}
        assert len(found) == 1
        names += found
    assert names[0] != names[1]


def test_a_process_that_does_not_come_is_named(monkeypatch):
    monkeypatch.setattr(meeting, "MEETING", timedelta(seconds=0.2))
    with pytest.raises(RuntimeError, match="process 1 of 3 has not come within 0 s"):
        meeting._attempt(torch.distributed.HashStore(), 0, 3)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_the_run_goes_on(going, call):
    (first, second), run_dir = going
    second.kill()
    assert first.wait(30) == 2
    assert first.err.read_text() == f"gan-train: {processes.LOST}\n"
    saved = int(sorted((run_dir / "checkpoints").glob("0*"))[-1].stem)
    done = call("gan-train", *_words("run", f"steps={saved + 2}", "log_every=5", "resume=auto"))
    assert done.returncode == 0, done.stderr
