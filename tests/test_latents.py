"""Latents as data: written, drawn again, refused; the figures of the latent space."""

import io
import logging
import math
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from helpers import Payload, save_checkpoint, save_modules
from PIL import Image
from scipy import stats
from scipy.interpolate import CubicSpline

from gan_cli.commands import sample
from gan_cli.config import selection
from gan_cli.config.saved import open_run
from gan_cli.errors import UserError
from gan_cli.latents import Latents, Mixing
from gan_cli.networks import mlp, stylegan2
from gan_cli.noise import closed_cubic, sample_noise, threshold, truncated
from gan_cli.pictures import latent_space
from gan_cli.rundir.checkpoint import Progress
from gan_cli.untrusted.npz import read_arrays

SETTINGS = {
    "n": 4, "out": None, "figure": "grid", "scale": 1, "truncation": 1.0, "latents": 3, "frames": 4, "seed": 0,
    "weights": "ema", "batch_size": 32, "labels": None, "device": "cpu", "root": None, "trust": [],
}  # fmt: skip


def _save(folder, generator, target, z_dim, **config):
    net = {"generator": {"_target_": target, **config.pop("options")}, "z_dim": z_dim, "prior": "normal"}
    modules = {"generator": generator, "ema": generator}
    save_modules(folder / "checkpoints", Progress(7), {"net": net, "image_shape": [1, 8, 8], **config}, modules)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of three runs of untrained networks: ``plain``, ``styled`` and ``classes``."""
    folder = tmp_path_factory.mktemp("runs")
    save_checkpoint(folder / "plain")
    torch.manual_seed(0)
    small, target = {"width": 4, "max_width": 8}, "gan_cli.networks.stylegan2.Generator"
    _save(folder / "styled", stylegan2.Generator((1, 8, 8), 6, **small), target, 6, options=small)
    generator = stylegan2.Generator((1, 8, 8), 6, classes=3, **small)
    _save(folder / "classes", generator, target, 6, options=small, class_names=["cat", "dog", "owl"])
    return folder


@pytest.fixture
def draw(tmp_path, runs):
    """gan-sample of one of the ``runs``: ``draw(run, out, **more)``."""
    return lambda run, out=None, **more: sample.run(
        {**SETTINGS, "ckpt": str(runs / run), "out": None if out is None else str(tmp_path / out), **more}
    )


def _arrays(path):
    with np.load(path) as archive:
        return dict(archive)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("run", ["plain", pytest.param("styled", marks=SLOW), "classes"])
def test_what_was_written_is_drawn_again(draw, runs, tmp_path, run):
    first = draw(run, "a.npz", n=40)
    again = draw(run, "b.npz", latents=str(first), seed=5)
    assert first.read_bytes() == again.read_bytes()
    arrays = _arrays(first)
    assert arrays["z"].shape == (40, 4 if run == "plain" else 6) and arrays["z"].dtype == np.float32
    assert sorted(arrays) == ["images", *(["labels"] if run == "classes" else []), "z"]
    generator = open_run(runs / run).generator()
    labels = [torch.from_numpy(arrays["labels"])] if run == "classes" else []
    images = generator(torch.from_numpy(arrays["z"]), *labels).add(1).mul(127.5).round().clamp(0, 255)
    assert (images.permute(0, 2, 3, 1).detach().numpy() - arrays["images"].astype(float)).__abs__().max() <= 1
    np.savez(tmp_path / "double.npz", z=arrays["z"][::-1].astype(np.float64))
    if run != "classes":
        turned = _arrays(draw(run, "c.npz", latents=str(tmp_path / "double.npz")))
        assert np.array_equal(turned["images"], arrays["images"][::-1])


def test_w_is_drawn_by_a_generator_that_has_it(draw, runs, tmp_path):
    generator = open_run(runs / "classes").generator()
    z = _arrays(draw("classes", "z.npz"))
    with torch.no_grad():
        w = generator.mapped(torch.from_numpy(z["z"]), torch.from_numpy(z["labels"])).numpy()
    np.savez(tmp_path / "w.npz", w=w)
    drawn = _arrays(draw("classes", "drawn.npz", latents=str(tmp_path / "w.npz")))
    assert np.abs(drawn["images"].astype(int) - z["images"].astype(int)).max() <= 1
    assert np.array_equal(drawn["w"], w)
    draw("classes", "w.webp", figure="walk", latents=str(tmp_path / "w.npz"))
    np.savez(tmp_path / "short.npz", w=np.zeros((4, 4), np.float32))
    for options, line in (
        ({"run": "plain", "latents": str(tmp_path / "short.npz")}, "holds w, and this generator has z alone"),
        ({"truncation": 0.5}, "drawn as they are: leave truncation= out"),
        ({"figure": "interpolation"}, "takes latents z, and the file of latents= holds w"),
        ({"figure": "truncation"}, "takes latents z, and the file of latents= holds w"),
    ):
        with pytest.raises(UserError, match=line):
            draw(**{"run": "classes", "latents": str(tmp_path / "w.npz"), **options})


def test_classes_without_labels_in_the_file_have_all_of_its_latents(draw, tmp_path):
    np.savez(tmp_path / "z.npz", z=np.float32([[1] * 6, [0, 1] * 3]))
    arrays = _arrays(draw("classes", "a.npz", latents=str(tmp_path / "z.npz"), labels=["owl", "cat"]))
    assert arrays["labels"].tolist() == [2, 2, 0, 0]
    assert np.array_equal(arrays["z"][:2], arrays["z"][2:])
    again = _arrays(draw("classes", "b.npz", latents=str(tmp_path / "a.npz"), labels=["dog"]))
    assert again["labels"].tolist() == [1] * 4  # the line's word goes before the file's


GOOD = np.zeros((3, 4), np.float32)
WRONG = {
    "neither": ({"y": GOOD}, "holds neither z nor w"),
    "both": ({"z": GOOD, "w": GOOD}, "holds both z and w: give one"),
    "dimensions": ({"z": GOOD[:, :3]}, r"holds z of float32 .3, 3.: the run has float32 .N, 4."),
    "one": ({"z": GOOD[0]}, r"holds z of float32 .4.: the run has"),
    "none": ({"z": GOOD[:0]}, r"holds z of float32 .0, 4.: the run has"),
    "whole": ({"z": GOOD.astype(int)}, "holds z of int64"),
    "nan": ({"z": GOOD + np.nan}, "not finite, or further than 1000 from 0"),
    "inf": ({"z": GOOD - np.inf}, "not finite, or further than 1000 from 0"),
    "far": ({"z": GOOD + 1e30}, "not finite, or further than 1000 from 0"),
    "objects": ({"z": np.array([[1, "x"]], object)}, "holds objects under the name z, which are never unpickled"),
    "words": ({"z": np.array([["x"]])}, "holds z of type <U1, not of numbers"),
    "records": ({"z": np.zeros(3, [("a", "f4")])}, "holds z of type .*, not of numbers"),
    "labels": ({"z": GOOD, "labels": np.zeros(3, int)}, "holds labels, and the run's generator is not conditional"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_latents_that_the_run_does_not_have_get_a_line(draw, tmp_path, kind):
    arrays, line = WRONG[kind]
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=line) as told:
        draw("plain", "x.png", latents=str(tmp_path / "x.npz"))
    assert "\n" not in str(told.value) and not list(tmp_path.glob("*.png"))


def test_labels_of_a_file_are_checked(draw, tmp_path):
    z = np.zeros((3, 6), np.float32)
    for labels, line in (
        (np.array([0, 1, 3]), "labels that are not from 0 to 2"),
        (np.array([-1, 1, 0]), "labels that are not from 0 to 2"),
        (np.array([0, 1]), r"labels of int64 .2.: they should be int64 .3."),
        (np.array([0, 1.0, 0]), "labels of float64"),
    ):
        np.savez(tmp_path / "x.npz", z=z, labels=labels)
        with pytest.raises(UserError, match=line):
            draw("classes", latents=str(tmp_path / "x.npz"))


def _zip(path, content, name="z.npy", times=1):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for _ in range(times):
            archive.writestr(name, content)


def _npy(header, data=b"", version=b"\x01\x00"):
    text = header.encode() + b"\n"
    size = len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + size + text + data


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}"
HOSTILE = {
    "no zip": (b"\x93NUMPY", "is no .npz file that can be read"),
    "no array": (b"x" * 100, "holds no array z that can be read"),
    "a longer shape": (_npy(HEADER.replace("3, 4", "2**40, 4")), "holds no array z that can be read"),
    "a huge shape": (_npy(HEADER.replace("3, 4", "1099511627776, 4")), "of a shape that is not its size"),
    "a negative shape": (_npy(HEADER.replace("3, 4", "-3, -4"), bytes(48)), "of a shape that is not its size|no array"),
    "cut off": (_npy(HEADER, bytes(40)), "of a shape that is not its size"),
    "a huge header": (_npy(HEADER + " " * 100_000, bytes(48), b"\x02\x00"), "holds no array z that can be read"),
    "an unknown version": (_npy(HEADER, bytes(48), b"\x03\x00"), "holds no array z that can be read"),
    "code in the header": (_npy("__import__('os').mkdir('canary')"), "holds no array z that can be read"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_gets_a_line_and_no_memory(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    content, line = HOSTILE[kind]
    if kind == "no zip":
        (tmp_path / "x.npz").write_bytes(content)
    else:
        _zip(tmp_path / "x.npz", content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=line) as told:
        read_arrays(tmp_path / "x.npz", ("z", "w"))
    assert tracemalloc.get_traced_memory()[1] < 3_000_000
    tracemalloc.stop()
    assert "\n" not in str(told.value) and not (tmp_path / "canary").exists()


def test_a_pickle_is_not_opened(draw, tmp_path):
    np.savez(tmp_path / "x.npz", z=np.array([Payload(tmp_path / "canary")], object))
    with pytest.raises(UserError, match="holds objects under the name z"):
        draw("plain", latents=str(tmp_path / "x.npz"))
    assert not (tmp_path / "canary").exists()


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    """A gigabyte and more of zeros takes a megabyte; the entry says so, or lies about it."""
    path, block = tmp_path / "x.npz", bytes(2**20)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("z.npy", "w") as file,
    ):
        file.write(_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}"))
        for _ in range(64):
            file.write(block)
    whole = path.read_bytes()
    size = (2**26 + len(_npy(HEADER))).to_bytes(4, "little")
    assert whole.count(size) >= 1
    for claimed, line in ((2**31, "more than 1,073,741,824"), (len(_npy(HEADER)) + 48, "is no .npz file")):
        path.write_bytes(whole.replace(size, claimed.to_bytes(4, "little")))
        tracemalloc.start()
        with pytest.raises(ValueError, match=line):  # the checksum of the second is that of all the zeros
            read_arrays(path, ["z"])
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
        tracemalloc.stop()


def test_an_array_that_comes_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        _zip(tmp_path / "x.npz", _npy(HEADER, bytes(48)), times=2)
    with pytest.raises(ValueError, match="holds an array twice"):
        read_arrays(tmp_path / "x.npz", ["z"])
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    _zip(tmp_path / "y.npz", buffer.getvalue())
    assert np.array_equal(read_arrays(tmp_path / "y.npz", ["z"])["z"], np.arange(6.0).reshape(2, 3))


def test_latents_as_typed(call, tmp_path):
    assert selection.latents(8) == 8 and selection.latents("a/B.NPZ") == "a/B.NPZ"
    for wrong, line in (
        (1, "too small: at least 2"), (1001, "too large: at most 1000"), (True, "should be a number"),
        ("x.pt", "should be a number"), (None, "should be a number"), ([3], "should be a number"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=line):
            selection.latents(wrong)
    save_checkpoint(tmp_path / "run")
    done = call("gan-sample", "ckpt=run", "latents=nowhere.npz")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "nowhere.npz: no such file" in done.stderr
    done = call("gan-sample", "ckpt=run", "latents=1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "latents=1 is too small" in done.stderr


@pytest.mark.parametrize("psi", [0.05, 0.5, 0.9, 0.999])
def test_the_truncated_normal_has_the_deviation_psi(psi):
    t = threshold(psi)
    assert stats.truncnorm.std(-t, t) == pytest.approx(psi, abs=1e-9)
    z = sample_noise("normal", 500, 3, rng=torch.Generator().manual_seed(0))
    found = truncated(z, "normal", psi)
    expected = stats.truncnorm.ppf(stats.norm.cdf(z.double().numpy()), -t, t)
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5, atol=1e-7)
    assert found.abs().max() <= t
    far = truncated(torch.tensor([[-30.0, 30.0]]), "normal", psi)
    torch.testing.assert_close(far, torch.tensor([[-t, t]]))


def test_no_truncation_and_a_uniform_prior():
    z = sample_noise("uniform", 50, 3)
    assert truncated(z, "normal", 1.0) is z
    assert torch.equal(truncated(z, "uniform", 0.5), z / 2)
    assert truncated(z, "normal", 0.0).abs().max() == 0


def test_gan_sample_truncates_the_prior_of_a_generator_without_w(draw, caplog, tmp_path):
    whole, narrow = (_arrays(draw("plain", f"{psi}.npz", truncation=psi))["z"] for psi in (1.0, 0.6))
    assert np.array_equal(narrow, truncated(torch.from_numpy(whole), "normal", 0.6).numpy())
    assert caplog.messages == [
        "truncation=0.6: this generator has no w; its prior is cut off at ±1.13, to a deviation of 0.6"
    ]
    with pytest.raises(UserError, match="truncation=1.5 widens the w of net=stylegan2 alone"):
        draw("plain", "x.npz", truncation=1.5)
    with pytest.raises(UserError, match="drawn as they are: leave truncation= out"):
        draw("plain", "x.npz", truncation=0.6, latents=str(tmp_path / "1.0.npz"))


@pytest.mark.parametrize("k", [2, 3, 7])
def test_a_smooth_closed_path_is_the_periodic_spline(k):
    points = torch.randn(k, 2, 3, dtype=torch.float64)
    expected = CubicSpline(np.arange(k + 1), torch.cat([points, points[:1]]).numpy(), bc_type="periodic")
    path = closed_cubic(points, 5)
    assert path.shape == (k * 5, 2, 3)
    np.testing.assert_allclose(path.numpy(), expected(np.arange(k * 5) / 5), rtol=1e-10, atol=1e-10)


def test_styles_are_mixed_from_a_layer_on():
    """Images of 16x16 have maps of 4, 8 and 16; the pair of one w is the plain image."""
    torch.manual_seed(0)
    generator = stylegan2.Generator((1, 16, 16), 6, width=4, max_width=8).eval()
    assert generator.first_layers == {(4, 4): 1, (8, 8): 3}
    w, second = torch.randn(2, 5, 6)
    plain, other = generator.synthesise(w), generator.synthesise(second)
    torch.testing.assert_close(Mixing(generator, 3)(torch.cat([w, w], dim=1)), plain)
    torch.testing.assert_close(Mixing(generator, 0)(torch.cat([w, second], dim=1)), other)
    mixed = [Mixing(generator, layer)(torch.cat([w, second], dim=1)) for layer in (1, 3)]
    distances = [(image - plain).norm() for image in (other, *mixed)]
    assert distances[0] > distances[2] > 0 and distances[1] > 0


@pytest.fixture
def shown(monkeypatch):
    """What is put into a picture: (panels, columns, title, path, rows), drawn nevertheless."""
    calls, draw = [], latent_space.write_panels
    monkeypatch.setattr(latent_space, "write_panels", lambda *a: (calls.append(a), draw(*a)))
    return calls


@pytest.mark.parametrize(("run", "space", "rows"), [("plain", "z", 4), ("classes", "w", 6)])
def test_directions_are_shown_around_each_latent(draw, runs, shown, run, space, rows):
    path = draw(run, figure="directions", n=2 * rows * 7, seed=3)
    assert path == runs / run / "directions.png" and (runs / run / "directions.safetensors").is_file()
    (panels, columns, title, _, names) = shown[0]
    assert len(panels) == (3 if run == "classes" else 2) and len(names) == rows and len(columns) == 7
    assert f"directions of {space} by SeFa" in title
    plain = _arrays(draw(run, "x.npz", n=len(panels), seed=3))["images"][..., 0]
    for (_, part), image in zip(panels, plain, strict=True):
        assert part.shape == (rows, 7, 1, 8, 8)
        assert np.abs(part[:, 3, 0].int().numpy() - image).max() <= 1  # the middle column
        assert (part[:, 0] != part[:, 6]).any()
    with Image.open(path) as picture:
        assert picture.width >= 600


def test_truncation_is_shown_row_by_row(draw, shown):
    for run in ("styled", "plain"):
        draw(run, figure="truncation", n=13)
        (((_, rows),), _, _, _, names) = shown.pop()
        assert names == ["0", "0.25", "0.5", "0.75", "1"] and rows.shape[:2] == (5, 3)
        plain = _arrays(draw(run, "x.npz", n=3))["images"][..., 0]
        assert np.array_equal(rows[-1, :, 0].numpy(), plain)
        assert (rows[0].int() - rows[0, :1].int()).abs().max() <= 1  # psi of 0 makes one image of all latents
    with pytest.raises(UserError, match="shows several psi: leave truncation= out"):
        draw("styled", figure="truncation", truncation=0.5)


def test_mixing_is_shown_beside_its_sources(draw, shown):
    draw("styled", figure="mixing", n=9)
    ((panels, columns, _, _),) = shown
    assert [name for name, _ in panels] == ["up to 4x4 as at the left"] and len(columns) == 4
    plain = torch.from_numpy(_arrays(draw("styled", "x.npz", n=6))["images"]).permute(0, 3, 1, 2)
    body = panels[0][1]
    assert body.shape == (4, 4, 1, 8, 8) and (body[0, 0] == 255).all()
    assert (body[1:, 0].int() - plain[:3].int()).abs().max() <= 1
    assert (body[0, 1:].int() - plain[3:].int()).abs().max() <= 1
    with pytest.raises(UserError, match="this generator has none"):
        draw("plain", figure="mixing")


@pytest.mark.parametrize("run", [pytest.param("plain", marks=SLOW), "styled", pytest.param("classes", marks=SLOW)])
def test_a_walk_passes_through_its_latents(draw, runs, tmp_path, run):
    folder = draw(run, "frames", figure="walk")
    assert len(list(folder.iterdir())) == 3 * 4
    if run == "classes":
        return  # three panels a frame
    plain = _arrays(draw(run, "x.npz", n=3))["images"][..., 0].astype(int)
    corners = [np.asarray(Image.open(folder / f"{4 * i:06d}.png")).astype(int) for i in range(3)]
    assert np.abs(np.stack(corners) - plain).max() <= 1
    assert draw(run, figure="walk") == runs / run / "walk.webp"
    np.savez(tmp_path / "one.npz", z=np.zeros((1, 4 if run == "plain" else 6), np.float32))
    with pytest.raises(UserError, match="through two latents or more"):
        draw(run, figure="walk", latents=str(tmp_path / "one.npz"))


@SLOW
def test_a_figure_of_few_latents_shows_what_there_is(draw, tmp_path, shown, caplog):
    np.savez(tmp_path / "one.npz", z=np.zeros((1, 6), np.float32))
    with caplog.at_level(logging.WARNING):
        draw("styled", figure="directions", n=1000, latents=str(tmp_path / "one.npz"))
        assert not caplog.messages
        draw("styled", "x.npz", n=7, latents=str(tmp_path / "one.npz"))
        assert caplog.messages == ["n=7 is not used: the number of latents in the file is 1"]
    assert len(shown[0][0]) == 1
    with pytest.raises(UserError, match="figure=mixing takes 2 latents here, and 1 are given"):
        draw("styled", figure="mixing", latents=str(tmp_path / "one.npz"))


def test_latents_in_w_keep_their_place():
    assert Latents(torch.ones(2, 3), None, "w").in_w(mlp.Generator((1, 8, 8), 3, widths=(8,))).space == "w"
    assert math.isclose(threshold(0.6), 1.13, abs_tol=0.01)
