"""Labels: from the data to both networks, into checkpoints, and back by class."""

import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from helpers import train_networks
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

from gan_cli import penalties, sampling
from gan_cli.config import data as data_group
from gan_cli.config import networks, selection
from gan_cli.config.resume import resumed, settled
from gan_cli.config.saved import SavedRun
from gan_cli.data import Dataset, Points
from gan_cli.data.folder import folder
from gan_cli.errors import UserError
from gan_cli.metrics import measurement, suite
from gan_cli.pictures import grids
from gan_cli.rundir import checkpoint
from gan_cli.training.batches import Batches


@pytest.fixture
def graded():
    """40 images, each all of the one grey that its class has: 0, 60, 120, 180."""
    labels = torch.arange(40) % 4
    shades = (60 * labels).to(torch.uint8)[:, None, None, None].expand(40, 1, 8, 8).contiguous()
    return Dataset(shades, labels, tuple("abcd"))


class _Generator(nn.Module):
    """Everywhere the number in the table that belongs to the label; keeps the labels it was given."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(4, 1)
        self.asked = []

    def forward(self, z, labels):
        self.asked.append(labels)
        return self.table(labels)[:, :, None, None].expand(-1, 1, 8, 8) + 0 * z.mean()


class _Discriminator(nn.Module):
    """A line through the mean for each label; keeps the pairs of means and labels it was given."""

    def __init__(self):
        super().__init__()
        self.slope, self.offset = nn.Embedding(4, 1), nn.Embedding(4, 1)
        self.seen = []

    def forward(self, pictures, labels):
        mean = pictures.mean(dim=(1, 2, 3))
        self.seen.append((mean.detach(), labels))
        return self.slope(labels).squeeze(1) * mean + self.offset(labels).squeeze(1)


def _train(data, run_dir, **options):
    torch.manual_seed(0)
    generator, discriminator = _Generator(), _Discriminator()
    defaults = {"steps": 4, "batch_size": 10, "z_dim": 2, "conditional": True}
    adam = partial(torch.optim.Adam, lr=0.05, betas=(0.0, 0.9))
    train_networks(generator, discriminator, data, run_dir, make_optimizer=adam, samples=8, **{**defaults, **options})
    return generator, discriminator


@pytest.mark.parametrize("update", ["alternating", "shared", "simultaneous"])
def test_both_networks_are_given_the_labels_of_the_minibatch(graded, tmp_path, update):
    generator, discriminator = _train(graded, tmp_path, update=update, k=2, penalty=penalties.r1)
    real = [(mean, labels) for mean, labels in discriminator.seen if not (mean - mean[0]).abs().lt(1e-6).all()]
    matching = [torch.allclose((mean + 1) * 127.5, 60.0 * labels) for mean, labels in real]
    assert sum(matching) == 4 * 2, "each real minibatch once, for the loss and for R1, its labels beside it"
    for labels in generator.asked:
        assert any(torch.equal(labels, known) for _, known in discriminator.seen)


def test_each_class_is_learnt(graded, tmp_path):
    generator, _ = _train(graded, tmp_path, steps=400, penalty=penalties.r1)
    means = generator.table.weight.detach().flatten()
    assert torch.allclose((means + 1) * 127.5, torch.tensor([0.0, 60.0, 120.0, 180.0]), atol=12)


def test_labels_in_rows():
    assert sampling.class_rows([3, 1], 5).tolist() == [3, 3, 3, 1, 1, 1]
    picture = grids.grid_of(torch.zeros(6, 2), sampling.class_rows([3, 1], 5))(0, _Generator())
    assert picture.size == (3 * 66 + 2, 2 * 66 + 2), "two rows of three images of 64 pixels"
    assert grids.grid_of(torch.zeros(4, 2), sampling.class_rows([3], 4))(0, _Generator()).size == (2 * 66 + 2,) * 2
    drawn = sampling.labels_like(torch.tensor([1, 1, 1, 3]), 4000, seed=0)
    assert set(drawn.tolist()) == {1, 3} and 2850 < (drawn == 1).sum() < 3150


def test_a_run_goes_on_only_with_its_own_classes(call, tmp_path):
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (8, 8), 60 * i).save(tmp_path / "data" / name / f"{i}.png")
    data = ["dataset=folder", "dataset.root=data", "dataset.size=8", "dataset.channels=1", "conditional=true"]
    small = ["batch_size=4", "samples=4", "device=cpu"]
    assert call("gan-train", *data, *small, "steps=2", "run_dir=run").returncode == 0
    (tmp_path / "data" / "a").rename(tmp_path / "data" / "z")
    other = call("gan-train", "resume=run", "steps=4")
    assert other.returncode == 2 and "classes are not those of the run" in other.stderr
    shutil.rmtree(tmp_path / "data" / "z")
    assert "the data has changed" in call("gan-train", "resume=run", "steps=4").stderr


def test_the_commands_draw_by_class(call, tmp_path):
    options = ["conditional=true", "steps=3", "run_dir=run", "samples=20", "checkpoint_every=3", "eval_every=null"]
    trained = call("gan-train", "dataset.limit=500", *options)
    assert trained.returncode == 0, trained.stderr
    config = checkpoint.read(tmp_path / "run").config
    assert (config["conditional"], config["class_names"]) == (True, list("0123456789"))
    with Image.open(tmp_path / "run" / "samples" / "00000000.png") as grid:
        assert grid.size == (2 * 58 + 2, 10 * 58 + 2)

    again = call("gan-train", "resume=run", "steps=5")
    assert again.returncode == 0, again.stderr
    drawn = call("gan-sample", "ckpt=run", "n=5", "labels=[7,2]", "out=s.npz")
    assert drawn.returncode == 0, drawn.stderr
    with np.load(tmp_path / "s.npz") as arrays:
        assert arrays["labels"].tolist() == [7, 7, 7, 2, 2]
        assert arrays["images"].shape == (5, 28, 28, 1)
    assert call("gan-sample", "ckpt=run", "n=3", "labels=[7,2]", "out=pngs").returncode == 0
    names = sorted(path.name for path in (tmp_path / "pngs").iterdir())
    assert names == ["000000-class7.png", "000001-class7.png", "000002-class2.png"]
    wrong = call("gan-sample", "ckpt=run", "labels=[10]")
    assert wrong.returncode == 2 and "classes from 0 to 9" in wrong.stderr
    for figure in ("interpolation", "grid"):
        assert call("gan-sample", "ckpt=run", "labels=each", f"figure={figure}", "n=20").returncode == 0
    judged = call("gan-eval", "ckpt=run", "metrics=[label_accuracy]", "n=50")
    assert judged.returncode == 0, judged.stderr
    found = json.loads((tmp_path / "run" / "eval.json").read_text())["label_accuracy"]
    assert 0 <= found["value"] <= 1 and found["n_fake"] == 50


def test_label_accuracy_is_that_of_the_classes_asked_for(graded):
    class Told(measurement.Data):
        classify = staticmethod(lambda features: nn.functional.one_hot(features, 4).float())
        fake_features = torch.tensor([0, 1, 2, 2])
        extractor = None

    data = Told(graded, None, None, lambda: None, 4, 0, torch.device("cpu"), 4, torch.arange(4))
    assert suite.label_accuracy(data)["label_accuracy"].value == 0.75
    data.labels = None
    with pytest.raises(UserError, match="conditional"):
        suite.label_accuracy(data)


def _saved(path, config):
    """The saved run of a checkpoint that holds a configuration and nothing else."""
    return SavedRun(checkpoint.Checkpoint(path, checkpoint.Progress(), config, {}, {}))


def test_what_cannot_be_conditional_gets_one_line(graded, tmp_path):
    assert data_group.class_names(False, graded) == []
    assert data_group.class_names(True, graded) == list("abcd")
    for data, message in [
        (Points(torch.zeros(4, 2)), "points have none"),
        (replace(graded, labels=None), "two subfolders"),
        (replace(graded, class_names=()), "two subfolders"),
        (replace(graded, class_names=("a", "b")), "labels from 0 to 3, and names for 2"),
        (replace(graded, labels=graded.labels - 1), "labels from -1 to 2"),
    ]:
        with pytest.raises(UserError, match=message):
            data_group.class_names(True, data)
    with pytest.raises(UserError, match="two subfolders"):
        _train(replace(graded, labels=None), tmp_path / "unlabelled")
    with pytest.raises(ValueError, match="needs a dataset with labels"):
        Batches(replace(graded, labels=None), 4, 0, torch.device("cpu"), labelled=True)
    node = {"_target_": "gan_cli.networks.maxout.Generator"}
    net = {"z_dim": 4, "prior": "normal", "generator": node}
    with pytest.raises(UserError, match="takes no labels"):
        networks.generator(net, {"image_shape": (1, 8, 8), "classes": 4})
    with pytest.raises(UserError, match="is the data's to say"):
        networks.generator({**net, "generator": {**node, "classes": 4}}, {"image_shape": (1, 8, 8)})
    for names in (4, "abcd", {"a": 1}, [1, 2], None):
        with pytest.raises(UserError, match="names in a list"):
            assert _saved(tmp_path, {"class_names": names}).class_names
    with pytest.raises(UserError, match="classes of points"):
        assert _saved(tmp_path, {"class_names": ["a", "b"], "image_shape": [2]}).class_names
    with pytest.raises(UserError, match="labels=.* should be classes"):
        selection.classes([0, 3], list("abc"), "run")


def test_subfolders_are_the_classes_of_a_folder(tmp_path):
    for name, shade in (("cats", 10), ("dogs/small", 200), ("dogs", 150)):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), shade).save(tmp_path / name / "a.png")
    (tmp_path / "cats" / "broken.png").write_bytes(b"nothing")
    found = folder(str(tmp_path), size=4, channels=1)
    assert found.class_names == ("cats", "dogs")
    shades = found.images[:, 0, 0, 0].tolist()
    assert [(shade > 100) for shade in shades] == found.labels.bool().tolist()
    Image.new("L", (4, 4), 0).save(tmp_path / "loose.png")
    assert folder(str(tmp_path), size=4, channels=1).labels is None


@pytest.mark.parametrize(("key", "value"), [("conditional", True), ("augment", {"_target_": "gan_cli.augment.ADA"})])
def test_a_run_from_before_a_key_keeps_what_it_had(tmp_path, key, value):
    with initialize_config_module("gan_cli.configs", version_base="1.3"):
        config = settled(OmegaConf.to_container(compose("train", []), resolve=True))
    older = {name: held for name, held in config.items() if name not in ("conditional", "augment")}
    saved = _saved(tmp_path, older)
    assert resumed(config, saved, []) == config
    with pytest.raises(UserError, match=f"{key} can't change"):
        resumed({**config, key: value}, saved, [key])
