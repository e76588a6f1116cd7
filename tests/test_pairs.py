"""Images of two domains: pairs in every layout, unpaired images, splits, jitter, and what is said of them."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from gan_cli.data import NoSplit, made
from gan_cli.data.pairs import Jitter, Pairs, Unpaired, pairs, unpaired
from gan_cli.errors import UserError


def _picture(value, size=(8, 8)):
    return Image.new("RGB", size, (value, 255 - value, 7))


def _save(root, **images):
    """Save ``images`` below ``root`` by their names, with __ for / and a suffix of its own for every other one."""
    for i, (name, image) in enumerate(images.items()):
        path = root / f"{name.replace('__', '/')}.{('png', 'bmp')[i % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


@pytest.fixture
def two(tmp_path, own_cache):
    """Folders a and b: x and y have a partner, the others none."""
    _save(tmp_path / "a", y=_picture(20), x=_picture(10), alone=_picture(30), alone2=_picture(31))
    _save(tmp_path / "b", x=_picture(110), y=_picture(120), z=_picture(130))
    return {"a": str(tmp_path / "a"), "b": str(tmp_path / "b")}


def test_two_folders_are_matched_by_name_and_what_is_left_over_is_named(two):
    found = pairs(**two, size=8)
    assert found.names == ["x", "y"]
    assert found.sources[:, 0].float().mean(dim=(1, 2)).tolist() == [10, 20]
    assert found.targets[:, 0].float().mean(dim=(1, 2)).tolist() == [110, 120]
    assert "2 pairs of 8x8, colour to colour" in found.description
    assert "2 only in A (alone.png, alone2.bmp), 1 only in B (z.png)" in found.description
    back = pairs(**two, size=8, direction="BtoA")
    assert torch.equal(back.sources, found.targets) and torch.equal(back.targets, found.sources)


def test_the_domains_may_differ_in_channels_and_a_batch_holds_the_source_first(two):
    found = pairs(**two, size=[4, 8], channels=[1, 3])
    assert (found.source_channels, found.image_shape, found.images.shape) == (1, (3, 4, 8), (2, 4, 4, 8))
    assert found.facts == {"image_shape": (3, 4, 8), "source_channels": 1}
    batch = found.network_input(found.examples)
    assert torch.allclose(batch[:, 1:], found.targets.float() / 127.5 - 1)
    back = pairs(**two, size=[4, 8], channels=[1, 3], direction="BtoA")
    assert (back.source_channels, back.image_shape) == (3, (1, 4, 8))


def test_no_name_in_common_gets_one_line(two, tmp_path):
    _save(tmp_path / "c", other=_picture(1))
    with pytest.raises(
        UserError, match=r"no image of A has the name of an image of B: 4 only in A \(alone.png.*, 1 only "
    ):
        pairs(a=two["a"], b=str(tmp_path / "c"), size=8)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"direction": "AB"}, "dataset.direction=AB: choose from AtoB, BtoA"),
        ({"layout": "x"}, "dataset.layout=x: choose from side_by_side, folders"),
        ({"make": "x"}, "dataset.make=x: choose from grey, edges, blur, mask"),
        ({"holdout": 1}, "dataset.holdout=1 should be a share"),
        ({"load_size": 4}, "dataset.load_size=4 should be at least dataset.size=8"),
        ({"channels": [3, 3, 3]}, "dataset.channels=[3, 3, 3] should be one number, or two"),
        ({"channels": [3, 2]}, "dataset.channels=2: choose 1"),
        ({"b": None}, "dataset=pairs needs dataset.b=PATH"),
        ({"a": None, "b": None}, "dataset=pairs needs dataset.root=PATH"),
        ({"a": None, "b": None, "layout": "folders"}, "dataset=pairs needs dataset.root=PATH"),
    ],
)
def test_an_impossible_option_gets_one_line(two, options, line):
    with pytest.raises(UserError, match=re.escape(line)):
        pairs(**{**two, "size": 8, **options})


def test_side_by_side_the_left_half_is_a_and_an_upright_one_is_found_by_its_exif(tmp_path, own_cache):
    wide = Image.new("RGB", (12, 4))
    wide.paste(_picture(10, (6, 4)), (0, 0))
    wide.paste(_picture(200, (6, 4)), (6, 0))
    _save(tmp_path, plain=wide)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    wide.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    found = pairs(str(tmp_path), size=[4, 6])
    assert found.sources[:, 0].unique().tolist() == [10] and found.targets[:, 0].unique().tolist() == [200]
    assert found.images.shape == (2, 6, 4, 6)
    assert pairs(str(tmp_path), size=[4, 6], direction="BtoA").sources[:, 0].unique().tolist() == [200]


@pytest.mark.parametrize("make", ["grey", "edges", "blur", "mask"])
def test_a_source_is_made_from_every_image_of_a_folder(make, tmp_path, own_cache):
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    _save(tmp_path, x=Image.fromarray(noise))
    found = pairs(str(tmp_path), make=make, size=16)
    assert np.array_equal(found.targets[0].permute(1, 2, 0), noise)
    assert found.source_channels == (1 if make in ("grey", "edges") else 3)
    assert np.array_equal(found.sources[0], made.MADE[make](noise.transpose(2, 0, 1)))
    back = pairs(str(tmp_path), make=make, size=16, direction="BtoA")
    assert torch.equal(back.sources, found.targets) and torch.equal(back.targets, found.sources)


def test_what_is_made():
    picture = np.zeros((3, 16, 16), np.uint8)
    picture[:, :, 8:] = np.array([255, 0, 0])[:, None, None]
    assert made.grey(picture)[0, 0].tolist() == [0] * 8 + [76] * 8  # .299 of 255
    edges = made.edges(picture)[0]
    assert edges.shape == (16, 16) and (edges[:, 6:10] < 240).all() and (edges[:, :4] == 255).all()
    masked = made.mask(picture)
    assert (masked[:, 4:12, 4:12] == 128).all() and np.array_equal(masked[:, :4], picture[:, :4])
    assert abs(made.blur(np.full((1, 16, 16), 9, np.uint8)).astype(int) - 9).max() == 0
    assert made.blur(picture)[0].std() < picture[0].std()


def test_a_crop_and_a_mirror_image_are_drawn_once_for_both_of_a_pair():
    row = torch.arange(8, dtype=torch.uint8)
    images = (row + 10 * row[:, None]).expand(500, 6, 8, 8)  # each pixel says where it was
    found = Pairs(images, 3, Jitter((6, 4), flip=True))
    torch.manual_seed(0)
    batch = ((found.network_input(images) + 1) * 127.5).round()
    assert batch.shape == (500, 6, 6, 4) and torch.equal(batch[:, :3], batch[:, 3:])
    corners, mirrored = batch[:, 0, 0, 0].int(), batch[:, 0, 0, 0] > batch[:, 0, 0, 1]
    left = torch.where(mirrored, corners - 3, corners)
    assert set(left.tolist()) == {10 * y + x for y in range(3) for x in range(5)}
    assert 0.4 < mirrored.float().mean() < 0.6
    torch.manual_seed(0)
    assert torch.equal(((found.network_input(images) + 1) * 127.5).round(), batch)


def test_held_out_pairs_have_no_jitter_and_are_the_same_at_every_start(tmp_path, own_cache):
    for name in "ab":
        _save(tmp_path / name, **{f"n{i}": _picture(i) for i in range(40)})
    options = {"a": str(tmp_path / "a"), "b": str(tmp_path / "b"), "size": 8, "load_size": 10, "flip": True}
    train, test = (pairs(**options, holdout=0.25, split=split) for split in ("train", "test"))
    assert train.images.shape[-2:] == (10, 10) and test.images.shape[-2:] == (8, 8)
    assert test.jitter == Jitter((8, 8)) and train.jitter == Jitter((8, 8), True)
    assert set(train.names).isdisjoint(test.names) and len(train) + len(test) == 40 and 4 <= len(test) <= 16
    assert f"held out: {len(test)} for test" in train.description
    apart = unpaired(**options, holdout=0.25, split="test")
    assert isinstance(apart, Pairs) and apart.names == test.names  # the same names are held out on both sides
    with pytest.raises(NoSplit):
        pairs(**options, split="test")


def test_folders_named_train_and_test_are_splits(tmp_path, own_cache):
    for split, values in {"train": (1, 2, 3), "test": (4,), "val": (5, 6)}.items():
        for domain in "ab":
            _save(tmp_path / domain / split, **{f"i{value}": _picture(value) for value in values})
    found = {
        split: pairs(a=str(tmp_path / "a"), b=str(tmp_path / "b"), size=8, split=split).images[:, 0, 0, 0].tolist()
        for split in ("train", "validation", "test")
    }
    assert found == {"train": [1, 2, 3], "validation": [5, 6], "test": [4]}
    rooted = pairs(str(tmp_path), layout="folders", size=8)
    assert rooted.images[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_trainA_and_its_sisters(tmp_path, own_cache):
    for folder, values in {"trainA": (1, 2, 3), "trainB": (101, 102), "testA": (4,), "testB": (104, 105)}.items():
        _save(tmp_path / "set" / folder, **{f"i{value}": _picture(value) for value in values})
    train, test = (unpaired(str(tmp_path), size=8, split=split) for split in ("train", "test"))
    assert isinstance(train, Unpaired) and isinstance(test, Unpaired)
    assert (train.sources[:, 0, 0, 0].tolist(), train.targets[:, 0, 0, 0].tolist()) == ([1, 2, 3], [101, 102])
    assert test.targets[:, 0, 0, 0].tolist() == [104, 105]
    assert "3 source and 2 target images of 8x8, colour to colour; held out: 1 for test" in train.description
    back = unpaired(str(tmp_path), size=8, direction="BtoA")
    assert back.sources[:, 0, 0, 0].tolist() == [101, 102]
    with pytest.raises(UserError, match="should hold folders A and B"):
        unpaired(str(tmp_path / "set" / "trainA"), size=8)


def test_targets_are_drawn_at_random_beside_the_sources_that_an_epoch_holds():
    sources, targets = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.arange(5, dtype=torch.uint8)
    found = Unpaired(sources, 1, Jitter((2, 2)), others=targets[:, None, None, None].expand(5, 3, 2, 2))
    assert len(found) == 4 and found.image_shape == (3, 2, 2)
    torch.manual_seed(0)
    batch = found.network_input(torch.zeros(2000, 1, 2, 2, dtype=torch.uint8))
    assert batch.shape == (2000, 4, 2, 2)
    drawn = ((batch[:, 1, 0, 0] + 1) * 127.5).round().int().bincount()
    assert drawn.shape == (5,) and (drawn - 400).abs().max() < 80


def test_a_changed_partner_changes_the_fingerprint_and_a_broken_one_is_passed_over(two, tmp_path):
    before = pairs(**two, size=8)
    assert pairs(**two, size=8).fingerprint == before.fingerprint
    _save(tmp_path / "b", x=_picture(99))
    after = pairs(**two, size=8)
    assert after.fingerprint != before.fingerprint and after.targets[0, 0, 0, 0] == 99
    (tmp_path / "b/y.bmp").write_bytes(b"no")
    assert "1 not an image (y)" in pairs(**two, size=8).description


def test_deep_pixels_of_one_domain_get_a_range_of_their_own(tmp_path, own_cache):
    _save(tmp_path / "b", x=_picture(100), y=_picture(100))
    (tmp_path / "a").mkdir()
    for name, top in {"x": 1000, "y": 4000}.items():
        Image.fromarray(np.full((8, 8), top, np.uint16)).save(tmp_path / f"a/{name}.png")
    found = pairs(a=str(tmp_path / "a"), b=str(tmp_path / "b"), size=8, channels=[1, 3])
    assert found.sources[:, 0, 0, 0].tolist() == [62, 249]  # of 4095
    assert found.targets[:, 0].unique().tolist() == [100] and "deep pixels from 0 to 4095" in found.description
