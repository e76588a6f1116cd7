"""The datasets: IDX files, folders of any images, the order of minibatches."""

import gzip
import hashlib
import logging
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from gan_cli.data import Dataset, Sampler, cifar, idx, resized, to_unit
from gan_cli.data.folder import folder
from gan_cli.errors import UserError
from gan_cli.images import to_uint8

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
def test_a_folder_of_every_kind_of_image(pictures, channels, caplog):
    with caplog.at_level(logging.WARNING):
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
    (warning,) = caplog.messages
    assert warning == "skipped 2 of 12 files that are no readable images: broken.png, empty.jpg"


def test_folders_that_hold_nothing(tmp_path):
    with pytest.raises(UserError, match="no image files below"):
        folder(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(UserError, match="none of the 1 image files"):
        folder(str(tmp_path))
    with pytest.raises(UserError, match="is not a folder"):
        folder(str(tmp_path / "a.png"))
    with pytest.raises(UserError, match="needs dataset.root=PATH"):
        folder(None)
    with pytest.raises(UserError, match="choose 1"):
        folder(str(tmp_path), channels=2)


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
