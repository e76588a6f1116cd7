"""What a folder of one's own may hold, and the one line that says what was found in it."""

import json
import logging
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from gan_cli.config.data import held_out, validation
from gan_cli.data import NoSplit, decode
from gan_cli.data.folder import folder
from gan_cli.errors import UserError


def _save(top, names, value=100, size=(8, 8)):
    """Images of different pixels below ``top``."""
    for i, name in enumerate(names):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("L", size, value)
        image.putpixel((0, 0), i % 256)
        image.save(top / name)


def _grey(root, **options):
    return folder(str(root), **{"size": 8, "channels": 1, **options})


def _told(root, **options):
    return _grey(root, **options).description


def _node(root, **options):
    return {"_target_": "gan_cli.data.folder.folder", "root": str(root), "size": 8, "channels": 1, **options}


def test_the_line_counts_classes_and_whatever_is_passed_over(tmp_path):
    _save(tmp_path, [f"cats/{i}.png" for i in range(5)] + [f"dogs/{i}.png" for i in range(3)])
    (tmp_path / "dogs" / "again.png").write_bytes((tmp_path / "cats" / "0.png").read_bytes())
    for name in ("cats/a.heic", "cats/b.HEIC", "dogs/notes.txt", "dogs/README"):
        (tmp_path / name).write_bytes(b"x" * 20)
    (tmp_path / "cats" / "broken.png").write_bytes((tmp_path / "cats" / "0.png").read_bytes()[:60])
    (tmp_path / "dogs" / "none.jpg").write_bytes(b"<html>")
    assert _told(tmp_path) == (
        "9 images of 8x8 in 2 classes (cats 5, dogs 4); 1 exact duplicates; passed over: 2 .heic, 1 .txt, "
        "1 without a suffix, 1 cut off (cats/broken.png), 1 no image (dogs/none.jpg)"
    )


def test_clutter_is_passed_over_in_silence(tmp_path):
    _save(tmp_path, ["a.png", ".hidden.png", ".cache/b.png", "__MACOSX/c.png", "@eaDir/d.png"])
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "__MACOSX/._a.png"):
        (tmp_path / name).write_bytes(b"x")
    assert _told(tmp_path) == "1 images of 8x8"


def test_a_file_without_a_suffix_is_judged_by_its_content(tmp_path):
    _save(tmp_path, ["a.png"])
    (tmp_path / "a.png").rename(tmp_path / "0001")
    (tmp_path / "LICENSE").write_text("free to use, " * 9)
    assert _told(tmp_path) == "1 images of 8x8; passed over: 1 without a suffix"


@pytest.mark.parametrize("wrap", ["", "photos/", "photos/v2/"])
@pytest.mark.parametrize("names", ["train val test", "Train VALID TEST", "train validation test"])
def test_split_folders_are_splits_and_not_classes(tmp_path, wrap, names):
    train, val, test = (wrap + name for name in names.split())
    _save(tmp_path, [f"{train}/{c}/{i}.png" for c in ("cats", "dogs") for i in range(4)], value=1)
    _save(tmp_path, [f"{val}/{c}/{i}.png" for c in ("cats", "dogs") for i in range(2)], value=2)
    _save(tmp_path, [f"{test}/{c}/{i}.png" for c in ("cats", "dogs", "owls") for i in range(1)], value=3)
    dataset = _grey(tmp_path)
    assert (dataset.class_names, dataset.labels.tolist()) == (("cats", "dogs"), [0] * 4 + [1] * 4)
    assert dataset.description == (
        "8 images of 8x8 in 2 classes (cats 4, dogs 4); held out: 4 for validation; held out: 2 for test; "
        "passed over: 1 of no class"
    )
    node = _node(tmp_path)
    assert held_out(node).images[:, 0, 5, 5].tolist() == [3, 3]
    assert validation(node).images[:, 0, 5, 5].tolist() == [2, 2, 2, 2]
    assert held_out(node).labels.tolist() == [0, 1]


def test_a_validation_folder_alone_is_what_is_held_out(tmp_path):
    _save(tmp_path, ["train/a.png", "train/b.png", "val/c.png", "d.png"])
    assert _told(tmp_path) == "2 images of 8x8; held out: 1 for test; passed over: 1 outside train, val and test"
    assert len(held_out(_node(tmp_path))) == 1
    assert validation(_node(tmp_path)) is None


def test_a_folder_named_test_beside_others_is_held_out(tmp_path):
    _save(tmp_path, ["cats/a.png", "dogs/b.png", "test/cats/c.png"])
    assert _told(tmp_path) == "2 images of 8x8 in 2 classes (cats 1, dogs 1); held out: 1 for test"


def test_a_single_wrapping_folder_and_a_single_class(tmp_path):
    _save(tmp_path, ["archive/images/cats/a.png", "archive/images/dogs/b.png"])
    assert _grey(tmp_path).class_names == ("cats", "dogs")
    _save(tmp_path / "one", ["cats/a.png", "cats/b.png"])
    assert _grey(tmp_path / "one").class_names == ()


def test_holdout_sets_the_same_share_aside_at_every_start(tmp_path):
    _save(tmp_path, [f"{i:03d}.png" for i in range(200)])
    assert held_out(_node(tmp_path)) is None
    with pytest.raises(NoSplit):
        _grey(tmp_path, split="test")
    train, test = _grey(tmp_path, holdout=0.2), _grey(tmp_path, holdout=0.2, split="test")
    assert len(train) + len(test) == 200 and 25 <= len(test) <= 55
    assert train.description == f"{len(train)} images of 8x8; held out: {len(test)} for test"
    first = {image.numpy().tobytes() for image in test.images}
    assert not first & {image.numpy().tobytes() for image in train.images}
    for i in range(200):  # by content: the names do not matter, nor other images
        (tmp_path / f"{i:03d}.png").rename(tmp_path / f"x{(i * 7) % 200:03d}.png")
    _save(tmp_path, ["new.png"], value=9)
    assert first <= {image.numpy().tobytes() for image in _grey(tmp_path, holdout=0.2, split="test").images}
    with pytest.raises(UserError, match=r"dataset.holdout=2 should be a share between 0 and 1"):
        _grey(tmp_path, holdout=2)


@pytest.mark.parametrize(
    ("arrays", "values", "note"),
    [
        ([np.full((8, 8), 4095, np.uint16), np.full((8, 8), 819, np.uint16)], [255, 51], "0 to 4095"),
        ([np.full((8, 8), 65535, np.uint16), np.full((8, 8), 4096, np.uint16)], [255, 16], "0 to 65535"),
        ([np.full((8, 8), 20, np.int32), np.full((8, 8), 0, np.int32)], [255, 0], "0 to 20"),
        ([np.full((8, 8), -100, np.int32), np.full((8, 8), 100, np.int32)], [0, 255], "-100 to 100"),
        ([np.full((8, 8), -1, np.float32), np.full((8, 8), 0.5, np.float32)], [0, 191], "-1 to 1"),
        ([np.full((8, 8), -3, np.float32), np.full((8, 8), 7, np.float32)], [0, 255], "-3 to 7"),
        ([np.full((8, 8), 200, np.float32), np.full((8, 8), 0, np.float32)], [200, 0], "0 to 255"),
    ],
    ids=["12 bits", "16 bits", "a label map", "negative", "-1 to 1", "floats", "floats of 8 bits"],
)
def test_the_range_of_deep_pixels_is_found_over_the_whole_folder(tmp_path, arrays, values, note):
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(tmp_path / f"{i}.tiff")
    for _ in range(2):  # the second time from the cache
        dataset = _grey(tmp_path)
        assert dataset.images[:, 0, 0, 0].tolist() == values
        assert f"deep pixels from {note}" in dataset.description


@pytest.mark.parametrize(("asked", "value"), [(16, 16), (12, 255), ([0, 8190], 128)])
def test_a_range_that_is_asked_for_is_taken(tmp_path, asked, value):
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "a.png")
    assert _grey(tmp_path, range=asked).images[0, 0, 0, 0] == value


def test_dark_folders_are_warned_of_and_an_asked_range_mends_them(tmp_path, caplog, own_cache):
    _save(tmp_path, ["a.png"], value=3)
    with caplog.at_level(logging.WARNING):
        _grey(tmp_path)
    assert caplog.messages == [
        "no image has a value above 3 of 255: they are nearly black; dataset.range=[0,3] makes it white"
    ]
    assert _grey(tmp_path, range=[0, 3]).images.max() == 255


@pytest.mark.parametrize(("option", "line"), [
    ({"range": "dark"}, "dataset.range=dark should be auto, 8, 12, 16"), ({"range": [3, 3]}, "should be auto"),
    ({"fit": "zoom"}, "dataset.fit=zoom: choose from crop, stretch, pad"), ({"channels": 2}, "choose 1 .grey., 3"),
    ({"size": [8]}, r"dataset.size=\[8\] should be a whole number, or"), ({"size": [8, 0]}, "too small: at least 1"),
    ({"labels": "no.csv"}, "dataset.labels=no.csv is not there"),
])  # fmt: skip
def test_options_that_make_no_sense(tmp_path, option, line):
    _save(tmp_path, ["a.png"])
    with pytest.raises(UserError, match=line):
        _grey(tmp_path, **option)


def test_sides_may_differ_and_the_fit_is_chosen(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (20, 1))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    shapes = {fit: _grey(tmp_path, size=[8, 24], fit=fit).images[0, 0] for fit in ("crop", "stretch", "pad")}
    assert all(image.shape == (8, 24) for image in shapes.values())
    assert shapes["stretch"][4, 0] < 10 and shapes["stretch"][4, -1] > 245
    assert shapes["pad"][:, 0].tolist() == [0] * 8 and shapes["pad"][4, 19] > 240  # 16 wide, black on either side
    square = _grey(tmp_path, size=8).images[0, 0]
    assert square[4, 0] > 50  # the middle half


def test_transparency_is_a_fourth_channel(tmp_path):
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    image.paste((0, 200, 0, 255), (4, 0, 8, 8))
    image.save(tmp_path / "a.png")
    Image.new("RGB", (8, 8), (0, 0, 50)).save(tmp_path / "b.png")
    dataset = folder(str(tmp_path), size=8, channels=4)
    assert dataset.image_shape == (4, 8, 8)
    assert dataset.images[0, :, 0, 7].tolist() == [0, 200, 0, 255]
    assert dataset.images[0, 3, 0, 0] == 0
    assert dataset.images[1, :, 0, 0].tolist() == [0, 0, 50, 255]
    assert folder(str(tmp_path), size=8).images[0, :, 0, 0].tolist() == [255, 255, 255]


def test_a_zip_is_read_as_its_folder_would_be(tmp_path):
    _save(tmp_path / "tree", ["cats/a.png", "cats/b.png", "dogs/c.png", "__MACOSX/._a.png"])
    (tmp_path / "tree" / "notes.txt").write_text("x")
    with zipfile.ZipFile(tmp_path / "tree.zip", "w") as archive:
        for path in sorted((tmp_path / "tree").rglob("*")):
            archive.write(path, path.relative_to(tmp_path))
    for _ in range(2):
        zipped = _grey(tmp_path / "tree.zip")
        assert torch.equal(zipped.images, _grey(tmp_path / "tree").images)
        assert zipped.description == _told(tmp_path / "tree")
    (tmp_path / "no.zip").write_bytes(b"PK no")
    with pytest.raises(UserError, match=r"no.zip is no zip file that can be read"):
        _grey(tmp_path / "no.zip")


def test_a_list_of_folders_is_read_as_one(tmp_path):
    _save(tmp_path / "x", ["cats/a.png", "dogs/b.png"])
    _save(tmp_path / "y", ["cats/c.png", "owls/d.png"], value=50)
    dataset = folder([str(tmp_path / "x"), str(tmp_path / "y")], size=8, channels=1)
    assert dataset.description == "4 images of 8x8 in 3 classes (cats 2, dogs 1, owls 1)"
    assert dataset.images[:, 0, 5, 5].tolist() == [100, 100, 50, 50]


@pytest.mark.parametrize("order", ["NHWC", "NCHW"])
def test_an_npz_as_gan_sample_writes_it(tmp_path, order):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    written = images if order == "NHWC" else images.transpose(0, 3, 1, 2)
    np.savez_compressed(tmp_path / "a.npz", images=written, labels=np.array([10, 2, 2, 10, 2]))
    dataset = folder(str(tmp_path / "a.npz"), size=8)
    assert np.array_equal(dataset.images.permute(0, 2, 3, 1), images)
    assert (dataset.class_names, dataset.labels.tolist()) == (("2", "10"), [1, 0, 0, 1, 0])
    for content in ({"pictures": images}, {"images": images.astype(float)}, {"images": images, "labels": np.zeros(3)}):
        np.savez(tmp_path / "bad.npz", **content)
        with pytest.raises(UserError, match="bad.npz"):
            folder(str(tmp_path / "bad.npz"))


def test_nothing_in_an_npz_is_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="holds no array named images"):
        folder(str(tmp_path / "a.npz"))


LABELS = {
    "dataset.json": json.dumps({"labels": [["00000/a.png", 7], ["00000/b.png", 10], ["00001/c.png", 7]]}),
    "names.csv": "file,label\n00000/a.png,cat\n00000/b.png,dog\n./00001/c.png,cat\n",
    "plain.csv": "00000/a.png,cat\n00000/b.png,dog\n00001/c.png,cat\n",
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("where", ["below the root", "elsewhere", "zipped"])
def test_labels_come_from_a_file(tmp_path, name, where):
    root = tmp_path / "root"
    _save(root, ["00000/a.png", "00000/b.png", "00001/c.png", "00001/d.png"])
    (root / name if where != "elsewhere" else tmp_path / name).write_text(LABELS[name])
    if where == "zipped":
        with zipfile.ZipFile(tmp_path / "root.zip", "w") as archive:
            for path in sorted(root.rglob("*.*")):
                archive.write(path, path.relative_to(root).as_posix())
        root = tmp_path / "root.zip"
    file = str(tmp_path / name) if where == "elsewhere" else name
    dataset = _grey(root, labels=file)
    assert dataset.class_names == (("7", "10") if name == "dataset.json" else ("cat", "dog"))
    assert dataset.labels.tolist() == [0, 1, 0]
    assert dataset.description.endswith("; passed over: 1 of no class")


def test_a_dataset_json_beside_the_images_is_found_and_a_broken_one_told(tmp_path):
    _save(tmp_path, ["00000/a.png", "00001/b.png"])
    (tmp_path / "dataset.json").write_text('{"labels": [["00000/a.png", 1], ["00001/b.png", 0]]}')
    assert _grey(tmp_path).labels.tolist() == [1, 0]
    for content in ("{", "[]", '{"labels": [1]}', '{"labels": {"a": 1}}'):
        (tmp_path / "dataset.json").write_text(content)
        with pytest.raises(UserError, match=r"dataset.json gives no labels"):
            _grey(tmp_path)


def test_large_photographs_are_decoded(tmp_path):
    Image.new("L", (11_000, 9_000), 200).save(tmp_path / "a.jpg")  # 99 megapixels; Pillow warns above 89
    dataset = _grey(tmp_path)
    assert dataset.images.unique().tolist() == [200]
    assert dataset.description == "1 images of 8x8"


def test_heic_is_read_where_its_reader_is_installed(tmp_path, monkeypatch):
    """With a stand-in for pillow-heif, which registers a reader of PNG under its own name."""
    _save(tmp_path, ["a.png", "b.png"])
    (tmp_path / "b.png").rename(tmp_path / "b.heic")
    registered = []
    module = types.SimpleNamespace(register_heif_opener=lambda: registered.append(True))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert _told(tmp_path) == "1 images of 8x8; passed over: 1 .heic"
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    assert "HEIF" in decode.formats() and registered
    monkeypatch.setattr(
        decode, "opened", lambda content, formats, opened=decode.opened: opened(content, decode.FORMATS)
    )
    assert len(_grey(tmp_path)) == 2
