"""The public verbs, the module as a command, and runs of the commit before."""

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, SGD, invoke
from safetensors.torch import load_file

import gan_cli
from gan_cli import Noise, Plan, cli
from gan_cli.data.idx import mnist
from gan_cli.errors import UserError
from gan_cli.networks import mlp
from gan_cli.rundir import checkpoint

PREVIOUS = ROOT / "tests" / "data" / "previous_run"
G = {"_target_": "gan_cli.networks.mlp.Generator", "widths": [8]}
D = {"_target_": "gan_cli.networks.mlp.Discriminator", "widths": [8]}
DIGITS = {"_target_": "gan_cli.data.idx.mnist", "size": 8, "limit": 100}


def _train(run_dir, generator=G, discriminator=D, dataset=DIGITS, steps=3, **options):
    torch.manual_seed(0)
    plan = Plan(steps, log_every=2, sample_every=5, checkpoint_every=5)
    options = {"batch_size": 10, "noise": Noise("normal", 4), "samples": 4, **options}
    return gan_cli.train(generator, discriminator, dataset, run_dir=run_dir, plan=plan, **options)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_run_made_from_python_is_sampled_and_evaluated_by_the_commands(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    outcome = _train(kind(tmp_path / "run"))
    assert (outcome.step, outcome.signum) == (3, None)
    assert {"loss_d", "d_real", "value"} <= outcome.metrics.keys()
    done = invoke(cli.sample, ["ckpt=run", "n=5", "out=s.npz", "seed=3"], "gan-sample")
    assert done.returncode == 0, done.stderr
    images = gan_cli.sample(kind(tmp_path / "run"), n=5, seed=3)
    assert (images.shape, images.dtype) == ((5, 1, 8, 8), torch.uint8)
    with np.load("s.npz") as archive:
        assert torch.equal(torch.from_numpy(archive["images"]).permute(0, 3, 1, 2), images)
    done = invoke(cli.eval_, ["ckpt=run", "n=20", "metrics=memorisation"], "gan-eval")
    assert done.returncode == 0, done.stderr
    found = gan_cli.evaluate(kind(tmp_path / "run"), "memorisation", n=20)
    assert 0 <= found["copying"]["value"] <= 1 and found["copying"]["step"] == 3
    assert gan_cli.load_generator(kind(tmp_path / "run"))(torch.zeros(2, 4)).shape == (2, 1, 8, 8)
    done = invoke(cli.train, ["resume=run", "steps=9"])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "if it was made from Python, go on there" in done.stderr


def test_a_run_is_not_overwritten_and_goes_on_bit_for_bit(tmp_path):
    _train(tmp_path / "whole", steps=7, optimizer_g=SGD, optimizer_d=SGD)
    _train(tmp_path / "parts", steps=4, optimizer_g=SGD, optimizer_d=SGD)
    with pytest.raises(UserError, match="holds a run already; give resume=True"):
        _train(tmp_path / "parts", steps=7)
    torch.manual_seed(9)
    _train(tmp_path / "parts", steps=7, optimizer_g=SGD, optimizer_d=SGD, resume=True)
    whole, parts = (load_file(tmp_path / run / "checkpoints/last.safetensors") for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_networks_and_data_may_be_objects(tmp_path):
    data = mnist(size=8, limit=100)
    networks = mlp.Generator(data.image_shape, 4, widths=(8,)), mlp.Discriminator(data.image_shape, widths=(8,))
    _train(tmp_path, *networks, data, optimizer_g=partial(torch.optim.RMSprop, lr=1e-3))
    with pytest.raises(UserError, match="its generator was given as an object.*into=NETWORK"):
        gan_cli.load_generator(tmp_path)
    raw = gan_cli.load_generator(tmp_path, "raw", into=mlp.Generator(data.image_shape, 4, widths=(8,)))
    assert torch.equal(raw(torch.ones(2, 4)), networks[0].eval()(torch.ones(2, 4)))
    with pytest.raises(UserError, match="doesn't fit"):
        gan_cli.load_generator(tmp_path, into=mlp.Generator(data.image_shape, 4, widths=(9,)))


def test_a_mistyped_update_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="no update 'sharedd'; did you mean 'shared'"):
        _train(tmp_path / "run", update="sharedd")
    assert not list(tmp_path.iterdir())


def test_labels_are_checked(tmp_path):
    _train(tmp_path, conditional=True)
    assert gan_cli.sample(tmp_path, n=3, labels=[1, 1, 9]).shape == (3, 1, 8, 8)
    for labels in ([1], [1, 2, 10], [0.5, 1, 2]):
        with pytest.raises(UserError, match="labels should be 3 classes"):
            gan_cli.sample(tmp_path, n=3, labels=labels)


def test_the_package_is_imported_without_torch_and_names_what_it_lacks():
    code = "import gan_cli, sys; print('torch' in sys.modules); gan_cli.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n" and "has no attribute 'nothing'" in done.stderr


VERBS = ("train", "sample", "translate", "eval", "project", "report", "doctor", "export")


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        (["train", "--version"], 0, "gan-cli 0.1.0\n", ""),
        (["--help"], 0, f"usage: python -m gan_cli {'|'.join(VERBS)} [--help] [KEY=VALUE …]\n", ""),
        (["trian"], 2, "", "python -m gan_cli: no command 'trian'; did you mean 'train'?\n"),
        (["train", "k=0"], 2, "", "gan-train: k=0 is too small: at least 1\n"),
        (["sample", "ckpt=nowhere"], 2, "",
         "gan-sample: no such checkpoint: nowhere; give a run folder or a .safetensors file\n"),
    ],
)  # fmt: skip
def test_the_module_is_a_command_too(tmp_path, words, status, out, err):
    done = subprocess.run([sys.executable, "-m", "gan_cli", *words], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (status, out, err)


def test_the_version_stands_in_one_place(command):
    for name in ("gan-train", "gan-sample", "gan-eval"):
        assert command(name, "--version").stdout == f"gan-cli {gan_cli.__version__}\n"
    assert 'version = "' not in (ROOT / "pyproject.toml").read_text().split("[project.optional")[0]


# What the previous commit's `gan-train` was typed with; its checkpoint is of step 3, in the middle of a tick.
TYPED = [
    "net=mlp", "net.generator.widths=[8]", "net.discriminator.widths=[8]", "net.z_dim=4", "dataset.size=8",
    "dataset.limit=100", "batch_size=10", "samples=4", "log_every=5", "sample_every=100", "checkpoint_every=100",
    "device=cpu",
]  # fmt: skip
# What its configuration came to, and comes to no more by these words: the defaults of that commit.
THEN = ["penalty=r1", "optimizer.lr={generator: 0.006, discriminator: 0.002}", "optimizer.betas=[0.0,0.99]"]


@pytest.mark.parametrize(
    "words", [["resume=run"], [*TYPED, "run_dir=run", "resume=auto"]], ids=["resume", "typed again"]
)
def test_a_run_begun_by_the_commit_before_samples_evaluates_and_goes_on(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PREVIOUS, "run")
    assert any(name.startswith("window.") for name in checkpoint.read("run").shapes)
    assert gan_cli.sample("run", n=3).shape == (3, 1, 8, 8)
    assert invoke(cli.eval_, ["ckpt=run", "n=20", "metrics=memorisation"], "gan-eval").returncode == 0
    done = invoke(cli.train, [*words, "steps=12"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 5/12") == done.stdout.count("step 12/12") == 1
    went_on = load_file("run/checkpoints/last.safetensors")
    assert went_on.keys() >= {"generator.0.weight", "ema.0.weight", "optimizer.generator.0.exp_avg"}
    assert not any(name.startswith("window.") for name in went_on)
    assert checkpoint.read("run").progress.images == 120


def test_the_same_run_from_its_start_has_the_previous_commits_weights(tmp_path, monkeypatch):
    """But for the rounding of another CPU: less than a hundredth of the way that the run has gone."""
    monkeypatch.chdir(tmp_path)
    assert invoke(cli.train, [*TYPED, *THEN, "steps=3", "run_dir=now"]).returncode == 0
    first, now = (load_file(f"now/checkpoints/{name}.safetensors") for name in ("00000000", "last"))
    then = load_file(PREVIOUS / "checkpoints/last.safetensors")
    names = [name for name in then if name.split(".")[0] in ("generator", "discriminator", "ema")]
    error, way = (
        torch.cat([(then[name] - at[name]).double().flatten() for name in names]).norm() for at in (now, first)
    )
    assert error < 0.01 * way
