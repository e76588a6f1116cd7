"""Checkpoints as data: what is refused, and how."""

import copy
import dataclasses
import json
import os
import pickle
import tracemalloc
import zipfile

import pytest
import safetensors.torch
import torch

from gan_cli import build, checkpoint, files, tensorfile
from gan_cli.errors import UserError
from gan_cli.networks import mlp
from gan_cli.sample import load_generator

NET = {
    "generator": {"_target_": "gan_cli.networks.mlp.Generator", "widths": [8], "norm": True},
    "discriminator": {"_target_": "gan_cli.networks.mlp.Discriminator", "widths": [8]},
    "z_dim": 4,
    "prior": "normal",
}


def _save(folder, net=NET, **extra):
    torch.manual_seed(0)
    generator = mlp.Generator((1, 8, 8), 4, widths=(8,))
    config = {"net": net, "image_shape": [1, 8, 8], **extra}
    modules = {"generator": generator, "ema": generator}
    return checkpoint.save(
        folder / "checkpoints", checkpoint.Progress(7, 70, 1.5), config, modules, {}, torch.device("cpu")
    )


def test_a_checkpoint_comes_back_by_file_and_by_folder(tmp_path):
    path = _save(tmp_path)
    assert path.name == "00000007.safetensors"
    for location in (tmp_path, path):
        opened = checkpoint.read(location)
        assert opened.progress == checkpoint.Progress(7, 70, 1.5)
        assert load_generator(opened)(torch.zeros(2, 4)).shape == (2, 1, 8, 8)


def test_last_is_replaced_and_the_older_one_kept(tmp_path):
    folder, config, nothing = tmp_path / "checkpoints", {}, torch.device("cpu")
    for step in (1, 2):
        weights = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(weights.weight, step)
        checkpoint.save(folder, checkpoint.Progress(step), config, {"ema": weights}, {}, nothing)
    values = {p.name: safetensors.torch.load_file(p)["ema.weight"].item() for p in folder.iterdir()}
    assert values == {"00000001.safetensors": 1, "00000002.safetensors": 2, "last.safetensors": 2}


def test_damaged_checkpoints_of_later_steps_do_not_count_among_those_that_are_kept(tmp_path):
    for step in (1, 2, 9, 3, 4):
        weights = {"ema": torch.nn.Linear(1, 1)}
        checkpoint.save(tmp_path, checkpoint.Progress(step), {}, weights, {}, torch.device("cpu"), keep=2)
    assert [int(path.stem) for path in checkpoint.in_order(tmp_path)] == [9, 4, 3]


def test_a_checkpoint_that_the_disk_no_longer_gives_back_is_passed_over(tmp_path, monkeypatch, caplog):
    first = _save(tmp_path)
    checkpoint.save(tmp_path / "checkpoints", checkpoint.Progress(8), {}, {}, {}, torch.device("cpu"))
    original = tensorfile.is_sealed

    def failing(path, digest):
        if path.name == "last.safetensors":
            raise OSError(5, "Input/output error")
        return original(path, digest)

    monkeypatch.setattr(tensorfile, "is_sealed", failing)
    assert checkpoint.read(tmp_path).path == first
    assert "last.safetensors can't be read: Input/output error; going back to the one before it" in caplog.text


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_atomic(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=f"No space.*{path}"):  # the system doesn't name the file: we do
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_only_our_own_leftovers_are_removed(tmp_path):
    names = (".last.safetensors.123.tmp", ".mine.tmp", "notes.123.tmp", "kept")
    for name in names:
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path, tmp_path / "not there")
    assert {path.name for path in tmp_path.iterdir()} == set(names[1:])


def test_what_is_no_checkpoint_is_told(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(UserError, match="no such checkpoint"):
        checkpoint.read(path)
    with pytest.raises(UserError, match="no checkpoint in"):
        checkpoint.read(tmp_path)
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="not a checkpoint of gan-train"):
        checkpoint.read(path)
    for facts in ("[]", "{", json.dumps({"format": 1}), json.dumps({"format": 1, "step": "x"})):
        safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"gan_cli": facts})
        with pytest.raises(UserError, match="not a checkpoint of gan-train"):
            checkpoint.read(path)
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"gan_cli": json.dumps({"format": 99})})
    with pytest.raises(UserError, match="format 99"):
        checkpoint.read(path)


def test_the_format_before_which_had_no_checksum_is_still_read(tmp_path):
    path = _save(tmp_path)
    content = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["gan_cli"])
    old = {name: facts[name] for name in ("step", "images", "seconds", "config", "param_groups")} | {"format": 1}
    safetensors.torch.save_file(content, tmp_path / "old.safetensors", {"gan_cli": json.dumps(old)})
    opened = checkpoint.read(tmp_path / "old.safetensors")
    assert opened.progress == checkpoint.Progress(7, 70, 1.5, lr_scale=1.0, best=None)
    assert load_generator(opened)(torch.zeros(2, 4)).shape == (2, 1, 8, 8)


def test_every_byte_of_a_checkpoint_is_the_same_the_second_time(tmp_path):
    assert _save(tmp_path / "a").read_bytes() == _save(tmp_path / "b").read_bytes()


class Payload:
    """Unpickled, it would make the canary."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt", "x.pth"])
def test_a_pickle_is_refused_and_not_run(tmp_path, name):
    path, canary = tmp_path / name, tmp_path / "canary"
    for write in (pickle.dump, torch.save):
        with path.open("wb") as file:
            write({"config": Payload(canary), "generator": {}}, file)
        with pytest.raises(UserError, match="not a readable checkpoint: "):
            checkpoint.read(path)
        assert not canary.exists()
    torch.load(path.rename(tmp_path / "proof"), weights_only=False)
    assert canary.exists()  # so it would have worked


def test_weights_of_another_program_are_read_without_running_anything(tmp_path):
    generator = mlp.Generator((1, 8, 8), 4, widths=(8,))
    content = {"config": {"net": NET, "image_shape": [1, 8, 8]}, "generator": generator.state_dict()}
    torch.save(content, tmp_path / "a.pt")
    z = torch.randn(3, 4)
    assert torch.equal(load_generator(checkpoint.read(tmp_path / "a.pt"))(z), generator.eval()(z))

    hostile = {**content, "config": {"net": {**NET, "generator": {"_target_": "os.system"}}, "image_shape": [1, 8, 8]}}
    torch.save(hostile, tmp_path / "b.pt")
    with pytest.raises(UserError, match=r"names os\.system, which is not part of gan-cli"):
        load_generator(checkpoint.read(tmp_path / "b.pt"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (mlp.Generator((1, 8, 8), 4).state_dict(), "holds no generator and its config"),
        ([1, 2], "holds no generator and its config"),
        ({"config": {}, "generator": {"w": torch.zeros(1).expand(10**12)}}, "larger than the file"),
        ({"config": {"a": float("nan")}, "generator": {}}, "not JSON compliant"),
        ({"config": {}, "generator": bytearray(10)}, "bytearray, which is not run"),
        ({"config": {}, "generator": torch.device("cpu")}, "torch device, which is not run"),
    ],
)
def test_other_pt_files_get_one_line(tmp_path, content, complaint):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(UserError, match=complaint):
        checkpoint.read(tmp_path / "x.pt")


def test_a_pickle_of_another_name_is_looked_through_too(tmp_path):
    torch.save({"config": {}, "generator": bytearray(10)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as old, zipfile.ZipFile(tmp_path / "y.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name.replace("data.pkl", "DATA.PKL"), old.read(name))
    with pytest.raises(UserError, match="bytearray, which is not run"):
        checkpoint.read(tmp_path / "y.pt")


def test_lists_that_refer_to_each_other_are_not_walked_through(tmp_path):
    laughs = [1] * 10
    for _ in range(12):
        laughs = [laughs] * 10
    torch.save({"config": {"a": laughs}, "generator": {}}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="it holds more than 50,000 values"):
        checkpoint.read(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"config": {"a": ["a" * 900_000] * 2000}, "generator": {}}, "its words have more than 1,048,576 characters"),
        ({"config": {}, "generator": {("a" * 900_000,) * 2000: 1}}, "its words have more than 1,048,576 characters"),
        ({"config": {"a": 10**400}, "generator": {}}, "a number in its pickle is too large"),
        (torch.zeros(1), "holds no generator and its config .a Tensor"),
    ],
)
def test_words_and_numbers_larger_than_the_file_are_not_put_together(tmp_path, content, complaint):
    torch.save(content, tmp_path / "x.pt")
    tracemalloc.start()
    with pytest.raises(UserError, match=complaint):
        checkpoint.read(tmp_path / "x.pt")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("ending", [b"s.", b"e.", b"u.", b"b.", b"N\x85R.", b"N(t\x86\x87."])
def test_a_pickle_that_trips_torch_up_gets_one_line(tmp_path, ending):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + ending)
    with pytest.raises(UserError, match="not what torch.save writes, or damaged"):
        checkpoint.read(tmp_path / "x.pt")


def test_an_average_that_is_the_generator_itself_is_read(tmp_path):
    weights = mlp.Generator((1, 8, 8), 4, widths=(8,)).state_dict()
    config = {"net": NET, "image_shape": [1, 8, 8]}
    torch.save({"config": config, "generator": weights, "ema": weights}, tmp_path / "x.pt")
    assert load_generator(checkpoint.read(tmp_path / "x.pt"))(torch.zeros(2, 4)).shape == (2, 1, 8, 8)


def test_a_file_that_wants_more_noise_than_its_network_takes_is_refused(tmp_path):
    net = {**NET, "z_dim": 60_000, "generator": {**NET["generator"], "z_dim": 4}}
    with pytest.raises(UserError, match=r"net.generator fails on an input of shape \[2, 60000\]"):
        load_generator(checkpoint.read(_save(tmp_path, net)))


def test_a_compressed_pt_file_is_refused_unread(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\0" * 10**7)
    with pytest.raises(UserError, match="it is compressed"):
        checkpoint.read(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.load",
        "builtins.eval",
        "gan_cli_evil.Generator",
        "gan_cli.files.write_atomic",
        "gan_cli.networks.maxout.torch.load",  # reached through what a module imports
        "gan_cli.networks.mlp.nn.Linear",
        "gan_cli.data.folder.os.makedirs",
        "gan_cli.data.idx.mnist",  # ours, but no generator
    ],
)
def test_a_target_outside_the_package_is_refused(tmp_path, target):
    net = {**NET, "generator": {"_target_": target, "command": "touch canary"}}
    opened = checkpoint.read(_save(tmp_path, net))
    with pytest.raises(UserError, match=f"names {target}, which is (not part|no net) of gan-cli"):
        load_generator(opened)


def test_a_target_hidden_deeper_and_interpolations_are_refused(tmp_path):
    hidden = {**NET, "generator": {**NET["generator"], "widths": [{"_target_": "os.system", "command": "true"}]}}
    with pytest.raises(UserError, match=r"names os\.system"):
        load_generator(checkpoint.read(_save(tmp_path / "a", hidden)))
    leaking = {**NET, "generator": {**NET["generator"], "widths": "${oc.env:HOME}"}}
    with pytest.raises(UserError, match="unresolved"):
        load_generator(checkpoint.read(_save(tmp_path / "b", leaking)))


def test_trust_admits_a_package_by_its_whole_name(tmp_path):
    config = {"generator": {"_target_": "fractions.Fraction"}}
    build.check_trusted(config, tmp_path, ["fractions"], "net")
    with pytest.raises(UserError, match=r"trust=\[fractions\]"):
        build.check_trusted(config, tmp_path, ["fraction"], "net")
    with pytest.raises(UserError, match=r"names fractions\.re\.compile"):  # what a trusted package merely imports
        build.check_trusted({"_target_": "fractions.re.compile"}, tmp_path, ["fractions"], "loss")


@pytest.mark.parametrize(
    ("group", "config"),
    [
        ("net", {"generator": {"_target_": "gan_cli.cli.Callbacks"}}),
        ("net", {"generator": {"_target_": "torch.optim.Adam"}}),
        ("loss", {"_target_": "gan_cli.data.folder.folder"}),
        ("optimizer", {"generator": {"_target_": "torch.optim.Adam", "betas": [{"_target_": "torch.optim.Adam"}]}}),
        ("net", {"x": {"_target_": "gan_cli.networks.mlp.Generator"}}),
    ],
)
def test_a_target_of_ours_in_another_place_is_refused(tmp_path, group, config):
    with pytest.raises(UserError, match="which is (not part|no (net|loss)) of gan-cli"):
        build.check_trusted(config, tmp_path, [], group)


def test_empty_layers_and_endless_noise_are_refused(tmp_path):
    empty = {**NET, "generator": {**NET["generator"], "widths": [0], "norm": False}}
    with pytest.raises(UserError, match="a layer needs a width of 1 or more"):
        build.generator(empty, {"image_shape": (1, 8, 8)})
    with pytest.raises(UserError, match="net.z_dim=67108864 is too large"):
        load_generator(checkpoint.read(_save(tmp_path, {**NET, "z_dim": 2**26})))


def test_every_configuration_of_ours_is_trusted_without_a_word(tmp_path):
    assert {"gan_cli.networks.conv.Generator", "torch.optim.Adam", "gan_cli.losses.minimax"} <= build.shipped_targets()
    assert all(target.startswith("gan_cli.networks.") for target in build.shipped_targets("net"))


def test_weights_that_do_not_fit_are_told(tmp_path):
    wider = {**NET, "generator": {**NET["generator"], "widths": [9]}}
    with pytest.raises(
        UserError,
        match="don't fit the configuration of net.generator: 0.bias has shape .8,. in the file, and should have .9,.",
    ):
        load_generator(checkpoint.read(_save(tmp_path, wider)))


def test_a_configuration_without_a_generator_is_told(tmp_path):
    for net in ({}, [], None, {"generator": 3, "z_dim": 4, "prior": "normal"}):
        with pytest.raises(UserError):
            load_generator(checkpoint.read(_save(tmp_path, net)))


@pytest.mark.parametrize(
    ("name", "value"),
    [("seconds", -1), ("seconds", 1e300), ("seconds", True), ("best", "x"), ("lr_scale", 0), ("lr_scale", 9.0)],
)
def test_progress_that_no_run_comes_to_is_refused(tmp_path, name, value):
    progress = dataclasses.replace(checkpoint.Progress(7, 70, 1.5), **{name: value})
    path = checkpoint.save(tmp_path, progress, {}, {}, {}, torch.device("cpu"))
    with pytest.raises(UserError, match="is not a checkpoint of gan-train"):
        checkpoint.read(path)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "9" * 5000, str(2**63), "1e400", "-1e400"])
def test_numbers_that_only_python_can_hold_are_refused(number):
    with pytest.raises(ValueError, match="a number in its JSON is too large"):
        tensorfile.strict_json(f"[{number}]", most=10)
    assert tensorfile.strict_json(f"[{2**63 - 1}, {-(2**63)}, 1e308]", most=10) == [2**63 - 1, -(2**63), 1e308]


def _trained(make_optimizer):
    """A layer, and its optimizer after a step."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(2, 2)
    optimizer = make_optimizer(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return layer, optimizer


@pytest.mark.parametrize("make_optimizer", [torch.optim.Adam, torch.optim.RMSprop])
def test_an_optimizer_is_read_without_moving_a_weight_and_refused_where_a_part_is_missing(tmp_path, make_optimizer):
    layer, optimizer = _trained(make_optimizer)
    saved = optimizer.state_dict()
    path = checkpoint.save(tmp_path, checkpoint.Progress(), {}, {"g": layer}, {"g": optimizer}, torch.device("cpu"))
    opened = checkpoint.read(path)
    fresh = make_optimizer(layer.parameters())
    before = copy.deepcopy(layer.state_dict())
    checkpoint.load_optimizer(opened, "g", fresh)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    for index, entries in fresh.state_dict()["state"].items():
        assert all(torch.equal(entries[key], saved["state"][index][key]) for key in saved["state"][index])

    tensors = safetensors.torch.load_file(path)
    for name in [name for name in tensors if name.startswith("optimizer.g.0.")]:
        less = {key: value for key, value in tensors.items() if key != name}
        part = dataclasses.replace(opened, loaded=less)
        with pytest.raises(UserError, match="the g's optimizer in .* can't be read"):
            checkpoint.load_optimizer(part, "g", make_optimizer(layer.parameters()))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_among_the_checkpoints_is_not_waited_for(tmp_path):
    path = _save(tmp_path)
    os.mkfifo(path.with_name("00000099.safetensors"))
    assert checkpoint.in_order(path.parent) == [path]


def test_the_largest_networks_that_are_built_have_checkpoints_that_are_read(tmp_path):
    """As many parameters as there may be, with the buffers of batch normalisation, averages and Adam's three states."""
    layers = [torch.nn.BatchNorm1d(1) for _ in range(build.MOST_PARAMETERS // 2)]
    network = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(2, 1)).sum().backward()
    optimizer.step()
    modules = dict.fromkeys(("generator", "discriminator", "ema"), network)
    optimizers = dict.fromkeys(("generator", "discriminator"), optimizer)
    path = checkpoint.save(tmp_path, checkpoint.Progress(), {}, modules, optimizers, torch.device("cpu"))
    assert len(checkpoint.read(path).shapes) == 27_001
    assert tensorfile.read_header(path).size < 8 + tensorfile.HEADER_LIMIT + sum(
        value.nbytes for value in safetensors.torch.load_file(path).values()
    )


def test_networks_of_more_tensors_are_refused_before_they_are_trained(tmp_path):
    net = {**NET, "generator": {**NET["generator"], "widths": [1] * 1000, "norm": False}}
    with pytest.raises(UserError, match="net.generator has more than 2,000 parameter tensors: use fewer layers"):
        build.generator(net, {"image_shape": (1, 8, 8)})
    with pytest.raises(UserError, match="net.generator has more than 2,000 parameter tensors: use fewer layers"):
        build._module(torch.nn.ParameterList(torch.zeros(1) for _ in range(2001)), {}, "net.generator")


@pytest.mark.parametrize("value", [[[0] * 20_000], 2**63, float("inf"), {"a": [[[[]]]] * 9000}])
def test_a_configuration_that_would_not_be_read_is_not_written(tmp_path, value):
    with pytest.raises(UserError, match="this configuration can't be saved: "):
        _save(tmp_path, x=value)
    assert not list(tmp_path.iterdir())
