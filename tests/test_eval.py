"""``gan-eval``: the figures and where they are from, what is skipped, what is refused."""

import functools
import gzip
import hashlib
import json
import math
import re
import sys

import numpy as np
import pytest
import torch
from helpers import NET, Payload, save_modules
from PIL import Image

import gan_cli
from gan_cli import sampling
from gan_cli.commands import evaluate
from gan_cli.config import saved
from gan_cli.data import Dataset, toys
from gan_cli.data.idx import mnist
from gan_cli.errors import UserError
from gan_cli.metrics import catalogue, inception, measurement, points, quality, suite, translation_suite, two_sample
from gan_cli.metrics.classifier import WEIGHTS
from gan_cli.metrics.extractor import digit_extractor, extractor_for, pixel_extractor, random_extractor
from gan_cli.metrics.frechet import frechet_distance
from gan_cli.metrics.pair import read_pair
from gan_cli.networks import mlp, toy
from gan_cli.noise import Noise
from gan_cli.rundir import checkpoint

NO_INCEPTION = "images other than digits are judged by Inception's features: pip install 'gan-cli[fid]'"
RANDOM = "random VGG-like network"
INSTEAD = f"; here images are compared by the features of a {RANDOM}"


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
        of = {"ckpt": str(run_dir), "real": None, "fake": None, "root": None, "trust": []}
        of |= {"extractor": {"weights": None}, "own_metrics": {}}
        report = evaluate.run({**of, **defaults, **settings})
        return report.splitlines(), json.loads((run_dir / "eval.json").read_text())

    return run


def test_the_command_measures_everything_and_says_with_what(call, digits, tmp_path):
    node = {"_target_": "gan_cli.data.idx.mnist", "root": str(digits), "size": None}
    run_dir = _save_run(tmp_path, node, (1, 28, 28))
    done = call("gan-eval", "ckpt=run", "n=64", "seed=5", "device=cpu")
    assert (done.returncode, done.stderr) == (0, "")
    title, head, *rows, faces, skipped, warning, where = done.stdout.splitlines()
    assert title == "step 7, ema weights, seed 5"
    assert faces == "skipped attributes: needs drawn faces of style=adventurer"
    assert skipped == "skipped label_accuracy: needs a conditional generator"
    assert head.split("  ")[0] == "metric"
    found = json.loads((run_dir / "eval.json").read_text())
    assert [row.split()[0] for row in rows] == list(found)
    assert set(found) == {
        "frechet", "frechet_random", "kid", "precision", "recall", "density", "coverage", "inception_score",
        "classes_hit", "class_kl", "parzen", "c2st_accuracy", "one_nn_accuracy", "copying",
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
    mnist_features = digit_extractor(torch.device("cpu")).features
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
    data = mnist(root=str(digits), size=14)
    shifted = Dataset(data.images, (data.labels + 1) % 10, data.class_names)
    monkeypatch.setattr(saved, "training_data", lambda _: shifted)
    node = {"_target_": "gan_cli.data.idx.mnist", "root": str(digits), "size": 14}
    report, found = measured(_save_run(tmp_path, node, (1, 14, 14)), metrics=["modes", "c2st"])
    assert list(found) == ["c2st_accuracy"] and found["c2st_accuracy"]["extractor"] == RANDOM
    assert report[-3] == "skipped modes: needs labelled data, and a classifier for them"
    note = r"the digit classifier names only [0-9]+% of the training images right" + re.escape(INSTEAD)
    assert re.fullmatch(note, report[-2])


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
    run_dir, drawn = _colours(tmp_path), sampling.generate
    monkeypatch.setattr(sampling, "generate", None)  # no sample is drawn for nothing
    with pytest.raises(UserError, match="nothing to measure") as told:
        measured(run_dir, metrics=["parzen", "c2st", "one_nn", "memorisation"])
    monkeypatch.setattr(sampling, "generate", drawn)
    line = str(told.value)
    assert "parzen, c2st, one_nn, memorisation: needs held-out data, and this dataset has no test split" in line
    assert not (tmp_path / "run" / "eval.json").exists()
    report, found = measured(tmp_path / "run")
    assert list(found) == ["frechet_random", "precision", "recall", "density", "coverage"]
    sha256 = random_extractor(torch.device("cpu")).sha256
    assert {(figure["extractor"], figure["extractor_sha256"]) for figure in found.values()} == {(RANDOM, sha256)}
    assert report[-2] == NO_INCEPTION + INSTEAD
    assert f"skipped frechet, kid: {NO_INCEPTION}" in report
    with pytest.raises(UserError, match="frechet: " + re.escape(NO_INCEPTION)):
        measured(tmp_path / "run", metrics=["frechet_random", "frechet"])


def test_grey_images_that_are_no_digits_are_not_judged_as_digits(tmp_path, measured, monkeypatch, digits):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    data = mnist(root=str(digits), size=14)
    monkeypatch.setattr(saved, "training_data", lambda _: Dataset(data.images, data.labels, tuple("abcdefghij")))
    node = {"_target_": "gan_cli.data.idx.fashion_mnist", "root": str(digits), "size": 14}
    report, found = measured(_save_run(tmp_path, node, (1, 14, 14)), metrics=["frechet_random", "c2st", "modes"])
    assert {name: figure["extractor"] for name, figure in found.items()} == {
        "frechet_random": RANDOM, "c2st_accuracy": RANDOM,
    }  # fmt: skip
    assert found["frechet_random"]["value"] > found["frechet_random"]["real_data"] > 0
    assert report[-3] == "skipped modes: needs labelled data, and a classifier for them"
    assert report[-2].startswith(NO_INCEPTION)


def sample(name, folder):
    """64 images of the run ``name``, seed 0."""
    return gan_cli.sample(folder / name, n=64, batch_size=50)


def test_inception_sees_grey_images_as_colour_and_transparent_ones_over_white(monkeypatch, tmp_path):
    seen = []
    (tmp_path / "w").write_bytes(b"weights")
    network = torch.nn.Module()
    network.forward = lambda images: (seen.append(images), (images.flatten(1)[:, :4].float(),))[1]
    monkeypatch.setattr(inception, "load_inception", lambda weights: (network, tmp_path / "w"))
    grey = torch.full((2, 1, 28, 28), 7, dtype=torch.uint8)
    assert extractor_for((1, 28, 28), torch.device("cpu"), tuple("abc")).name == "Inception-v3"
    extractor_for((1, 28, 28), torch.device("cpu")).features(grey)
    assert seen[-1].shape == (2, 3, 28, 28) and (seen[-1] == 7).all()
    rgba = torch.tensor([10, 20, 30, 0, 10, 20, 30, 255, 0, 0, 0, 51], dtype=torch.uint8).reshape(3, 4, 1, 1)
    extractor_for((4, 1, 1), torch.device("cpu")).features(rgba)
    assert seen[-1].flatten(1).tolist() == [[255, 255, 255], [10, 20, 30], [204, 204, 204]]
    assert pixel_extractor((4, 1, 1)).features(rgba).shape == (3, 3)
    assert pixel_extractor((3, 64, 64)).features(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, 3 * 18**2)


def test_scores_during_training_judge_only_digits_as_digits(monkeypatch):
    data = mnist(split="test")
    some = data.images[:80]
    generator = mlp.Generator((1, 28, 28), 4, widths=(8,))
    monkeypatch.setattr(quality, "feature_scores", functools.partial(quality.feature_scores, n=40))
    noise = Noise("normal", 4)
    clothes = quality.scores(Dataset(some, data.labels[:80], tuple("abcdefghij")), None, noise)(generator)
    fake = torch.cat(list(sampling.generate(generator, sampling.latents(noise, 40, 0))))
    random = random_extractor(torch.device("cpu")).features
    assert clothes["frechet_random"] == pytest.approx(frechet_distance(random(some), random(fake)), rel=1e-4)
    digits = quality.scores(Dataset(some, data.labels[:80], data.class_names), None, noise)(generator)
    features = digit_extractor(torch.device("cpu")).features
    expected = frechet_distance(features(some), features(fake))
    assert digits["frechet"] == pytest.approx(expected, rel=1e-4)


POINTS = {"gaussian1d": 1, "ring8": 2, "grid25": 2, "spiral": 2}


@pytest.mark.parametrize("name", POINTS)
def test_points_are_measured_too(name, tmp_path, measured):
    d = POINTS[name]
    torch.manual_seed(0)
    widths, sizes = (8,), {"data_mean": torch.zeros(d), "data_std": torch.ones(())}
    generator = toy.Generator((d,), d, widths=widths, **sizes)
    discriminator = toy.Discriminator((d,), widths=widths, **sizes)
    net = {
        "generator": {"_target_": "gan_cli.networks.toy.Generator", "widths": [8]},
        "discriminator": {"_target_": "gan_cli.networks.toy.Discriminator", "widths": [8]},
        "z_dim": d, "prior": "normal",
    }  # fmt: skip
    data = getattr(toys, name)(n=2000)
    config = {"net": net, "image_shape": [d], "dataset": {"_target_": f"gan_cli.data.toys.{name}", "n": 2000}}
    modules = {"generator": generator, "ema": generator, "discriminator": discriminator}
    save_modules(tmp_path / "run" / "checkpoints", checkpoint.Progress(7, 70, 1.5), config, modules)
    report, found = measured(tmp_path / "run", n=500)
    scores = [] if name == "spiral" else ["jsd", "d_error"] if d == 1 else ["missed", "modes", "high_quality"]
    assert list(found) == [*scores, "c2st_accuracy", "one_nn_accuracy"]
    assert [row.split()[0] for row in report[2 : 2 + len(found)]] == list(found)
    assert found["one_nn_accuracy"]["value"] > 0.6 * (d - 1) and found["one_nn_accuracy"]["extractor"] == "points"
    noise = Noise("normal", d)
    if name in ("ring8", "grid25"):
        scores = quality.mode_counts(data.mixture, noise, n=500)(generator)
        assert {key: found[key]["value"] for key in scores} == scores
        assert found["high_quality"]["real_data"] == pytest.approx(1 - math.exp(-4.5), abs=0.02)
        assert found["modes"]["of"] == len(data.mixture.means)
    if name == "gaussian1d":
        scores = quality.scores(data, discriminator, noise)(generator)
        assert {key: found[key]["value"] for key in scores} == pytest.approx(scores)
        assert found["jsd"]["real_data"] == 0 and any("densities, unit nats" in line for line in report)
    with pytest.raises(UserError, match="nothing to measure: frechet, kid: not measured on points"):
        measured(tmp_path / "run", metrics=["frechet", "kid"])


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Folders of coloured noise, ``real``, ``same`` (other draws) and ``copies``, and ``fake.npz`` of grey images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setattr(two_sample, "STEPS", 100)
    rng = np.random.default_rng(0)
    for name in ("real", "same", "copies"):
        (tmp_path / name).mkdir()
        for i in range(60):
            image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            image.save(tmp_path / name / f"{i}.png")
            if name == "copies":
                (tmp_path / name / f"{i}.png").write_bytes((tmp_path / "real" / f"{i}.png").read_bytes())
    np.savez(tmp_path / "fake.npz", images=rng.integers(0, 60, (40, 8, 8, 1), dtype=np.uint8))
    return tmp_path


def test_two_sets_of_images_are_compared_without_a_run(call, pair, own_cache):
    done = call("gan-eval", "real=real", "fake=same", "device=cpu")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    title, _, *rows = done.stdout.splitlines()
    assert title == "60 real images (real), 60 fake (same), at 64x64 in colour, seed 0"
    assert rows[-1] == "also in eval.json"
    assert NO_INCEPTION + INSTEAD in rows
    found = json.loads((pair / "eval.json").read_text())
    assert {"frechet_random", "precision", "recall", "c2st_accuracy", "one_nn_accuracy", "copying"} <= set(found)
    low, high = found["c2st_accuracy"]["null_interval"]
    assert low <= found["c2st_accuracy"]["value"] <= high
    assert 0.3 < found["copying"]["value"] < 0.7 and found["copying"]["identical"] == 0
    assert (found["copying"]["real"], found["copying"]["fake"], found["copying"]["split"]) == ("real", "same", "real")
    before = (pair / "eval.json").read_bytes()

    done = call("gan-eval", "real=real", "fake=copies", "device=cpu", "metrics=[memorisation]", "n=50")
    assert done.stdout.splitlines()[0] == "60 real images (real), 50 of 60 fake (copies), at 64x64 in colour, seed 0"
    assert done.stdout.splitlines()[-1] == "also in eval-2.json"
    assert (pair / "eval.json").read_bytes() == before
    found = json.loads((pair / "eval-2.json").read_text())["copying"]
    assert (found["value"], found["identical"], found["n_fake"], found["n_real"]) == (1, 50, 50, 60)

    done = call("gan-eval", "real=real", "fake=fake.npz", "device=cpu", "metrics=[c2st,one_nn,frechet_random]")
    assert done.stdout.startswith("60 real images (real), 40 fake (fake.npz), at 8x8 in grey, seed 0\n")
    found = json.loads((pair / "eval-3.json").read_text())
    assert found["one_nn_accuracy"]["value"] > 0.9 and found["one_nn_accuracy"]["n_real"] == 40


def test_of_60_images_and_60_there_is_one_subset_of_60():
    data = mnist(split="test")
    real = Dataset(data.images[:60], data.labels[:60], data.class_names)
    alike = measurement.Pair(real, data.images[60:120], 60, 0, torch.device("cpu"), 50)
    assert suite.kid(alike)["kid"].error is None
    assert suite.kid(measurement.Pair(real, data.images[60:100], 60, 0, torch.device("cpu"), 50))["kid"].error > 0


def test_a_folder_of_digits_by_class_is_judged_as_digits(pair, digits):
    data = mnist(root=str(digits))
    for i in range(60):
        (pair / "digits" / str(int(data.labels[i]))).mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.images[i, 0].numpy()).save(pair / "digits" / str(int(data.labels[i])) / f"{i}.png")
    np.savez(pair / "fake.npz", images=data.images[60:100].permute(0, 2, 3, 1).numpy())
    of = {"ckpt": None, "real": "digits", "fake": "fake.npz", "metrics": ["frechet", "modes"], "n": 64, "seed": 0}
    of |= {"extractor": {"weights": None}, "own_metrics": {}}
    report = evaluate.run({**of, "device": "cpu", "batch_size": 50}).splitlines()
    assert "in grey" in report[0] and all("digit classifier" in row for row in report[2:5])
    assert [row.split()[0] for row in report[2:5]] == ["frechet", "classes_hit", "class_kl"]


def test_sets_that_cannot_be_compared_get_one_line(call, pair):
    (pair / "few").mkdir()
    for i in range(3):
        (pair / "few" / f"{i}.png").write_bytes((pair / "real" / f"{i}.png").read_bytes())
    images = np.zeros((20, 8, 8, 3), np.uint8)
    np.savez("few.npz", images=images[:15])
    np.savez("floats.npz", images=images.astype(np.float32))
    np.savez("points.npz", samples=np.zeros((20, 2), np.float32))
    np.savez("wide.npz", images=images[:, :4])
    np.save("array.npy", images)
    (pair / "array.npy").rename(pair / "array.npz")
    np.savez("pickle.npz", images=np.array([Payload(pair / "canary")], dtype=object))
    (pair / "damaged.npz").write_bytes((pair / "fake.npz").read_bytes()[:300])
    for words, line in [
        (["real=real", "fake=same", "ckpt=x"], "leave real out"),
        (["real=real"], "real=FOLDER fake=FOLDER"),
        (["fake=real"], "real=FOLDER fake=FOLDER"),
        ([], "ckpt is needed: ckpt=PATH"),
        (["real=real", "fake=pickle.npz"], "fake=pickle.npz can't be read; give a folder of images, or an .npz of"),
    ]:
        done = call("gan-eval", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert line in done.stderr
    for real, fake, line in [
        ("few", "same", "real=few has 3 images, too few to compare: at least 16"),
        ("real", "few", "fake=few has 3 images, too few to compare: at least 16"),
        ("real", "few.npz", "fake=few.npz has 15 images, too few to compare: at least 16"),
        ("fake.npz", "same", "real=fake.npz is not a folder"),
        ("real", "nowhere", "fake=nowhere: no such folder or file"),
        ("real", "floats.npz", "holds float32 of shape"),
        *(("real", f"{name}.npz", f"fake={name}.npz can't be read") for name in ("points", "array", "damaged")),
    ]:
        with pytest.raises(UserError, match=line) as told:
            read_pair(real, fake)
        assert "\n" not in str(told.value)
    assert not [*pair.glob("eval*.json"), *pair.glob("canary")]
    reals, fakes = read_pair("real", "wide.npz")
    assert (reals.images.shape[1:], fakes.shape[1:]) == ((3, 4, 8), (3, 4, 8)), "rectangles are compared as they are"


def test_without_inception_two_sample_tests_look_at_random_features(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    rng = torch.Generator().manual_seed(1)
    train, test, fake = (torch.randint(0, 256, (60, 3, 4, 4), dtype=torch.uint8, generator=rng) for _ in range(3))
    data = measurement.Data(Dataset(train), None, Dataset(test), lambda: fake, 60, 0, torch.device("cpu"), 50)
    figures, skipped = suite.measure(data, suite.METRICS, ["jsd", "c2st", "one_nn", "memorisation", "parzen"])
    assert skipped == ["jsd: not measured on images"]
    assert [name for name, figure in figures.items() if figure.extractor is None] == ["copying", "parzen"]
    assert figures["c2st_accuracy"].extractor.name == figures["one_nn_accuracy"].extractor.name == RANDOM
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
    with pytest.raises(UserError, match=r"extractor.weights=.*mine.pth is not there; give the file weights.pth"):
        inception.load_inception(str(tmp_path / "mine.pth"))
    (tmp_path / "mine.pth").write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"mine.pth is not Inception's weights"):
        inception.load_inception(str(tmp_path / "mine.pth"))


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
    assert {*suite.METRICS, *points.METRICS, *translation_suite.METRICS} == {*catalogue.FAMILIES}
    listed = call("gan-eval", "--help")
    assert listed.returncode == 0
    assert all(f"\n  {name} " in listed.stdout for name in catalogue.FAMILIES)
    for typed in ("metrics=[kid,freche]", "metrics=freche"):
        done = call("gan-eval", "ckpt=nowhere", typed)
        assert (done.returncode, done.stderr) == (2, "gan-eval: no metrics 'freche'; did you mean 'frechet'?\n")
