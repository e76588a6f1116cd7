"""Where ``gan-sample`` writes: what is overwritten and what is refused, before a network is built."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import NET, save_checkpoint
from PIL import Image

from gan_cli.commands import sample
from gan_cli.config.saved import SavedRun
from gan_cli.errors import UserError
from gan_cli.rundir import checkpoint


@pytest.fixture
def draw(tmp_path):
    """Sample three images from a small checkpoint: ``draw(out)``."""
    path = save_checkpoint(tmp_path / "run", dataset={"_target_": "gan_cli.data.idx.mnist", "size": 8})
    settings = {
        "n": 3, "figure": "grid", "seed": 0, "weights": "ema", "batch_size": 32, "labels": None, "device": "cpu",
        "root": None, "trust": [],
    }  # fmt: skip
    return lambda out, **more: sample.run(
        {"ckpt": str(path), "out": None if out is None else str(out), **settings, **more}
    )


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("x.png", "exists and is not a .png file"),
        ("x.npz", "exists and is not a .npz file"),
        ("x.PNG", "exists and is not a .png file"),
        ("folder", "is a file, not a folder"),
        ("v1.5", "is a file, not a folder"),
    ],
)
@pytest.mark.parametrize("content", [b"precious", b"\x89PN", b"P"])
def test_a_file_of_another_kind_is_not_overwritten(draw, tmp_path, monkeypatch, name, complaint, content):
    def never(*_):
        raise AssertionError("the network is built first")

    monkeypatch.setattr(SavedRun, "generator", never)
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=complaint) as told:
        draw(path)
    assert "\n" not in str(told.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "suffix", ["safetensors", "zip", "yaml", "json", "txt", "csv", "npy", "pt", "jpg", "gif", "JSON"]
)
def test_suffixes_that_promise_another_kind_are_refused(draw, tmp_path, suffix):
    with pytest.raises(UserError, match=f"can't write .{suffix.lower()}; use .png"):
        draw(tmp_path / f"x.{suffix}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_not_waited_for(draw, tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(UserError, match="is not a .png file"):
        draw(tmp_path / "x.png")


def test_what_was_written_before_is_written_again(draw, tmp_path):
    for _ in range(2):
        with Image.open(draw(tmp_path / "new" / "x.png")) as grid:
            assert grid.format == "PNG"
        with np.load(draw(tmp_path / "new" / "x.npz")) as archive:
            assert archive["images"].shape == (3, 8, 8, 1)
        assert draw(None) == tmp_path / "run" / "sample.png"


@pytest.mark.parametrize("name", ["run", "new", "called.png", "called.json"])
def test_images_go_into_a_folder(draw, tmp_path, name):
    if name.startswith("called"):
        (tmp_path / name).mkdir()  # a folder that exists is one, whatever its name
    assert draw(tmp_path / name) == tmp_path / name
    assert sorted(p.name for p in (tmp_path / name).glob("*.png")) == ["000000.png", "000001.png", "000002.png"]


def test_figures_are_pictures_in_the_run_folder(draw, tmp_path, monkeypatch):
    monkeypatch.setattr(sample.figures, "write_neighbours", lambda *a: shown.append(a))
    shown = []
    assert draw(None, figure="neighbours") == tmp_path / "run" / "neighbours.png"
    ((samples, train, _, extractor),) = shown
    assert (len(samples), len(train), extractor.name) == (3, 60_000, "digit classifier")
    path = draw(None, figure="interpolation")
    assert path == tmp_path / "run" / "interpolation.png"
    with Image.open(path) as picture:
        assert picture.format == "PNG"
    for out in ("x.npz", "folder"):
        with pytest.raises(UserError, match="figure=interpolation is a picture: out=FILE.png"):
            draw(tmp_path / out, figure="interpolation")


@pytest.mark.parametrize("shape", [[1500, 8, 8], [5, 8, 8], [2, 8, 8], [1, 8], [1, 8, 4097], [True, 8, 8], "1,8", None])
def test_what_pictures_cannot_have_for_a_shape_is_refused_before_a_network_is_built(shape):
    opened = checkpoint.Checkpoint(Path("x"), checkpoint.Progress(), {"net": NET, "image_shape": shape}, {}, {})
    with pytest.raises(UserError, match="^x has images of shape .*: they should be .1, 3 or 4 channels, height, width"):
        SavedRun(opened).generator()
