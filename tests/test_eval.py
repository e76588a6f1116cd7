"""``gan-eval``: the figures and where they are from, what is skipped, what is refused."""

import gzip
import hashlib
import json
import sys

import numpy as np
import pytest
import torch
from helpers import NET, save_modules
from PIL import Image

from gan_cli import sampling
from gan_cli.commands import evaluate
from gan_cli.config import saved
from gan_cli.data import Dataset
from gan_cli.data.idx import mnist
from gan_cli.errors import UserError
from gan_cli.metrics import catalogue, inception, measurement, suite
from gan_cli.metrics.classifier import WEIGHTS
from gan_cli.metrics.extractor import extractor_for
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.networks import mlp
from gan_cli.rundir import checkpoint


def _save_run(tmp_path, dataset, image_shape):
    """A run folder with the checkpoint of an untrained generator."""
    torch.manual_seed(0)
    generator = mlp.Generator(image_shape, 4, widths=(8,))
    config, modules = {"net": NET, "image_shape": list(image_shape), "dataset": dataset}, {"generator": generator}
    folder = tmp_path / "run" / "checkpoints"
    save_modules(folder, checkpoint.Progress(7, 70, 1.5), config, modules | {"ema": generator})
    return tmp_path / "run"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder of IDX files: MNIST's first 300 training and 120 test images."""
    root = tmp_path_factory.mktemp("digits")
    for split, prefix, n in (("train", "train", 300), ("test", "t10k", 120)):
        data = mnist(split=split)
        for kind, values in (("images-idx3", data.images[:n, 0]), ("labels-idx1", data.labels[:n].byte())):
            sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
            content = bytes([0, 0, 8, values.dim()]) + sizes + values.numpy().tobytes()
            (root / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(content, 1))
    return root


@pytest.fixture
def measured(tmp_path):
    """The report and ``eval.json`` of a run folder: ``measured(run, n=64)``."""

    def run(run_dir, **settings):
        defaults = {"metrics": "all", "n": 64, "seed": 0, "weights": "ema", "batch_size": 50, "device": "cpu"}
        report = evaluate.run({"ckpt": str(run_dir), "root": None, "trust": [], **defaults, **settings})
        return report.splitlines(), json.loads((run_dir / "eval.json").read_text())

    return run


def test_the_command_measures_everything_and_says_with_what(call, digits, tmp_path):
    node = {"_target_": "gan_cli.data.idx.mnist", "root": str(digits), "size": None}
    run_dir = _save_run(tmp_path, node, (1, 28, 28))
    done = call("gan-eval", "ckpt=run", "n=64", "seed=5", "device=cpu")
    assert (done.returncode, done.stderr) == (0, "")
    title, head, *rows, skipped, warning, where = done.stdout.splitlines()
    assert title == "step 7, ema weights, seed 5"
    assert skipped == "skipped label_accuracy: needs a conditional generator"
    assert head.split("  ")[0] == "metric"
    found = json.loads((run_dir / "eval.json").read_text())
    assert [row.split()[0] for row in rows] == list(found)
    assert set(found) == {
        "frechet", "kid", "precision", "recall", "density", "coverage", "inception_score", "classes_hit", "class_kl",
        "parzen", "c2st_accuracy", "one_nn_accuracy", "copying",
    }  # fmt: skip
    assert "k-means centres beat real data" in warning
    assert where == "also in run/eval.json"
    frechet = found["frechet"]
    assert frechet.pop("value") > 5 * frechet.pop("real_data") > 0
    assert frechet == {
        "n_fake": 64, "n_real": 300, "split": "train", "error": None,
        "extractor": "digit classifier", "extractor_sha256": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        "n_held_out": 64, "seed": 5, "precision": "float32", "weights": "ema", "step": 7,
        "checkpoint": "last.safetensors", "gan_cli": "0.1.0",
    }  # fmt: skip
    assert (found["parzen"]["extractor"], found["parzen"]["n_real"], found["parzen"]["split"]) == (
        "pixels",
        120,
        "test",
    )
    assert np.abs(np.logspace(-1, 0, 10) - found["parzen"]["sigma"]).min() < 1e-9
    assert found["c2st_accuracy"]["value"] > 0.9  # noise against digits
    assert found["one_nn_accuracy"]["value"] > 0.9


def test_the_figures_are_those_of_the_functions_and_come_again(digits, tmp_path, measured):
    node = {"_target_": "gan_cli.data.idx.mnist", "root": str(digits), "size": None}
    run_dir = _save_run(tmp_path, node, (1, 28, 28))
    metrics = ["frechet", "kid", "c2st", "frechet"]
    _, first = measured(run_dir, metrics=metrics)
    assert list(first) == ["frechet", "kid", "c2st_accuracy"]
    assert measured(run_dir, metrics=metrics)[1] == first
    mnist_features = extractor_for((1, 28, 28), torch.device("cpu")).features
    real = mnist_features(mnist(root=str(digits)).images)
    fresh = mnist(root=str(digits), split="test").images
    assert first["frechet"]["real_data"] != pytest.approx(frechet_distance(real, mnist_features(fresh)))  # 64 of 120
    _, all_held_out = measured(run_dir, metrics="frechet", n=120)
    assert all_held_out["frechet"]["real_data"] == pytest.approx(
        frechet_distance(real, mnist_features(fresh)), rel=1e-4
    )


def test_digits_of_another_size_are_judged_at_28(digits, tmp_path, measured):
    node = {"_target_": "gan_cli.data.idx.mnist", "root": str(digits), "size": 32}
    _, found = measured(_save_run(tmp_path, node, (1, 32, 32)), metrics=["frechet", "modes"])
    assert found["classes_hit"]["real_data"] == 10  # so the classifier still knows them


def test_a_classifier_that_does_not_know_the_classes_is_not_asked(tmp_path, digits, measured, monkeypatch):
    data = mnist(root=str(digits))
    monkeypatch.setattr(saved, "training_data", lambda _: Dataset(data.images, (data.labels + 1) % 10, tuple("abc")))
    node = {"_target_": "gan_cli.data.idx.mnist", "root": str(digits), "size": None}
    with pytest.raises(UserError, match=r"nothing to measure: modes: the digit classifier names only [0-9]+% of"):
        measured(_save_run(tmp_path, node, (1, 28, 28)), metrics=["modes"])


def test_stacked_digits_need_no_inception_to_count_their_modes(digits, tmp_path, measured, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    node = {"_target_": "gan_cli.data.idx.stacked_mnist", "root": str(digits), "size": None, "n": 200}
    report, found = measured(_save_run(tmp_path, node, (3, 28, 28)), metrics=["modes", "frechet"], n=150)
    assert {name: figure["extractor"] for name, figure in found.items()} == dict.fromkeys(
        ["classes_hit", "class_kl", "frechet"], "digit classifier"
    )
    assert found["classes_hit"]["of"] == 1000
    assert 1 <= found["classes_hit"]["value"] < 30 < found["classes_hit"]["real_data"] <= 150  # noise; digits
    assert found["class_kl"]["value"] > found["class_kl"]["real_data"] > 0
    assert any("150 samples, of 1000" in line for line in report)


def _colours(tmp_path):
    """A run on a folder of 20 random colour images."""
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    node = {"_target_": "gan_cli.data.folder.folder", "root": str(tmp_path / "pictures"), "size": 8, "channels": 3}
    return _save_run(tmp_path, node, (3, 8, 8))


def test_what_a_folder_of_colour_images_lacks_is_said(tmp_path, monkeypatch, measured):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)  # as where it isn't installed
    with pytest.raises(UserError, match="nothing to measure") as told:
        measured(_colours(tmp_path))
    line = str(told.value)
    by_features = "frechet, kid, precision_recall, density_coverage, inception_score, modes"
    assert f"{by_features}: colour images are judged by Inception features: pip install 'gan-cli[fid]'" in line
    assert "parzen, c2st, one_nn, memorisation: needs held-out data, and this dataset has no test split" in line
    assert not (tmp_path / "run" / "eval.json").exists()
    monkeypatch.setattr(sampling, "generate", None)  # no sample is drawn for nothing
    with pytest.raises(UserError, match="nothing to measure: frechet"):
        measured(tmp_path / "run", metrics="frechet")


def test_without_features_two_sample_tests_look_at_pixels(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    rng = torch.Generator().manual_seed(1)
    train, test, fake = (torch.randint(0, 256, (60, 3, 4, 4), dtype=torch.uint8, generator=rng) for _ in range(3))
    data = measurement.Data(Dataset(train), None, Dataset(test), lambda: fake, 60, 0, torch.device("cpu"), 50)
    figures, skipped = suite.measure(data, ["frechet", "c2st", "one_nn", "memorisation", "parzen"])
    assert [line.split(":")[0] for line in skipped] == ["frechet"]
    assert {name: figure.extractor for name, figure in figures.items()} == dict.fromkeys(
        ["c2st_accuracy", "one_nn_accuracy", "copying", "parzen"]
    )
    low, high = figures["c2st_accuracy"].details["null_interval"]
    assert low <= figures["c2st_accuracy"].value <= high


def test_the_weights_of_inception_that_cannot_be_had_or_read(tmp_path, monkeypatch):
    fidelity = type(sys)("torch_fidelity")
    fidelity.feature_extractor_inceptionv3 = type(sys)("feature_extractor_inceptionv3")
    fidelity.feature_extractor_inceptionv3.URL_INCEPTION_V3 = (tmp_path / "away" / "weights.pth").as_uri()
    monkeypatch.setitem(sys.modules, "torch_fidelity", fidelity)
    monkeypatch.setenv("GAN_CLI_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"can't download .* put Inception's weights, file://.*, into .*cache"):
        inception.load_inception()
    (tmp_path / "cache" / "weights.pth").write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"weights.pth is not Inception's weights .* remove it"):
        inception.load_inception()


def test_a_dataset_that_a_checkpoint_names_is_not_run_unless_trusted(tmp_path, measured):
    with pytest.raises(UserError, match=r"names os.system, which is not part of gan-cli; if you trust it: trust="):
        measured(_save_run(tmp_path, {"_target_": "os.system", "command": "true"}, (1, 28, 28)))
    with pytest.raises(UserError, match="names gan_cli.networks.mlp.Generator, which is no dataset"):
        measured(_save_run(tmp_path, {"_target_": "gan_cli.networks.mlp.Generator"}, (1, 28, 28)))
    with pytest.raises(UserError, match="gives a .*, not a gan_cli.data.Dataset"):
        measured(_save_run(tmp_path, {"_target_": "gan_cli.data.idx.mnist", "_partial_": True}, (1, 28, 28)))
    with pytest.raises(UserError, match="doesn't say what it was trained on"):
        measured(_save_run(tmp_path, None, (1, 28, 28)))


def test_other_data_than_the_generator_draws_are_refused_and_root_says_where_they_are(tmp_path, measured):
    run_dir = _colours(tmp_path)
    (tmp_path / "pictures").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="is not a folder"):
        measured(run_dir)
    with pytest.raises(UserError, match="nothing to measure: parzen"):
        measured(run_dir, root=str(tmp_path / "moved"), metrics="parzen")
    node = {"_target_": "gan_cli.data.folder.folder", "root": str(tmp_path / "moved"), "size": 8, "channels": 1}
    with pytest.raises(UserError, match=r"draws images of \[3, 8, 8\], the data are \[1, 8, 8\]"):
        measured(_save_run(tmp_path, node, (3, 8, 8)))


def test_the_names_of_the_metrics(call):
    assert tuple(suite.METRICS) == tuple(catalogue.FAMILIES)
    listed = call("gan-eval", "--help")
    assert listed.returncode == 0
    assert all(f"\n  {name} " in listed.stdout for name in catalogue.FAMILIES)
    for typed in ("metrics=[kid,freche]", "metrics=freche"):
        done = call("gan-eval", "ckpt=nowhere", typed)
        assert (done.returncode, done.stderr) == (2, "gan-eval: no metrics 'freche'; did you mean 'frechet'?\n")
