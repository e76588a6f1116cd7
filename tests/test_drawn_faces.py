"""Drawn faces: the same heads at every call and by any number of processes, and attributes that the pixels confirm."""

import json
import sys

import pytest
import torch
from helpers import FAST
from scipy.stats import entropy

from gan_cli.data import NoSplit, drawing
from gan_cli.data.drawn_faces import drawn_faces
from gan_cli.errors import UserError
from gan_cli.metrics import suite
from gan_cli.metrics.extractor import face_extractor
from gan_cli.metrics.face_classifier import likeliest
from gan_cli.metrics.measurement import Data, Inapplicable

pytest.importorskip("dicebear")

SMALL = {"n": 20, "size": 32}


@pytest.fixture(scope="module")
def faces():
    return drawn_faces(**SMALL)


def _column(dataset, name):
    """The values of an attribute, one for each image."""
    values = dataset.attributes.values
    return [values[name][i] for i in dataset.attributes.indices[:, list(values).index(name)].tolist()]


def test_the_attributes_are_those_of_the_pixels(faces):
    assert faces.images.shape == (20, 3, 32, 32)
    corners = [bytes(image[:, 0, 0].tolist()).hex() for image in faces.images]
    assert corners == _column(faces, "backgroundColor")
    assert len(set(corners)) > 2
    dark = [bytes.fromhex(value)[1] for value in _column(faces, "skinColor")]  # the green of the skin
    cheeks = faces.images[:, 1, 20:22, 13:15].float().mean(dim=(1, 2))
    assert torch.corrcoef(torch.stack([torch.tensor(dark).float(), cheeks]))[0, 1] > 0.5


def test_the_same_heads_at_every_call_in_memory_too(faces, monkeypatch, tmp_path, caplog):
    again = drawn_faces(**SMALL)
    (tmp_path / "file").touch()
    monkeypatch.setenv("GAN_CLI_CACHE", str(tmp_path / "file" / "in"))
    in_memory = drawn_faces(**SMALL)
    assert "GAN_CLI_CACHE=FOLDER names a place" in caplog.text
    for other in (again, in_memory):
        assert torch.equal(other.images, faces.images)
        assert torch.equal(other.attributes.indices, faces.attributes.indices)
        assert other.fingerprint == faces.fingerprint


@pytest.mark.slow
def test_two_processes_draw_what_one_draws_even_if_one_ends_early(monkeypatch):
    style = drawing.style_of("adventurer")
    alone = list(drawing.records(style, "0-", 12, 16, workers=1))
    monkeypatch.setattr(drawing, "FEWEST", 2)
    assert list(drawing.records(style, "0-", 12, 16, workers=2)) == alone
    started = drawing._started

    def ending(stack, words):
        return started(stack, [*words[:3], "3", *words[4:]])  # of 3 heads alone

    monkeypatch.setattr(drawing, "_started", ending)
    assert list(drawing.records(style, "0-", 12, 16, workers=2)) == alone


def test_held_out_heads_have_other_seeds_and_the_classes_of_the_training_images():
    train, test = (drawn_faces(**SMALL, label="hairColor", split=split) for split in ("train", "test"))
    assert 0 < len(test) <= 4
    assert not (test.images[:, None] == train.images[None]).flatten(2).all(dim=2).any()
    for part in (train, test):
        assert [part.class_names[i] for i in part.labels.tolist()] == _column(part, "hairColor")
    assert set(_column(train, "hairColor")) == set(train.class_names) == set(test.class_names)
    with pytest.raises(NoSplit):
        drawn_faces(**SMALL, split="validation")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"label": "hairColour"}, "no dataset.label 'hairColour': choose from .*did you mean 'hairColor'"),
        ({"style": "adventurrer"}, "no dataset.style 'adventurrer' in dicebear-styles.*did you mean 'adventurer'"),
        ({"n": 0}, "dataset.n=0 should be from 1"),
        ({"size": 4}, "dataset.size=4 from 8"),
    ],
)
def test_a_wrong_word_gets_one_line(options, told):
    with pytest.raises(UserError, match=told):
        drawn_faces(**{**SMALL, **options})


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dicebear", None)
    with pytest.raises(UserError, match=r"pip install 'gan-cli\[faces\]'"):
        drawn_faces(**SMALL, style="micah")


def test_a_run_names_the_licence(call, tmp_path):
    run = ["dataset=drawn_faces", "dataset.n=20", "dataset.size=32", *FAST, "steps=2", "sinks=[]", "run_dir=run"]
    done = call("gan-train", *run)
    assert done.returncode == 0, done.stderr
    assert "20 drawn faces of 32x32: Adventurer by Lisa Wischofsky, CC BY 4.0" in done.stdout
    assert "licence: Adventurer by Lisa Wischofsky, CC BY 4.0" in (tmp_path / "run" / "config.yaml").read_text()


def test_the_shipped_classifier_counts_the_attributes():
    train, test = drawn_faces(n=200), drawn_faces(n=200, split="test")
    data = Data(train, None, test, lambda: test.images, 40, 0, torch.device("cpu"), 50)
    found = suite.attributes(data)
    assert list(found) == ["frechet_attributes", "attribute_kl", "values_hit"]
    for one in found.values():  # the held-out faces are the samples here
        assert one.value == pytest.approx(one.real_data) and one.extractor.name == "face classifier"
    assert data.notes == []  # nothing stands in for Inception where it is not asked
    sizes = [len(values) for values in train.attributes.values.values()]
    logits = data.features_by(face_extractor)
    picked = likeliest(logits.extractor.classify(logits.fake), sizes)
    assert (picked == test.attributes.indices).double().mean() > 0.97
    column = list(train.attributes.values).index("backgroundColor")
    counts = [torch.bincount(of.attributes.indices[:, column].int(), minlength=6)[:5].numpy() for of in (test, train)]
    expected = entropy(*counts)
    assert found["attribute_kl"].details["backgroundColor"] == pytest.approx(expected, rel=1e-6)
    others = Data(drawn_faces(**SMALL, style="lorelei"), None, None, lambda: None, 20, 0, torch.device("cpu"), 50)
    with pytest.raises(Inapplicable, match="needs drawn faces of style=adventurer"):
        suite.attributes(others)


def test_styles_have_their_own_licences():
    assert drawing.style_of("lorelei").licence == "Lorelei by Lisa Wischofsky, CC0 1.0"
    assert json.dumps(drawing.style_of("lorelei").attributes)  # plain data
