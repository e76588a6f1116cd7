"""What ``gan-sample`` draws and where it writes: what is overwritten and what is refused."""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import NET, save_checkpoint, save_modules
from PIL import Image
from torch import nn

from gan_cli.commands import sample
from gan_cli.config import selection
from gan_cli.config.saved import SavedRun
from gan_cli.data import to_unit
from gan_cli.errors import UserError
from gan_cli.networks import mlp
from gan_cli.pictures import animation
from gan_cli.rundir import checkpoint


@pytest.fixture
def draw(tmp_path):
    """Sample three images from a small checkpoint: ``draw(out)``."""
    path = save_checkpoint(tmp_path / "run", dataset={"_target_": "gan_cli.data.idx.mnist", "size": 8})
    settings = {
        "n": 3, "figure": "grid", "scale": 1, "truncation": 1.0,
        "latents": 3, "frames": 4, "seed": 0, "weights": "ema", "batch_size": 32,
        "labels": None, "device": "cpu", "root": None, "trust": [],
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
    with pytest.raises(UserError, match="can't write .npz; use .png .a figure., .gif, .webp or .mp4 .a loop."):
        draw(tmp_path / "x.npz", figure="interpolation")
    for out in ("x.npz", "folder", "x.gif"):
        with pytest.raises(UserError, match="figure=neighbours is a picture: out=FILE.png"):
            draw(tmp_path / out, figure="neighbours")


def test_ranked_samples_fall_in_the_logits_of_d(draw, tmp_path, monkeypatch):
    torch.manual_seed(0)
    generator, discriminator = mlp.Generator((1, 8, 8), 4, widths=(8,)), mlp.Discriminator((1, 8, 8), widths=(8,))
    save_modules(
        tmp_path / "run/checkpoints", checkpoint.Progress(7, 70, 1.5), {"net": NET, "image_shape": [1, 8, 8]},
        {"generator": generator, "ema": generator, "discriminator": discriminator},
    )  # fmt: skip
    shown = []
    monkeypatch.setattr(sample, "_picture", lambda images, *_: shown.append(images) or Image.new("L", (1, 1)))
    assert draw(None, figure="ranked", n=40) == tmp_path / "run/ranked.png"
    logits = discriminator(to_unit(shown[0])).detach()
    assert (logits.diff() <= 1e-6).all() and logits[0] > logits[-1]
    draw(None, n=40)
    assert torch.equal(shown[1].flatten(1).sort(dim=0)[0], shown[0].flatten(1).sort(dim=0)[0])  # the same samples


@pytest.mark.parametrize("shape", [[1500, 8, 8], [5, 8, 8], [2, 8, 8], [1, 8], [1, 8, 4097], [True, 8, 8], "1,8", None])
def test_what_pictures_cannot_have_for_a_shape_is_refused_before_a_network_is_built(shape):
    opened = checkpoint.Checkpoint(Path("x"), checkpoint.Progress(), {"net": NET, "image_shape": shape}, {}, {})
    with pytest.raises(UserError, match="^x has images of shape .*: they should be .1, 3 or 4 channels, height, width"):
        SavedRun(opened).generator()


def _pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_one_image_is_written_at_its_own_size_and_scale_enlarges(draw, tmp_path):
    with np.load(draw(tmp_path / "x.npz", n=1)) as archive:
        (image,) = archive["images"][..., 0]
    assert np.array_equal(_pixels(draw(tmp_path / "x.png", n=1)), image)
    large = np.kron(image, np.ones((3, 3), np.uint8))
    assert np.array_equal(_pixels(draw(tmp_path / "x.png", n=1, scale=3)), large)
    assert np.array_equal(_pixels(draw(tmp_path / "new", n=2, scale=3) / "000000.png"), large)
    assert _pixels(draw(tmp_path / "x.png", n=4)).shape == (2 * 66 + 2,) * 2
    assert _pixels(draw(tmp_path / "x.png", n=4, scale=3)).shape == (2 * (3 * 64 + 2) + 2,) * 2
    for options in ({"out": tmp_path / "x.npz"}, {"out": None, "figure": "neighbours"}):
        with pytest.raises(UserError, match="scale= enlarges .*: leave it out here"):
            draw(**options, scale=2)
    with pytest.raises(UserError, match="scale=2000 makes images of 16000x16000, more than .*: choose a smaller"):
        draw(tmp_path / "x.png", n=1, scale=2000)


def test_a_folder_of_another_call_is_not_mixed_with(draw, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "curves.png").write_bytes(b"not of gan-sample")
    draw(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for options in ({"n": 2}, {"seed": [7]}, {"figure": "interpolation"}, {}):
        with pytest.raises(UserError, match="holds numbered PNGs already; choose another name, or empty it"):
            draw(folder, **options)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    draw(tmp_path / "seeds", seed=[7])
    with pytest.raises(UserError, match="holds numbered PNGs already"):
        draw(tmp_path / "seeds")


def test_seeds_as_typed():
    assert selection.seeds(7) == selection.seeds("007") == 7
    assert selection.seeds([3, 1, 3]) == [3, 1]
    assert selection.seeds("0-3") == [0, 1, 2, 3]
    assert selection.seeds(["5-6", 1, "6-7"]) == [5, 6, 1, 7]
    for wrong in ("a", "3-1", "1-", [], ["x"], [True], None, 1.5, [[1]], {"a": 1}, ["0-9999999999999999999"]):
        with pytest.raises(UserError, match="seed=.*: write one seed, seed=7, or a seed for each image") as told:
            selection.seeds(wrong)
        assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="at most 10,000,000 seeds"):
        selection.seeds(f"0-{2**63 - 1}")
    for wrong, line in ((-1, "too small: at least 0"), (2**63, "too large: at most")):
        with pytest.raises(UserError, match=line):
            selection.seeds(wrong)


def test_each_seed_has_an_image_of_its_own(call, draw, tmp_path, caplog):
    alone = [_pixels(draw(tmp_path / f"{seed}.png", n=1, seed=seed)) for seed in (3, 12)]
    with caplog.at_level(logging.WARNING):
        folder = draw(tmp_path / "new", seed=[3, 12], n=64)
        assert not caplog.messages
        with np.load(draw(tmp_path / "x.npz", seed=["3", "12-12"], n=5)) as archive:
            assert np.array_equal(archive["images"][..., 0], alone)
        assert caplog.messages == ["n=5 is not used: there is one image for each of 2 seeds"]
    assert sorted(path.name for path in folder.iterdir()) == ["seed0003.png", "seed0012.png"]
    assert np.array_equal([_pixels(folder / "seed0003.png"), _pixels(folder / "seed0012.png")], alone)
    done = call("gan-sample", "ckpt=run", "seed=1-3", "out=typed")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "typed").iterdir())) == 3
    done = call("gan-sample", "ckpt=nowhere", "seed=one")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "seed=one: write one seed" in done.stderr


class ByClass(nn.Module):
    """Images of one value: 51 times the class."""

    def __init__(self, image_shape, z_dim, classes):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, z, labels):
        return (labels / 2.5 - 1)[:, None, None, None].expand(-1, 1, 8, 8) * self.factor


@pytest.fixture
def by_class(draw, tmp_path, monkeypatch):
    """A conditional run of the classes cat, dog and 2020."""
    monkeypatch.setattr(SavedRun, "generator", lambda *_: ByClass((1, 8, 8), 4, 3))
    config = {"net": NET, "image_shape": [1, 8, 8], "class_names": ["cat", "dog", "2020"]}
    save_modules(tmp_path / "classes" / "checkpoints", checkpoint.Progress(1, 1, 1.0), config, {})
    return lambda out, **more: draw(out, ckpt=str(tmp_path / "classes"), **more)


def test_classes_are_asked_for_by_number_or_name(by_class, tmp_path):
    def labels(asked):
        with np.load(by_class(tmp_path / "x.npz", labels=asked)) as archive:
            assert np.array_equal(archive["images"][:, 0, 0, 0], archive["labels"] * 51)
            return archive["labels"].tolist()

    assert labels("dog") == labels(1) == [1, 1, 1]
    assert labels(["dog", 0, 2020]) == [1, 0, 2]
    assert labels("each") == labels(None) == [0, 1, 2]
    with pytest.raises(UserError, match="^no class 'catt'; did you mean 'cat'"):
        labels("catt")
    with pytest.raises(UserError, match="^no class 'xx'; choose from 2020, cat, dog"):
        labels([1, "xx"])
    with pytest.raises(UserError, match="labels=3 should be classes from 0 to 2"):
        labels([0, 3])
    folder = by_class(tmp_path / "both", seed=[4, 5], labels=["cat", "dog"])
    assert sorted(path.name for path in folder.iterdir()) == [
        f"seed000{seed}-class{label}.png" for seed in (4, 5) for label in (0, 1)
    ]
    grid = by_class(tmp_path / "x.png", seed=[4, 5, 6], labels=["cat", "dog"])
    assert _pixels(grid).shape == (2 * 66 + 2, 3 * 66 + 2)


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_a_loop_is_an_animation(draw, tmp_path, suffix):
    with Image.open(draw(tmp_path / f"x.{suffix}", figure="interpolation", scale=4)) as animation:
        assert (animation.format.lower(), animation.n_frames, animation.size) == (suffix, 3 * 4, (32, 32))
        assert animation.info["loop"] == 0
        animation.load()
        assert animation.info["duration"] == 40
    draw(tmp_path / f"x.{suffix}", figure="interpolation")  # its own kind is overwritten
    (tmp_path / f"y.{suffix}").write_bytes(b"RIFF1234WAVEfmt")
    with pytest.raises(UserError, match=f"exists and is not a .{suffix} file"):
        draw(tmp_path / f"y.{suffix}", figure="interpolation")


def test_a_loop_is_a_folder_of_frames_and_leads_through_the_seeds(draw, tmp_path):
    folder = draw(tmp_path / "frames", figure="interpolation", seed=[3, 12])
    assert sorted(path.name for path in folder.iterdir()) == [f"{i:06d}.png" for i in range(8)]
    for frame, seed in ((0, 3), (4, 12)):
        corner = _pixels(draw(tmp_path / "x.png", n=1, seed=seed)).astype(int)
        assert np.abs(_pixels(folder / f"{frame:06d}.png") - corner).max() <= 1
    with pytest.raises(UserError, match="a loop leads through two latents or more"):
        draw(tmp_path / "one", figure="interpolation", seed=[3])
    with pytest.raises(UserError, match="as a PNG takes one seed; a list of seeds makes a loop"):
        draw(None, figure="interpolation", seed=[3, 12])


def test_a_loop_has_a_panel_for_each_class(by_class, tmp_path):
    folder = by_class(tmp_path / "frames", figure="interpolation", labels=["dog", "2020"])
    shown = _pixels(folder / "000011.png")
    assert shown.shape == (68, 2 * 66 + 2)
    assert (shown[20, 20], shown[20, 90]) == (51, 102)


def test_a_video_needs_imageio_ffmpeg(draw, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match="an .mp4 needs imageio-ffmpeg: pip install 'gan-cli.video.'"):
        draw(tmp_path / "x.mp4", figure="interpolation")
    assert not (tmp_path / "x.mp4").exists()


def test_a_video_has_even_sides():
    frame = animation._even(Image.new("L", (7, 6), 9))
    assert (frame.mode, frame.size) == ("RGB", (8, 6))
    assert (frame.getpixel((6, 5)), frame.getpixel((7, 5))) == ((9,) * 3, (255,) * 3)


def test_a_video_has_every_frame(draw, tmp_path, monkeypatch):
    given, ffmpeg = [], type(sys)("imageio_ffmpeg")

    def write_frames(path, size, **options):
        frame = yield
        try:
            while True:
                given.append(np.frombuffer(frame, np.uint8).reshape(size[1], size[0], 3))
                frame = yield
        finally:
            Path(path).write_bytes(b"0000ftyp")

    ffmpeg.get_ffmpeg_exe, ffmpeg.write_frames = lambda: "ffmpeg", write_frames
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", ffmpeg)
    frames = draw(tmp_path / "frames", figure="interpolation", scale=2)
    assert draw(tmp_path / "x.mp4", figure="interpolation", scale=2).read_bytes() == b"0000ftyp"
    shown = np.stack([_pixels(path) for path in sorted(frames.iterdir())])
    assert np.array_equal(np.stack(given), shown[..., None].repeat(3, axis=3))
