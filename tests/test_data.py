"""The datasets: IDX files, folders of any images, the order of minibatches."""

import gzip
import hashlib
import os
import pickle
import socket
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image, ImageFile, ImageOps

from gan_cli.data import Dataset, Sampler, cifar, decode, idx, resized, to_unit
from gan_cli.data.folder import folder
from gan_cli.errors import UserError
from gan_cli.sampling import to_uint8

# Of the unpacked files, as published with the data set.
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@pytest.mark.parametrize("name", MD5)
def test_the_shipped_mnist_is_mnist(name):
    content = gzip.decompress((idx.SHIPPED / "mnist" / f"{name}.gz").read_bytes())
    assert hashlib.md5(content).hexdigest() == MD5[name]
    read = idx.read_idx(idx.SHIPPED / "mnist" / f"{name}.gz")
    header = 16 if "images" in name else 8
    assert read.numpy().tobytes() == content[header:]
    assert read.shape == ((60_000 if "train" in name else 10_000), *((28, 28) if "images" in name else ()))


def test_mnist_and_its_resizing():
    dataset = idx.mnist(split="test", size=32)
    assert dataset.image_shape == (1, 32, 32)
    assert dataset.images.dtype == torch.uint8
    assert dataset.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert len(dataset.class_names) == 10
    plain = idx.mnist(split="test")
    assert plain.image_shape == (1, 28, 28)
    assert plain.pixel_mean.mean().item() == pytest.approx(0.1325, abs=1e-3)


def _write_idx(path, array, compress):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if compress else content)


@pytest.mark.parametrize("compress", [True, False])
def test_one_reader_for_every_idx_set(tmp_path, monkeypatch, compress):
    images = np.arange(2 * 6 * 5, dtype=np.uint8).reshape(2, 6, 5)
    suffix = ".gz" if compress else ""
    _write_idx(tmp_path / f"train-images-idx3-ubyte{suffix}", images, compress)
    _write_idx(tmp_path / f"train-labels-idx1-ubyte{suffix}", np.array([3, 1], np.uint8), compress)
    monkeypatch.setattr(idx, "DEBIAN_FASHION_MNIST", tmp_path)
    dataset = idx.fashion_mnist()
    assert dataset.images[:, 0].tolist() == images.tolist()
    assert dataset.labels.tolist() == [3, 1]


def test_damaged_idx_files_are_told(tmp_path):
    path = tmp_path / "x"
    for content, complaint in [
        (b"", "not an IDX file"),
        (b"\x80\x02pickle", "not an IDX file"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 9, 1]), "cut off"),
        (gzip.compress(b"0" * 99)[:20], "can't read"),
    ]:
        path.write_bytes(content)
        with pytest.raises(UserError, match=complaint):
            idx.read_idx(path)
    with pytest.raises(UserError, match="holds no train-images"):
        idx.mnist(root=str(tmp_path))


@pytest.mark.parametrize(("load", "wanted"), [(idx.fashion_mnist, "train-images"), (cifar.cifar10, "cifar-10-python")])
def test_where_nothing_can_be_downloaded_the_error_says_what_to_put_where(tmp_path, monkeypatch, load, wanted):
    def unreachable(*_, **__):
        raise OSError("network is unreachable")

    monkeypatch.delenv("GAN_CLI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(idx, "DEBIAN_FASHION_MNIST", tmp_path / "none")
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(UserError, match=rf"can't download.*put .*{wanted}.* into .*gan-cli"):
        load()


def test_cifar10_is_read_from_its_published_layout(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    planes = np.random.default_rng(0).integers(0, 256, (2, 3 * 32 * 32), dtype=np.uint8)
    contents = {"data_batch_1": {"data": planes, "labels": [4, 7]}, "batches.meta": {"label_names": ["a", "b"]}}
    (tmp_path / "cifar-10-batches-py").mkdir()
    md5 = {}
    for name, content in contents.items():
        raw = pickle.dumps(content)
        (tmp_path / "cifar-10-batches-py" / name).write_bytes(raw)
        md5[name] = hashlib.md5(raw).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5["batches.meta"]})
    dataset = cifar.cifar10(root=str(tmp_path))
    assert dataset.images.shape == (2, 3, 32, 32)
    assert torch.equal(dataset.images.flatten(1), torch.from_numpy(planes))  # planes of R, G, B, row by row
    assert (dataset.labels.tolist(), dataset.class_names) == ([4, 7], ("a", "b"))


@pytest.fixture
def pictures(tmp_path):
    """A tree with one image of every awkward kind, 40x20, dark left and light right; and two that are none."""
    ramp = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (20, 1))
    grey = Image.fromarray(ramp)
    nested = tmp_path / "deep" / "er"
    nested.mkdir(parents=True)
    grey.save(tmp_path / "grey.png")
    grey.convert("RGB").save(nested / "colour.JPG", quality=95)
    grey.convert("P").save(tmp_path / "palette.png")
    grey.convert("1").save(tmp_path / "bilevel.png")
    grey.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    Image.fromarray(ramp.astype(np.float32) / 255).save(tmp_path / "float.tiff")
    grey.convert("LA").save(tmp_path / "grey-alpha.PNG")
    transparent = grey.convert("RGBA")
    transparent.putalpha(0)
    transparent.save(tmp_path / "transparent.png")
    turned = grey.transpose(Image.Transpose.ROTATE_90)  # stored on its side; orientation 6 turns it back
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "broken.png").write_bytes((tmp_path / "grey.png").read_bytes()[:60])
    (tmp_path / "empty.jpg").touch()
    return tmp_path


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_of_every_kind_of_image(pictures, channels):
    dataset = folder(str(pictures), size=16, channels=channels)
    assert dataset.images.shape == (10, channels, 16, 16)
    assert dataset.images.dtype == torch.uint8
    order = ["bilevel", "cmyk", "colour", "float", "grey-alpha", "grey", "palette", "sixteen", "transparent", "turned"]
    named = dict(zip(order, dataset.images.float(), strict=True))
    assert named["transparent"].min() == 255  # laid on white
    for name in set(order) - {"transparent", "bilevel"}:
        columns = named[name].mean(dim=(0, 1))
        assert columns[0] < 95, name  # dark left, light right, once cropped to the middle half and turned upright
        assert columns[-1] > 160, name
        assert columns.diff().min() > 0, name
    told = "10 images of 16x16; deep pixels from 0 to 1, 0 to 65535; passed over: 1 .txt, 1 cut off (broken.png), "
    assert dataset.description == told + "1 empty (empty.jpg)"


def test_folders_that_hold_nothing(tmp_path):
    with pytest.raises(UserError, match="no image files below"):
        folder(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(UserError, match="none of the 1 image files"):
        folder(str(tmp_path))
    with pytest.raises(UserError, match=r"is not a folder, nor a .zip or .npz file"):
        folder(str(tmp_path / "a.png"))
    with pytest.raises(UserError, match="needs dataset.root=PATH"):
        folder(None)
    with pytest.raises(UserError, match="choose 1"):
        folder(str(tmp_path), channels=2)
    with pytest.raises(UserError, match="size=0 is too small"):
        folder(str(tmp_path), size=0)
    with pytest.raises(UserError, match=r"^dataset.size=4097 is too large: at most 4096$"):
        folder(str(tmp_path), size=4097)


def _passed_over(root, images=1):
    """What the description of ``root``, a folder with so many readable images, says was passed over."""
    dataset = folder(str(root), size=8)
    assert len(dataset) == images
    return dataset.description.partition("; passed over: ")[2]


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 20 20
%%EndComments
showpage
%%EOF
"""


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands for Ghostscript")
def test_an_eps_file_that_calls_itself_a_picture_runs_nothing(tmp_path, monkeypatch):
    canary, root = tmp_path / "canary", tmp_path / "images"
    root.mkdir()
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {canary}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # where Pillow remembers that there is no Ghostscript
    Image.new("L", (9, 9)).save(root / "good.png")
    for name in ("a.png", "b.jpg", "c.eps", "d.ps"):
        (root / name).write_bytes(EPS)
    assert _passed_over(root) == "1 .eps, 1 .ps, 2 not an image (a.png, b.jpg)"  # .eps and .ps aren't even looked at
    assert not canary.exists()
    with Image.open(root / "a.png") as image, pytest.raises(OSError, match=r".*"):
        image.load()
    assert canary.exists()  # it would have run


@pytest.mark.parametrize(("kind", "name"), [("PNG", "a.jpg"), ("JPEG", "a.png"), ("BMP", "a.tga"), ("TGA", "a.png")])
def test_a_file_with_another_format_s_suffix_is_read(tmp_path, kind, name):
    Image.new("RGB", (9, 9), (200, 0, 0)).save(tmp_path / name, kind)
    dataset = folder(str(tmp_path), size=1)
    assert (dataset.images[0, :, 0, 0] - torch.tensor([200, 0, 0])).abs().max() <= 2
    assert dataset.description == "1 image of 1x1"


@pytest.mark.parametrize("kind", ["BMP", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP"])
def test_the_common_formats_are_read_by_their_own_suffixes(tmp_path, kind):
    suffixes = [suffix for suffix, name in Image.registered_extensions().items() if name == kind]
    for suffix in suffixes:
        Image.new("RGB", (16, 16), (0, 200, 0)).save(tmp_path / f"a{suffix}", kind)
    assert folder(str(tmp_path), size=8).images.shape[0] == len(suffixes) > 0
    assert _passed_over(tmp_path, len(suffixes)) == ""


def _chunk(kind, content):
    """One chunk of a PNG file."""
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def _png(width, height, *extra):
    """A PNG file whose header claims that size, and whose pixels are those of one black line."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    chunks = (_chunk(b"IHDR", header), *extra, _chunk(b"IDAT", zlib.compress(bytes(1 + width))), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_bombs_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    text = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes((1 << 26) + 1)))
    (tmp_path / "good.png").write_bytes(_png(9, 1))
    (tmp_path / "bomb.png").write_bytes(_png(100_000, 100_000))
    for i in range(20):  # above what Pillow refuses; many, for the threads
        (tmp_path / f"large{i}.png").write_bytes(_png(19_000, 10_000))
    (tmp_path / "text.png").write_bytes(_png(9, 1, text))
    decoded, load = [], ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: (decoded.append(image.size), load(image))[1])
    told = (
        "1 too large, 10,000 megapixels (bomb.png), 20 too large, 190 megapixels (large0.png, large1.png, large10.png,"
    )
    assert _passed_over(tmp_path).startswith(told)
    assert set(decoded) == {(9, 1)}


def test_a_damaged_avif_file_is_passed_over(tmp_path):
    if "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "a.avif")
    content = (tmp_path / "a.avif").read_bytes()
    start = content.index(b"mdat") + 4
    (tmp_path / "b.avif").write_bytes(content[:start] + bytes(len(content) - start))  # for Pillow a RuntimeError
    assert _passed_over(tmp_path) == "1 damaged (b.avif)"


@pytest.fixture
def linked(tmp_path):
    """A folder with one image, in a folder called x.png."""
    (tmp_path / "images" / "x.png").mkdir(parents=True)
    Image.new("L", (9, 9)).save(tmp_path / "images" / "x.png" / "good.png")
    return tmp_path / "images"


def test_linked_folders_are_followed_each_once(linked, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("L", (9, 9), 255).save(tmp_path / "elsewhere" / "white.png")
    (linked / "link").symlink_to(tmp_path / "elsewhere")
    (linked / "same.png").symlink_to(tmp_path / "elsewhere")
    (linked / "x.png" / "parent").symlink_to(linked)
    (linked / "x.png" / "self").symlink_to(".")
    (linked / "gone").symlink_to("nowhere")
    (tmp_path / "elsewhere" / "back").symlink_to(linked)
    dataset = folder(str(linked), size=8)
    assert dataset.images[:, 0, 0, 0].tolist() == [255, 0]
    assert dataset.description.endswith("; passed over: 1 without a suffix")  # the link to nowhere
    assert len(folder(str(linked / "link"), size=8)) == 2  # through elsewhere's link back


def test_what_is_no_file_is_passed_over_and_never_waited_for(linked, monkeypatch):
    (linked / "loop.png").symlink_to("loop.png")
    (linked / "dangling.png").symlink_to("nowhere.png")
    os.mkfifo(linked / "fifo.png")
    (linked / "to-fifo.png").symlink_to("fifo.png")
    monkeypatch.chdir(linked)  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
        told = _passed_over(linked)
    assert told == "5 no file (dangling.png, fifo.png, loop.png, socket.png, to-fifo.png)"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_rights_is_passed_over(linked):
    (linked / "closed").mkdir(mode=0)
    assert _passed_over(linked) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_names_cannot_reach_the_terminal_as_they_are(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "good.png")
    for name in (b"\x1b[2J\r\n.png", b"\xff.png", b"\xc2\x9b.png", "größe ☃.png".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"no")
    told = _passed_over(tmp_path)
    assert told.isprintable()
    told.encode()
    for shown in (r"\x1b[2J\r\n.png", r"\udcff.png", r"\x9b.png", "größe ☃.png"):
        assert shown in told


def test_images_and_tensors_map_to_each_other():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    unit = to_unit(levels)
    assert (unit.min().item(), unit.max().item()) == (-1, 1)
    assert torch.equal(to_uint8(unit), levels)


def test_resizing_keeps_a_constant_image_and_its_range():
    images = torch.full((3, 2, 28, 28), 255, dtype=torch.uint8)
    assert torch.equal(resized(images, 64), torch.full((3, 2, 64, 64), 255, dtype=torch.uint8))
    assert resized(images, None) is images
    with pytest.raises(ValueError, match="at least 1"):
        resized(images, 0)


def test_a_dataset_checks_itself():
    with pytest.raises(ValueError, match="uint8"):
        Dataset(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="at least one"):
        Dataset(torch.zeros(0, 1, 8, 8, dtype=torch.uint8))


def test_the_mean_image_is_that_of_all_blocks():
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1000, 2, 3, 4), dtype=torch.uint8, generator=rng)
    mean = Dataset(images).pixel_mean
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean.double(), images.double().mean(dim=0) / 255, rtol=1e-7, atol=0)


def test_every_epoch_draws_each_example_once_in_another_order():
    sampler = Sampler(10, seed=3)
    drawn = torch.cat([sampler.draw(4) for _ in range(5)])
    first, second = drawn[:10].tolist(), drawn[10:].tolist()
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert sampler.position == 20


@pytest.mark.parametrize("position", [0, 4, 8, 12, 20])
def test_a_sampler_goes_on_from_its_position(position):
    whole, rest = Sampler(10, seed=1), Sampler(10, seed=1, position=position)
    everything = torch.cat([whole.draw(4) for _ in range(10)])
    assert torch.cat([rest.draw(4) for _ in range(3)]).tolist() == everything[position : position + 12].tolist()


def test_batches_larger_than_the_dataset_and_other_seeds():
    assert sorted(Sampler(3, seed=0).draw(7).tolist())[:2] == [0, 0]
    assert Sampler(100, seed=0).draw(100).tolist() != Sampler(100, seed=1).draw(100).tolist()


def test_a_limit_leaves_the_rest_of_mnist_for_validation_and_the_test_split_whole():
    train, validation, test = (idx.mnist(split=split, limit=50_000) for split in ("train", "validation", "test"))
    assert (len(train), len(validation), len(test)) == (50_000, 10_000, 10_000)
    whole = idx.mnist()
    assert torch.equal(torch.cat([train.images, validation.images]), whole.images)
    assert torch.equal(torch.cat([train.labels, validation.labels]), whole.labels)
    with pytest.raises(UserError, match=r"dataset\.limit=60000 should be at least 1 and less than all 60000"):
        idx.mnist(limit=60_000)


def test_stacks_are_triplets_of_digits_and_their_labels_spell_them():
    digits, stacks = idx.mnist(split="test"), idx.stacked_mnist(split="test", n=300)
    assert stacks.images.shape == (300, 3, 28, 28)
    number_of = {image.numpy().tobytes(): label for image, label in zip(digits.images, digits.labels, strict=True)}
    for image, label in zip(stacks.images, stacks.labels, strict=True):
        spelled = [number_of[channel.numpy().tobytes()].item() for channel in image]
        assert stacks.class_names[label] == "".join(map(str, spelled))
    again, larger = idx.stacked_mnist(split="test", n=300), idx.stacked_mnist(split="test", n=300, size=32)
    assert torch.equal(again.images, stacks.images)
    assert torch.equal(larger.labels, stacks.labels) and larger.image_shape == (3, 32, 32)
    for n in (0, 10**9):
        with pytest.raises(UserError, match=rf"dataset\.n={n} should be at least 1 and at most 1000000"):
            idx.stacked_mnist(n=n)


@pytest.mark.parametrize("error", [struct.error, TypeError, AttributeError, Image.DecompressionBombError])
def test_whatever_pillow_raises_costs_one_picture(tmp_path, monkeypatch, error):
    for name, width in (("a.png", 9), ("b.png", 10)):
        Image.new("L", (width, 9)).save(tmp_path / name)
    fit = ImageOps.fit

    def failing(image, *arguments):
        if image.width == 10:
            raise error("required argument is not an integer")
        return fit(image, *arguments)

    monkeypatch.setattr(ImageOps, "fit", failing)
    reason = "too large" if error is Image.DecompressionBombError else "damaged"
    assert _passed_over(tmp_path) == f"1 {reason} (b.png)"


def test_damaged_exif_does_not_cost_the_picture(tmp_path, capsys):
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03"  # cut off: struct.error
    Image.new("L", (9, 9), 200).save(tmp_path / "b.jpg", exif=exif)
    dataset = folder(str(tmp_path), size=8)
    assert dataset.images[:, 0, 0, 0].tolist() == [0, 200]
    assert "passed over" not in dataset.description
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_an_image_s_array_is_its_own(mode, channels):
    image = Image.new(mode, (3, 2))
    array = decode.as_array(image)
    assert array.shape == (channels, 2, 3)
    array[:] = 9  # torch warns of arrays that can't be written to
    assert decode.as_array(image).max() == 0
