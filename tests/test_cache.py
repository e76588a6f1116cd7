"""The cache of decoded folders: when it is used, when it is made anew, and that nothing hangs on it."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_cli.data import cache, decode, reading
from gan_cli.data.decode import Target
from gan_cli.data.folder import folder
from gan_cli.data.sources import File

TOLD = "5 images of 4x4; passed over: 1 not an image (broken.png)"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder of five tiny pictures, whose pixels are 0, 10, 20, 30, 40, and one that is broken."""
    monkeypatch.setenv("GAN_CLI_CACHE", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    for i in range(5):
        Image.new("L", (4, 4), 10 * i).save(tmp_path / "images" / f"{i}.png")
    (tmp_path / "images" / "broken.png").write_bytes(b"no")
    for path in (tmp_path / "images").iterdir():
        os.utime(path, ns=(0, 0))  # so that not the times tell them apart
    return tmp_path / "images"


@pytest.fixture
def decoded(monkeypatch):
    """The values of the images that are decoded."""
    names, read = [], reading.read_image

    def noted(image, target):
        decoded = read(image, target)
        names.append(int(decoded.max()))
        return decoded

    monkeypatch.setattr(reading, "read_image", noted)
    return names


def _values(root, size=4, **options):
    return folder(str(root), size=size, channels=1, **options).images.float().mean(dim=(1, 2, 3)).tolist()


def _entries(root):
    """The entries of the cache, which holds nothing else but locks."""
    files = [path for path in (root.parent / "cache").rglob("*") if path.is_file()]
    entries = [path for path in files if path.name == "images.safetensors"]
    assert len(files) == 2 * len(entries)
    return entries


def test_later_starts_map_what_the_first_decoded_and_tell_the_same(root, decoded, monkeypatch):
    first = folder(str(root), size=4).images
    assert len(decoded) == 5
    for path, image in zip(sorted(root.glob("?.png")), first, strict=True):
        with Image.open(path) as picture:
            assert np.array_equal(image, reading.read_image(picture, Target(3, 4, 4)))
    decoded.clear()
    monkeypatch.chdir(root.parent)
    dataset = folder("images", size=4)
    assert torch.equal(dataset.images, first)
    assert decoded == []
    assert dataset.description == TOLD
    assert torch.equal(dataset.images[torch.tensor([4, 0, 4])][:, 0, 0, 0], torch.tensor([40, 0, 40]))
    assert _entries(root)
    if sys.platform == "linux":
        assert str(_entries(root)[0]) in Path("/proc/self/maps").read_text()
    dataset.images.fill_(7)  # the process's own copy of the pages
    assert torch.equal(folder("images", size=4).images, first)


def _rewritten(root):
    status = (root / "3.png").stat()
    Image.new("L", (4, 4), 33).save(root / "3.png")
    os.utime(root / "3.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert (root / "3.png").stat().st_size == status.st_size


@pytest.mark.parametrize(
    ("change", "values"),
    [
        (lambda root: Image.new("L", (4, 4), 99).save(root / "9.png"), [0, 10, 20, 30, 40, 99]),
        (lambda root: (root / "3.png").unlink(), [0, 10, 20, 40]),
        (lambda root: (root / "3.png").rename(root / "5.png"), [0, 10, 20, 40, 30]),
        (_rewritten, [0, 10, 20, 33, 40]),
    ],
    ids=["more", "fewer", "renamed", "rewritten"],
)
def test_a_folder_that_has_changed_replaces_its_entry(root, change, values):
    _values(root)
    assert _values(root, size=2) == [0, 10, 20, 30, 40]
    before = _entries(root)
    change(root)
    assert _values(root) == values
    assert _entries(root) == before
    assert len(before) == 2


def test_another_decoder_makes_it_anew(root, decoded, monkeypatch):
    _values(root)
    monkeypatch.setattr(decode, "DECODER", decode.DECODER + 1)
    _values(root)
    assert len(decoded) == 10


def test_what_could_not_be_read_is_tried_again(root, decoded, monkeypatch):
    read = Path.read_bytes

    def refused(path):
        if path.name == "2.png":
            raise PermissionError(path)
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refused)
        assert _values(root) == _values(root) == [0, 10, 30, 40]
        assert len(decoded) == 4
        told = "4 images of 4x4; passed over: 1 without rights (2.png), 1 not an image (broken.png)"
        assert folder(str(root), size=4, channels=1).description == told
    assert _values(root) == [0, 10, 20, 30, 40]
    assert folder(str(root), size=4, channels=1).description == TOLD


def _with_header(change):
    def damage(entry):
        content = entry.read_bytes()
        header = json.loads(content[8 : cache.HEADER])
        change(header)
        entry.write_bytes(content[:8] + json.dumps(header).encode().ljust(cache.HEADER - 8) + content[cache.HEADER :])

    return damage


DAMAGES = {
    "empty": lambda entry: entry.write_bytes(b""),
    "in the header": lambda entry: os.truncate(entry, 100),
    "in the images": lambda entry: os.truncate(entry, cache.HEADER + 20),
    "longer": lambda entry: entry.write_bytes(entry.read_bytes() + b"x"),
    "pickle": lambda entry: entry.write_bytes(b"\x80\x04}."),
    "no metadata": _with_header(lambda header: header.pop("__metadata__")),
    "other key": _with_header(lambda header: header["__metadata__"].update(key="0")),
    "other names": _with_header(lambda header: header.update(pictures=header.pop("images"))),
    "other shape": _with_header(lambda header: header["images"].update(shape=[5, 1, 8, 2])),
    "other dtype": _with_header(lambda header: header["images"].update(dtype="I8")),
    "no facts": _with_header(lambda header: header["facts"].update(dtype="I8")),
    "other facts": lambda entry: entry.write_bytes(entry.read_bytes()[: -cache.FACTS] + b"\1" * cache.FACTS),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_or_foreign_entry_is_made_anew(root, decoded, damage):
    _values(root)
    (entry,) = _entries(root)
    whole = entry.read_bytes()
    damage(entry)
    assert _values(root) == [0, 10, 20, 30, 40]
    assert len(decoded) == 10
    assert entry.read_bytes() == whole


def test_a_killed_start_leaves_a_temporary_file_that_the_next_one_removes(root):
    code = (
        "import os, signal, sys; from gan_cli.data import folder, reading; read = reading.read_image\n"
        "kill = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
        "reading.read_image = lambda image, *more: kill() if image.getpixel((0, 0)) == 30 else read(image, *more)\n"
        "folder.folder(sys.argv[1], 4, 1)"
    )
    assert subprocess.run([sys.executable, "-c", code, root], timeout=60).returncode == -signal.SIGKILL
    (left,) = (root.parent / "cache").rglob("*.tmp")
    assert _values(root) == [0, 10, 20, 30, 40]
    assert not left.exists()
    assert _entries(root)


def test_an_interrupted_start_leaves_nothing(root, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reading, "read_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _values(root)
    assert [path.name for path in (root.parent / "cache").rglob("*") if path.is_file()] == [".lock"]
    assert _values(root) == [0, 10, 20, 30, 40]


def test_two_starts_at_once_decode_once(root, decoded, caplog, monkeypatch):
    waits, read, results = threading.Event(), reading.read_image, []

    def slow(*arguments):
        assert waits.wait(timeout=20)  # until the other one has found the lock taken
        return read(*arguments)

    class Handler(logging.Handler):
        def emit(self, record):
            if "waiting" in record.getMessage():
                waits.set()

    handler = Handler()
    monkeypatch.setattr(reading, "read_image", slow)
    monkeypatch.setattr(cache.log, "handlers", [handler])
    starts = [threading.Thread(target=lambda: results.append(_values(root))) for _ in range(2)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert results == [[0, 10, 20, 30, 40]] * 2
    assert len(decoded) == 5
    assert sum("another run makes the same images" in message for message in caplog.messages) == 1


def _no_folder(root, monkeypatch):
    (root.parent / "cache").write_bytes(b"")


def _no_home(root, monkeypatch):
    monkeypatch.delenv("GAN_CLI_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)


def _full(root, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: cache.shutil._ntuple_diskusage(100, 50, 50))


def _full_in_the_end(root, monkeypatch):
    def fsync(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)


def _unmappable(root, monkeypatch):
    def safe_open(*_):
        raise RuntimeError("unable to mmap")

    monkeypatch.setattr(cache, "safe_open", safe_open)


@pytest.mark.parametrize(
    ("obstacle", "complaint"),
    [
        (_no_folder, "Not a directory"),
        (_no_home, "home directory"),
        (_full, "No space left on device for 9.6e-08 GB"),
        (_full_in_the_end, "No space left"),
        (_unmappable, "can't be read back"),
    ],
)
def test_where_nothing_can_be_kept_the_images_stay_in_memory(root, obstacle, complaint, caplog, monkeypatch):
    obstacle(root, monkeypatch)
    assert _values(root) == [0, 10, 20, 30, 40]
    warning, dark = caplog.messages
    assert dark.startswith("no image has a value above 40 of 255")
    assert "stay in memory" in warning and complaint in warning and "GAN_CLI_CACHE=FOLDER" in warning
    assert not list(root.parent.rglob("*.tmp"))


def test_the_memory_taken_does_not_grow_with_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_CLI_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    lock, alive, most = threading.Lock(), 0, 0

    def change(by):
        nonlocal alive, most
        with lock:
            alive += by
            most = max(most, alive)

    def read(file):
        image = np.full((1, 2, 2), int(file.name) % 256, np.uint8)
        change(1)
        weakref.finalize(image, change, -1)
        return cache.Decoded(image, bytes(8))

    files = [File(str(i), "", bytes) for i in range(500)]
    found = cache.images_of(files, read, (1, 2, 2), "x", "key", [tmp_path])
    assert found.images[:, 0, 0, 0].tolist() == [i % 256 for i in range(500)]
    assert (found.unreadable, found.files) == ({}, files)
    assert 2 <= most <= 12


def test_entries_go_with_their_folders(root, tmp_path):
    shutil.copytree(root, tmp_path / "gone")
    _values(tmp_path / "gone")
    _values(root)
    assert len(_entries(root)) == 2
    shutil.rmtree(tmp_path / "gone")
    _values(root, size=2)  # the next entry that is made
    assert len(list(tmp_path.rglob("images.safetensors"))) == 2
    assert cache.size_on_disk() == sum(entry.stat().st_size for entry in tmp_path.rglob("images.safetensors"))
