"""What a folder of one's own may hold, and the one line that says what was found in it."""

import json
import logging
import os
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from gan_cli.config.data import held_out, validation
from gan_cli.data import NoSplit, decode, reading, sources
from gan_cli.data.folder import folder
from gan_cli.data.reading import reasons
from gan_cli.data.sources import File
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


def test_the_line_counts_classes_and_whatever_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    _save(tmp_path, [f"cats/{i}.png" for i in range(5)] + [f"dogs/{i}.png" for i in range(3)])
    (tmp_path / "dogs" / "again.png").write_bytes((tmp_path / "cats" / "0.png").read_bytes())
    for name in ("cats/a.heic", "cats/b.HEIC", "dogs/notes.txt", "dogs/README"):
        (tmp_path / name).write_bytes(b"x" * 20)
    (tmp_path / "cats" / "broken.png").write_bytes((tmp_path / "cats" / "0.png").read_bytes()[:60])
    (tmp_path / "dogs" / "none.jpg").write_bytes(b"<html>")
    (tmp_path / "dogs" / "empty.jpg").touch()
    assert _told(tmp_path) == (
        "9 images of 8x8 in 2 classes (cats 5, dogs 4); 1 exact duplicate; passed over: "
        "2 .heic (pip install 'gan-cli[heic]'), 1 .txt, "
        "1 without a suffix, 1 cut off (cats/broken.png), 1 empty (dogs/empty.jpg), 1 not an image (dogs/none.jpg)"
    )


def test_a_long_list_of_classes_is_cut_and_their_balance_told(tmp_path):
    _save(tmp_path, [f"{'a long name of a class ' * 3}{c}/{i}.png" for c in range(9) for i in range(c + 1)])
    line = _told(tmp_path)
    assert line.startswith("45 images of 8x8 in 9 classes of 1 to 9 (a long name") and line.endswith(" 2, …)")
    assert len(line) < 220


def test_what_nobody_may_read_is_counted(tmp_path, monkeypatch):
    """Tests may run as an administrator, who may read everything: the system's calls refuse here instead."""
    _save(tmp_path, ["open/a.png", "closed/b.png", "blind/c.png"])
    list_folder, look = os.scandir, os.stat

    def refusing(call, name):
        def refuse(path, *rest, **options):
            if name in str(path):
                raise PermissionError(13, "Permission denied", str(path))
            return call(path, *rest, **options)

        return refuse

    monkeypatch.setattr(sources.os, "scandir", refusing(list_folder, "closed"))
    monkeypatch.setattr(sources.os, "stat", refusing(look, "c.png"))
    told = "1 image of 8x8; passed over: 1 unreadable folder, 1 without rights (blind/c.png)"
    assert _told(tmp_path) == told


def test_many_reasons_are_cut(tmp_path):
    files = {File(f"{i}.png", "", bytes): f"reason {i}" for i in range(9)}
    assert reasons(files)[4:] == ["1 reason 4 (4.png)", "4 for other reasons"]


def test_clutter_is_passed_over_in_silence(tmp_path):
    _save(tmp_path, ["a.png", ".hidden.png", ".cache/b.png", "__MACOSX/c.png", "@eaDir/d.png"])
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "__MACOSX/._a.png"):
        (tmp_path / name).write_bytes(b"x")
    assert _told(tmp_path) == "1 image of 8x8"


def test_a_file_without_a_suffix_is_judged_by_its_content(tmp_path):
    _save(tmp_path, ["a.png"])
    (tmp_path / "a.png").rename(tmp_path / "0001")
    (tmp_path / "LICENSE").write_text("free to use, " * 9)
    assert _told(tmp_path) == "1 image of 8x8; passed over: 1 without a suffix"


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
        "8 images of 8x8 in 2 classes (cats 4, dogs 4); held out: 4 for validation, 2 for test; "
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


@pytest.mark.parametrize(("mode", "value"), [("L", 3), ("RGB", (3, 2, 1)), ("RGBA", (3, 2, 1, 255))])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_dark_folders_are_warned_of_and_an_asked_range_mends_them(tmp_path, caplog, own_cache, mode, value, channels):
    Image.new(mode, (8, 8), value).save(tmp_path / "a.png")
    with caplog.at_level(logging.WARNING):
        peak = int(_grey(tmp_path, channels=channels).images[:, :3].max())
    assert caplog.messages == [
        f"no image has a value above {peak} of 255: they are nearly black; dataset.range=[0,{peak}] makes it white"
    ]
    mended = _grey(tmp_path, channels=channels, range=[0, 3])
    assert mended.images[:, :3].max() == (255 if channels > 1 or mode == "L" else 186)  # the grey of (255, 170, 85)
    assert channels < 4 or (mended.images[:, 3] == 255).all()
    assert mended.description == "1 image of 8x8; pixels from 0 to 3, as asked"


def test_bits_that_are_asked_for_are_those_of_deep_pixels(tmp_path):
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "a.png")
    Image.new("L", (8, 8), 200).save(tmp_path / "b.png")
    dataset = _grey(tmp_path, range=12)
    assert dataset.images[:, 0, 0, 0].tolist() == [255, 200]
    assert dataset.description == "2 images of 8x8; deep pixels from 0 to 4095, as asked"


def test_deep_pixels_of_one_dark_value_are_warned_of_in_their_own_range(tmp_path, caplog, own_cache):
    Image.fromarray(np.full((8, 8), 700, np.uint16)).save(tmp_path / "a.png")
    with caplog.at_level(logging.WARNING):
        _grey(tmp_path)
    assert caplog.messages[0].endswith("nearly black; dataset.range=[LOWEST,HIGHEST] stretches another range")


def test_a_damaged_deep_image_costs_no_survey_at_each_start(tmp_path, monkeypatch):
    Image.fromarray(np.full((8, 8), 700, np.uint16)).save(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-50])
    line = _told(tmp_path)
    assert line.endswith("deep pixels from 0 to 4095; passed over: 1 cut off (b.tif)")
    monkeypatch.setattr(reading, "_surveyed", None)
    assert _told(tmp_path) == line


@pytest.mark.parametrize(("option", "line"), [
    ({"range": "dark"}, "dataset.range=dark should be auto, 8, 12, 16"), ({"range": [3, 3]}, "should be auto"),
    ({"fit": "zoom"}, "dataset.fit=zoom: choose from crop, stretch, pad"), ({"channels": 2}, "choose 1 .grey., 3"),
    ({"size": [8]}, r"dataset.size=\[8\] should be a whole number, or"), ({"size": [8, 0]}, "too small: at least 1"),
    ({"labels": "no.csv"}, "dataset.labels=no.csv is not there"),
    ({"labels": "x.csv"}, "x.csv names none of the images: it has 'x/a.png' where the first image is 'a.png'"),
    ({"labels": "three.csv"}, r"three.csv gives no labels .a line has 3 columns: a.png,cat,1."),
])  # fmt: skip
def test_options_that_make_no_sense(tmp_path, option, line):
    _save(tmp_path, ["a.png"])
    (tmp_path / "x.csv").write_text("x/a.png,cat\n")
    (tmp_path / "three.csv").write_text("a.png,cat,1\n")
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


def test_an_npz_takes_no_file_of_labels(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8, 1), np.uint8))
    with pytest.raises(UserError, match="holds its labels itself; leave dataset.labels out"):
        folder(str(tmp_path / "a.npz"), labels="a.csv")


def test_nothing_in_an_npz_is_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="is no .npz file that can be read"):
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


def test_a_dataset_json_labels_the_files_below_its_folder(tmp_path):
    _save(tmp_path, ["wrap/00000/a.png", "wrap/00001/b.png"])
    (tmp_path / "wrap" / "dataset.json").write_text('{"labels": [["00000/a.png", 1], ["00001/b.png", 0]]}')
    assert _grey(tmp_path).labels.tolist() == [1, 0]
    (tmp_path / "wrap" / "dataset.json").write_text('{"labels": null}')
    assert _grey(tmp_path).class_names == ()  # StyleGAN's tools put a thousand images into each folder


def test_blank_labels_are_none(tmp_path):
    _save(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "l.csv").write_text("a.png, cat\nb.png, dog \nc.png,\n")
    assert _told(tmp_path, labels="l.csv") == "2 images of 8x8 in 2 classes (cat 1, dog 1); passed over: 1 of no class"


def test_a_dataset_json_beside_the_images_is_found_and_a_broken_one_told(tmp_path):
    _save(tmp_path, ["00000/a.png", "00001/b.png"])
    (tmp_path / "dataset.json").write_text('{"labels": [["00000/a.png", 1], ["00001/b.png", 0]]}')
    assert _grey(tmp_path).labels.tolist() == [1, 0]
    for content in ("{", "[]", '{"labels": [1]}', '{"labels": {"a": 1}}'):
        (tmp_path / "dataset.json").write_text(content)
        with pytest.raises(UserError, match=r"dataset.json gives no labels"):
            _grey(tmp_path)


def test_a_png_with_megabytes_of_text_is_read(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    Image.new("L", (8, 8), 200).save(tmp_path / "a.png", pnginfo=text)
    assert _told(tmp_path) == "1 image of 8x8"


@pytest.mark.parametrize("flag", [b"encrypted", b"method", b"damaged"])
def test_a_zip_says_why_an_entry_cannot_be_had(tmp_path, flag):
    _save(tmp_path, ["a.png"])
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
        archive.write(tmp_path / "a.png", "b.png")
    content = bytearray((tmp_path / "z.zip").read_bytes())
    local, central = content.find(b"PK\3\4"), content.find(b"PK\1\2")
    if flag == b"encrypted":
        content[local + 6] |= 1
        content[central + 8] |= 1
    elif flag == b"method":
        content[local + 8] = content[central + 10] = 97
    else:
        content[local + 60] ^= 255
    (tmp_path / "z.zip").write_bytes(content)
    reason = {b"method": "packed by an unknown method"}.get(flag, flag.decode())
    assert _told(tmp_path / "z.zip") == f"1 image of 8x8; passed over: 1 {reason} (a.png)"


def test_large_photographs_are_decoded(tmp_path):
    Image.new("L", (11_000, 9_000), 200).save(tmp_path / "a.jpg")  # 99 megapixels; Pillow warns above 89
    dataset = _grey(tmp_path)
    assert dataset.images.unique().tolist() == [200]
    assert dataset.description == "1 image of 8x8"


def test_heic_is_read_where_its_reader_is_installed(tmp_path, monkeypatch):
    """With a stand-in for pillow-heif, which registers a reader of PNG under its own name."""
    _save(tmp_path, ["a.png", "b.png"])
    (tmp_path / "b.png").rename(tmp_path / "b.heic")
    registered = []
    module = types.SimpleNamespace(register_heif_opener=lambda: registered.append(True))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert _told(tmp_path) == "1 image of 8x8; passed over: 1 .heic (pip install 'gan-cli[heic]')"
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    assert "HEIF" in decode.formats() and registered
    monkeypatch.setattr(
        decode, "opened", lambda content, formats, opened=decode.opened: opened(content, decode.FORMATS)
    )
    assert len(_grey(tmp_path)) == 2


def test_heic_with_its_real_reader(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (64, 32), "red")
    image.paste("blue", (32, 0, 64, 32))
    image.save(tmp_path / "turned.heic", exif=exif.tobytes())
    (tmp_path / "bare").write_bytes((tmp_path / "turned.heic").read_bytes())
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.heic")
    (tmp_path / "cut.HEIC").write_bytes((tmp_path / "noise.heic").read_bytes()[:-1000])
    (tmp_path / "noise.heic").unlink()
    dataset = folder(str(tmp_path), size=[16, 8])
    assert dataset.description == "2 images of 8x16; 1 exact duplicate; passed over: 1 cut off (cut.HEIC)"
    top, bottom = dataset.images[0, :, 2, 4].tolist(), dataset.images[0, :, 13, 4].tolist()
    assert top[0] > 200 > 50 > top[2] and bottom[2] > 200 > 50 > bottom[0]
