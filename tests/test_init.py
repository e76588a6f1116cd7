"""A new run from another's weights (init, freeze_d), from one of its checkpoints (resume=FILE), and moved data."""

import gzip
import shutil

import numpy as np
import pytest
import torch
import yaml
from helpers import FAST
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from gan_cli import penalties
from gan_cli.commands import train
from gan_cli.config import build, saved
from gan_cli.data import fingerprint, idx
from gan_cli.data.cifar import cifar10
from gan_cli.errors import UserError
from gan_cli.rundir import checkpoint, layout
from gan_cli.rundir.branch import branched
from gan_cli.rundir.records import read_metrics
from gan_cli.training import folder, inherit
from gan_cli.training.games import Adversarial

DATA = ["dataset=folder", "dataset.size=8", "dataset.channels=1"]
MLP = [*FAST, "net.generator.widths=[8]", "net.discriminator.widths=[8,6]", "penalty=none"]


@pytest.fixture(scope="module", autouse=True)
def _no_curves():
    """matplotlib takes longer than everything else here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "write_curves", lambda run_dir: None)
        yield


def _save_images(folder):
    rng = np.random.default_rng(0)
    for i in range(70):
        (folder / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / "ab"[i % 2] / f"{i:02d}.bmp")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def base(here):
    """The configuration of a run on a folder of images, as composed."""
    _save_images(here / "data")
    with initialize_config_module("gan_cli.configs", version_base="1.3"):
        return OmegaConf.to_container(compose("train", [*MLP, *DATA, f"dataset.root={here}/data"]), resolve=True)


def _train(base, run_dir, /, **changes):
    return train.run({**base, "run_dir": run_dir.name, **changes}, list(changes), run_dir)


@pytest.fixture(scope="module")
def parent(base, here):
    """A run of six steps, with a checkpoint every two."""
    _train(base, here / "parent", steps=6)
    return here / "parent"


def _tensors(run_dir, name="last"):
    return load_file(run_dir / "checkpoints" / f"{name}.safetensors")


def _same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _config(run_dir):
    return yaml.safe_load((run_dir / "config.yaml").read_text())


def test_a_run_goes_on_from_a_checkpoint_in_a_new_folder_with_the_same_bits(base, parent, tmp_path):
    file, branch = str(parent / "checkpoints" / "00000004.safetensors"), tmp_path / "branch"
    _train(base, branch, resume=file, run_dir="branch")
    assert _same(_tensors(parent), _tensors(branch))
    assert [row["step"] for row in read_metrics(branch)] == [1, 2, 3, 4, 5, 6]
    assert read_metrics(branch)[:4] == read_metrics(parent)[:4]
    assert _names(branch / "samples") == _names(parent / "samples")
    assert _names(branch / "checkpoints") == ["00000004.safetensors", "00000006.safetensors", "last.safetensors"]
    assert (branch / "events.out.tfevents.gan-cli").stat().st_size > 1000
    assert _config(branch)["run_dir"] == "branch"

    for held in (branch, parent):
        with pytest.raises(UserError, match=f"{held.name} holds a run already"):
            _train(base, held, resume=file)
    with pytest.raises(UserError, match="k can't change when a run is resumed"):
        _train(base, tmp_path / "other", resume=file, k=2)
    last = str(parent / "checkpoints" / "last.safetensors")
    with pytest.raises(UserError, match=r"last\.safetensors is complete; add steps=12 to go on"):
        _train(base, tmp_path / "other", resume=last)
    assert not (tmp_path / "other").exists()


def test_the_best_score_starts_anew_and_a_link_is_not_followed(tmp_path):
    progress = checkpoint.Progress(7, 70, 1.5, best=3.0)
    path = checkpoint.save(tmp_path / "a" / "checkpoints", progress, {}, {"a": torch.zeros(1)})
    (tmp_path / "a" / "samples").mkdir()
    for name in ("00000007.png", "00000008.png"):
        (tmp_path / "a" / "samples" / name).write_bytes(b"x")
    (tmp_path / "a" / "metrics.jsonl").symlink_to(path)
    assert branched(checkpoint.read(path), tmp_path / "b").progress == checkpoint.Progress(7, 70, 1.5)
    assert [p.name for p in (tmp_path / "b").rglob("*")] == ["samples", "00000007.png"]


def test_init_begins_a_new_run_with_the_weights_that_fit(base, parent, tmp_path, caplog):
    was, opened = _tensors(parent), checkpoint.read(parent)
    moved = shutil.copytree(parent, tmp_path / "parent")
    free = {"batch_size": 8, "loss": {**base["loss"], "_target_": "gan_cli.losses.minimax"}, "seed": 3}
    _train(base, tmp_path / "child", **free, steps=1, init=str(moved))
    assert caplog.messages[0] == f"init: taken 14 of 14 tensors of {moved}/checkpoints/last.safetensors, step 6"
    begun = _tensors(tmp_path / "child", "00000000")
    weights = [name for name in was if name.split(".")[0] in ("generator", "discriminator", "ema")]
    assert all(torch.equal(begun[name], was[name]) for name in weights)
    assert not [name for name in begun if name.startswith("optimizer.")]  # fresh, and so is the step
    assert read_metrics(tmp_path / "child")[0]["step"] == 1
    origin = {"init": str(moved), "init_digest": opened.digest, "init_step": 6}
    assert origin.items() <= _config(tmp_path / "child").items()
    assert len(opened.digest) == 64

    shutil.rmtree(moved)  # the run has weights of its own now
    _train(base, tmp_path / "child", **free, steps=2, init=str(moved), resume="auto")
    assert origin.items() <= _config(tmp_path / "child").items()
    with pytest.raises(UserError, match="init can't change when a run is resumed"):
        _train(base, tmp_path / "child", **free, steps=3, init="other", resume="auto")
    with pytest.raises(UserError, match="init can't change when a run is resumed"):
        _train(base, tmp_path / "child", steps=3, init="other", resume=str(tmp_path / "child"))


def test_init_takes_what_fits_and_names_the_rest(base, parent, tmp_path, caplog):
    wide = {**base["net"], "generator": {**base["net"]["generator"], "widths": [9]}}
    _train(base, tmp_path / "child", net=wide, steps=1, init=str(parent / "checkpoints" / "last.safetensors"))
    assert "; not taken: generator.0.bias, generator.0.weight, generator.2.weight and 3 more" in caplog.messages[0]
    begun, was = _tensors(tmp_path / "child", "00000000"), _tensors(parent)
    assert torch.equal(begun["discriminator.1.weight"], was["discriminator.1.weight"])
    assert begun["ema.0.weight"].shape[0] == 9
    assert torch.equal(begun["ema.0.weight"], begun["generator.0.weight"])

    with pytest.raises(UserError, match="no such checkpoint: nowhere"):
        _train(base, tmp_path / "x", init="nowhere")
    with pytest.raises(UserError, match="freeze_d=99 leaves nothing to train"):
        _train(base, tmp_path / "x", init=str(parent), freeze_d=99)
    wide = {**base["net"], "discriminator": {**base["net"]["discriminator"], "widths": [9]}}
    with pytest.raises(UserError, match="freeze_d keeps discriminator.1.bias as init brings it, but .* has none of th"):
        _train(base, tmp_path / "x", net=wide, init=str(parent), freeze_d=1)
    assert not (tmp_path / "x").exists()


def test_init_checks_dtypes_and_builds_nothing_that_the_file_names(tmp_path):
    torch.manual_seed(0)
    game = Adversarial(nn.Linear(2, 3), nn.Linear(3, 1), None)
    before = {name: value.clone() for name, value in game.state_dict().items()}
    tensors = {"generator.weight": torch.ones(3, 2), "generator.bias": torch.ones(3, dtype=torch.float64)}
    config = {"net": {"generator": {"_target_": "os.system", "command": "touch canary"}}}
    parent = checkpoint.read(checkpoint.save(tmp_path, checkpoint.Progress(1), config, tensors))
    assert inherit.inherit(game, parent).endswith("step 1; not taken: generator.bias")
    now = game.state_dict()
    assert torch.equal(now["generator.weight"], torch.ones(3, 2))
    assert torch.equal(now["ema.weight"], torch.ones(3, 2))  # the file has no average: it begins as G
    assert torch.equal(now["generator.bias"], before["generator.bias"])
    assert torch.equal(now["discriminator.weight"], before["discriminator.weight"])
    with pytest.raises(UserError, match="init: none of the 2 tensors of .* fits by name and shape"):
        inherit.inherit(Adversarial(nn.Linear(2, 4), nn.Linear(4, 1), None), parent)


def test_frozen_layers_keep_their_bits(base, parent, tmp_path):
    clipped = {"penalty": {"_target_": None, "clip": 0.001}, "k": 2}
    _train(base, tmp_path / "child", **clipped, steps=3, init=str(parent), freeze_d=2)
    _train(base, tmp_path / "child", resume=str(tmp_path / "child"), steps=5)
    was, now = _tensors(parent), _tensors(tmp_path / "child")
    weights = [name for name in now if name.startswith("discriminator.")]
    kept = [name for name in weights if torch.equal(now[name], was[name])]
    assert kept == ["discriminator.1.bias", "discriminator.1.weight", "discriminator.3.bias", "discriminator.3.weight"]
    assert len(weights) == 6
    assert {name.split(".")[2] for name in now if name.startswith("optimizer.discriminator.")} == {"4", "5"}


def test_a_layer_is_a_module_with_weights_in_the_order_of_modules():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.conv = spectral_norm(nn.Conv2d(2, 2, 1))

    network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.LeakyReLU(), Block(), nn.BatchNorm2d(2), nn.Linear(2, 1))
    assert [len(layer) for layer in inherit.layers(network)] == [1, 2, 1, 2, 2]
    inherit.freeze(network, 3)
    frozen = {name for name, weight in network.named_parameters() if not weight.requires_grad}
    assert frozen == {"0.weight", "2.scale", "2.conv.bias", "2.conv.parametrizations.weight.original"}
    with pytest.raises(UserError, match="has 5 layers with weights, so freeze_d is at most 4"):
        inherit.freeze(network, 5)
    with torch.no_grad():
        penalties.clip_weights(network, 0.0)
    assert [bool(weight.any()) for weight in network[-1].parameters()] == [False, False]
    assert network[0].weight.any()


def test_the_data_of_a_run_may_move_but_not_change(base, parent, here, tmp_path):
    _train(base, tmp_path / "run", steps=2)
    moved = shutil.copytree(here / "data", tmp_path / "moved")
    data = {**base["dataset"], "root": str(moved)}
    on = {"resume": str(tmp_path / "run")}
    _train(base, tmp_path / "run", **on, dataset=data, steps=6, samples=9)  # samples may change as well
    assert _same(_tensors(parent), _tensors(tmp_path / "run"))
    assert (_config(tmp_path / "run")["dataset"]["root"], _config(tmp_path / "run")["samples"]) == (str(moved), 9)

    with pytest.raises(UserError, match="dataset can't change when a run is resumed"):
        _train(base, tmp_path / "run", **on, dataset={**data, "size": 16}, steps=7)
    changed = "the data has changed: its files have other names or contents"
    first, last = moved / "a" / "00.bmp", moved / "b" / "69.bmp"
    first.rename(first.with_name("000.bmp"))
    with pytest.raises(UserError, match=changed):
        _train(base, tmp_path / "run", **on, steps=7)
    first.with_name("000.bmp").rename(first)
    content = last.read_bytes()
    last.write_bytes(first.read_bytes())  # of the same size
    with pytest.raises(UserError, match=changed):
        _train(base, tmp_path / "run", **on, steps=7)
    last.write_bytes(content)
    _train(base, tmp_path / "run", **on, steps=7)


def test_a_checkpoint_without_a_fingerprint_is_compared_as_before(tmp_path, tiny):
    facts = {"image_shape": [1, 8, 8], "examples": len(tiny)}
    for known, now in ((None, "a"), ("a", None), ("a", "a")):
        path = checkpoint.save(tmp_path, checkpoint.Progress(), facts | {"fingerprint": known}, {"a": torch.zeros(1)})
        data = type(tiny)(tiny.images, fingerprint=now)
        saved.SavedRun(checkpoint.read(path)).check_files(data)
    with pytest.raises(UserError, match="the data has changed"):
        saved.SavedRun(checkpoint.read(path)).check_files(type(tiny)(tiny.images, fingerprint="b"))


def test_a_fingerprint_counts_names_order_and_contents():
    def of(names="abc", contents=(1, 2, 3)):
        return fingerprint.fingerprint(names, torch.tensor(contents, dtype=torch.uint8)[:, None])

    assert of() == of()
    assert len({of(), of("abd"), of("bac"), of(contents=(2, 1, 3)), of(contents=(1, 2, 4)), of("ab", (1, 2))}) == 6


def test_digits_from_elsewhere_are_known_again(tmp_path):
    digits = shutil.copytree(idx.SHIPPED / "mnist", tmp_path / "digits")
    known = idx.mnist(limit=50_000).fingerprint
    assert idx.mnist(str(digits), size=8).fingerprint == known
    file = digits / "train-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[-1] = 9 - content[-1]
    file.write_bytes(gzip.compress(bytes(content)))
    assert idx.mnist(str(digits), size=8).fingerprint != known


def test_a_folder_of_images_is_not_filled_with_cifar(here, base):
    with pytest.raises(UserError, match="holds images, and no cifar-10-python.tar.gz; for a folder of images add data"):
        cifar10(str(here / "data"))


@pytest.mark.parametrize("part", ["training_data", "Records"])
def test_ctrl_c_before_the_first_step_leaves_nothing(call, here, base, tmp_path, monkeypatch, part):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(build if part == "training_data" else folder, part, interrupted)
    for place in ([], ["run_dir=deep/run", "hydra.output_subdir=.hydra"]):
        assert call("gan-train", *FAST, *DATA, f"dataset.root={here}/data", *place).returncode == 130
        assert not list(tmp_path.iterdir())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("mine")
    with pytest.raises(KeyboardInterrupt):
        _train(base, tmp_path / "run")
    assert _names(tmp_path / "run") == ["config.yaml"]  # it was there before


def test_a_run_that_fails_later_keeps_all_of_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "of_run", lambda run_dir: [])  # as on a disk that fails for a moment

    def write_and_fail():
        for name in ("checkpoints/00000000.safetensors", "samples/00000000.png", "config.yaml"):
            (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "run" / name).write_bytes(b"x")
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"), layout.locked(tmp_path / "run"):
        write_and_fail()
    assert _names(tmp_path / "run") == [".lock", "checkpoints", "config.yaml", "samples"]


def test_paths_are_those_of_the_folder_where_the_command_was_typed(call, tmp_path):
    _save_images(tmp_path / "data")
    chdir = ["hydra.job.chdir=true", *MLP, *DATA, "dataset.root=data"]
    first = call("gan-train", *chdir, "steps=2", "run_dir=run")
    assert first.returncode == 0, first.stderr
    assert f"ckpt={tmp_path}/run" in first.stdout
    (tmp_path / "data").rename(tmp_path / "moved")
    on = ["hydra.job.chdir=true", "dataset.root=moved", "steps=3"]
    file = "resume=run/checkpoints/00000002.safetensors"
    for words in ([*on, "resume=run"], [*on, file, "run_dir=b"], [*chdir, *on[1:], "init=run", "run_dir=c"]):
        done = call("gan-train", *words)
        assert done.returncode == 0, done.stderr
    assert _names(tmp_path) == ["b", "c", "moved", "run"]
    assert _same(_tensors(tmp_path / "run"), _tensors(tmp_path / "b"))
