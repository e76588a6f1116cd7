"""Checkpoints as data: what is refused, and how."""

import copy
import dataclasses
import json
import os
import pickle

import pytest
import safetensors.torch
import torch
from helpers import NET, Payload, save_checkpoint, save_modules

from gan_cli import files
from gan_cli.config import networks
from gan_cli.config.saved import SavedRun
from gan_cli.config.targets import MOST_PARAMETERS, checked_module
from gan_cli.config.trust import check_trusted, shipped_targets
from gan_cli.errors import UserError
from gan_cli.rundir import checkpoint, layout
from gan_cli.training.state import load_optimizer, module_tensors, optimizer_tensors
from gan_cli.untrusted import safetensors_header


def load_generator(opened):
    """The generator that an opened checkpoint describes."""
    return SavedRun(opened).generator()


def test_a_checkpoint_comes_back_by_file_and_by_folder(tmp_path):
    path = save_checkpoint(tmp_path)
    assert path.name == "00000007.safetensors"
    for location in (tmp_path, path):
        opened = checkpoint.read(location)
        assert opened.progress == checkpoint.Progress(7, 70, 1.5)
        assert load_generator(opened)(torch.zeros(2, 4)).shape == (2, 1, 8, 8)


def test_last_is_replaced_and_the_older_one_kept(tmp_path):
    folder, config = tmp_path / "checkpoints", {}
    for step in (1, 2):
        weights = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(weights.weight, step)
        save_modules(folder, checkpoint.Progress(step), config, {"ema": weights})
    values = {p.name: safetensors.torch.load_file(p)["ema.weight"].item() for p in folder.iterdir()}
    assert values == {"00000001.safetensors": 1, "00000002.safetensors": 2, "last.safetensors": 2}


def test_damaged_checkpoints_of_later_steps_do_not_count_among_those_that_are_kept(tmp_path):
    for step in (1, 2, 9, 3, 4):
        weights = {"ema": torch.nn.Linear(1, 1)}
        save_modules(tmp_path, checkpoint.Progress(step), {}, weights, keep=2)
    assert [int(path.stem) for path in layout.in_order(tmp_path)] == [9, 4, 3]


def test_a_checkpoint_that_the_disk_no_longer_gives_back_is_passed_over(tmp_path, monkeypatch, caplog):
    first = save_checkpoint(tmp_path)
    checkpoint.save(tmp_path / "checkpoints", checkpoint.Progress(8), {}, {"a": torch.zeros(1)})
    original = safetensors_header.is_sealed

    def failing(path, digest):
        if path.name == "last.safetensors":
            raise OSError(5, "Input/output error")
        return original(path, digest)

    monkeypatch.setattr(safetensors_header, "is_sealed", failing)
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
    for facts in ("[]", "{", json.dumps({"format": 2}), json.dumps({"format": 2, "step": "x"})):
        safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"gan_cli": facts})
        with pytest.raises(UserError, match="not a checkpoint of gan-train"):
            checkpoint.read(path)
    for version in (1, 99):  # the format before, which had no checksum, and one to come
        safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"gan_cli": json.dumps({"format": version})})
        with pytest.raises(UserError, match=f"format {version}"):
            checkpoint.read(path)


def test_every_byte_of_a_checkpoint_is_the_same_the_second_time(tmp_path):
    assert save_checkpoint(tmp_path / "a").read_bytes() == save_checkpoint(tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("x.safetensors", "not a readable checkpoint: "),
        ("x.pt", "is a .pt file, which can hold code and is not opened; give a run folder or a .safetensors file"),
        ("x.pth", "is a .pth file, which can hold code"),
    ],
)
def test_a_pickle_is_refused_and_not_run(tmp_path, name, complaint):
    path, canary = tmp_path / name, tmp_path / "canary"
    for write in (pickle.dump, torch.save):
        with path.open("wb") as file:
            write({"config": Payload(canary), "generator": {}}, file)
        with pytest.raises(UserError, match=complaint):
            checkpoint.read(path)
        assert not canary.exists()
    torch.load(path.rename(tmp_path / "proof"), weights_only=False)
    assert canary.exists()  # so it would have worked


def test_a_file_that_wants_more_noise_than_its_network_takes_is_refused(tmp_path):
    net = {**NET, "z_dim": 60_000, "generator": {**NET["generator"], "z_dim": 4}}
    with pytest.raises(UserError, match=r"net.generator fails on an input of shape \[2, 60000\]"):
        load_generator(checkpoint.read(save_checkpoint(tmp_path, net)))


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
    opened = checkpoint.read(save_checkpoint(tmp_path, net))
    with pytest.raises(UserError, match=f"names {target}, which is (not part|no net) of gan-cli"):
        load_generator(opened)


def test_a_target_hidden_deeper_and_interpolations_are_refused(tmp_path):
    hidden = {**NET, "generator": {**NET["generator"], "widths": [{"_target_": "os.system", "command": "true"}]}}
    with pytest.raises(UserError, match=r"names os\.system"):
        load_generator(checkpoint.read(save_checkpoint(tmp_path / "a", hidden)))
    leaking = {**NET, "generator": {**NET["generator"], "widths": "${oc.env:HOME}"}}
    with pytest.raises(UserError, match="unresolved"):
        load_generator(checkpoint.read(save_checkpoint(tmp_path / "b", leaking)))


def test_trust_admits_a_package_by_its_whole_name(tmp_path):
    config = {"generator": {"_target_": "fractions.Fraction"}}
    check_trusted(config, tmp_path, ["fractions"], "net")
    with pytest.raises(UserError, match=r"trust=\[fractions\]"):
        check_trusted(config, tmp_path, ["fraction"], "net")
    with pytest.raises(UserError, match=r"names fractions\.re\.compile"):  # what a trusted package merely imports
        check_trusted({"_target_": "fractions.re.compile"}, tmp_path, ["fractions"], "loss")


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
        check_trusted(config, tmp_path, [], group)


def test_empty_layers_and_endless_noise_are_refused(tmp_path):
    empty = {**NET, "generator": {**NET["generator"], "widths": [0], "norm": False}}
    with pytest.raises(UserError, match="a layer needs a width of 1 or more"):
        networks.generator(empty, {"image_shape": (1, 8, 8)})
    with pytest.raises(UserError, match="net.z_dim=67108864 is too large"):
        load_generator(checkpoint.read(save_checkpoint(tmp_path, {**NET, "z_dim": 2**26})))


def test_every_configuration_of_ours_is_trusted_without_a_word(tmp_path):
    assert {"gan_cli.networks.conv.Generator", "torch.optim.Adam", "gan_cli.losses.minimax"} <= shipped_targets()
    assert all(target.startswith("gan_cli.networks.") for target in shipped_targets("net"))


def test_weights_that_do_not_fit_are_told(tmp_path):
    wider = {**NET, "generator": {**NET["generator"], "widths": [9]}}
    with pytest.raises(
        UserError,
        match="don't fit the configuration of net.generator: 0.bias has shape .8,. in the file, and should have .9,.",
    ):
        load_generator(checkpoint.read(save_checkpoint(tmp_path, wider)))


def test_a_configuration_without_a_generator_is_told(tmp_path):
    for net in ({}, [], None, {"generator": 3, "z_dim": 4, "prior": "normal"}):
        with pytest.raises(UserError):
            load_generator(checkpoint.read(save_checkpoint(tmp_path, net)))


@pytest.mark.parametrize(
    ("name", "value"),
    [("seconds", -1), ("seconds", 1e300), ("seconds", True), ("best", "x"), ("lr_scale", 0), ("lr_scale", 9.0)],
)
def test_progress_that_no_run_comes_to_is_refused(tmp_path, name, value):
    progress = dataclasses.replace(checkpoint.Progress(7, 70, 1.5), **{name: value})
    path = checkpoint.save(tmp_path, progress, {}, {"a": torch.zeros(1)})
    with pytest.raises(UserError, match="is not a checkpoint of gan-train"):
        checkpoint.read(path)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "9" * 5000, str(2**63), "1e400", "-1e400"])
def test_numbers_that_only_python_can_hold_are_refused(number):
    with pytest.raises(ValueError, match="a number in its JSON is too large"):
        safetensors_header.strict_json(f"[{number}]", most=10)
    assert safetensors_header.strict_json(f"[{2**63 - 1}, {-(2**63)}, 1e308]", most=10) == [2**63 - 1, -(2**63), 1e308]


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
    tensors, settings = optimizer_tensors({"g": optimizer})
    opened = checkpoint.read(checkpoint.save(tmp_path, checkpoint.Progress(), {}, tensors, settings))
    fresh = make_optimizer(layer.parameters())
    before = copy.deepcopy(layer.state_dict())
    load_optimizer(opened, "g", fresh)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    for index, entries in fresh.state_dict()["state"].items():
        assert all(torch.equal(entries[key], saved["state"][index][key]) for key in saved["state"][index])

    names = [name for name in tensors if name.startswith("optimizer.g.0.")]
    assert names
    for name in names:
        less = {key: value for key, value in tensors.items() if key != name}
        part = checkpoint.read(checkpoint.save(tmp_path, checkpoint.Progress(), {}, less, settings))
        with pytest.raises(UserError, match="the g's optimizer in .* can't be read"):
            load_optimizer(part, "g", make_optimizer(layer.parameters()))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_among_the_checkpoints_is_not_waited_for(tmp_path):
    path = save_checkpoint(tmp_path)
    os.mkfifo(path.with_name("00000099.safetensors"))
    assert layout.in_order(path.parent) == [path]


def test_the_largest_networks_that_are_built_have_checkpoints_that_are_read(tmp_path):
    """As many parameters as there may be, with the buffers of batch normalisation, averages and Adam's three states."""
    layers = [torch.nn.BatchNorm1d(1) for _ in range(MOST_PARAMETERS // 2)]
    network = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(2, 1)).sum().backward()
    optimizer.step()
    modules = dict.fromkeys(("generator", "discriminator", "ema"), network)
    optimizers = dict.fromkeys(("generator", "discriminator"), optimizer)
    states, settings = optimizer_tensors(optimizers)
    tensors = module_tensors(modules) | states | {"rng.cpu": torch.get_rng_state()}
    path = checkpoint.save(tmp_path, checkpoint.Progress(), {}, tensors, settings)
    assert len(checkpoint.read(path).shapes) == 27_001
    assert safetensors_header.read_header(path).size < 8 + safetensors_header.HEADER_LIMIT + sum(
        value.nbytes for value in safetensors.torch.load_file(path).values()
    )


def test_networks_of_more_tensors_are_refused_before_they_are_trained(tmp_path):
    net = {**NET, "generator": {**NET["generator"], "widths": [1] * 1000, "norm": False}}
    with pytest.raises(UserError, match="net.generator has more than 2,000 parameter tensors: use fewer layers"):
        networks.generator(net, {"image_shape": (1, 8, 8)})
    with pytest.raises(UserError, match="net.generator has more than 2,000 parameter tensors: use fewer layers"):
        checked_module(torch.nn.ParameterList(torch.zeros(1) for _ in range(2001)), {}, "net.generator")


@pytest.mark.parametrize("value", [[[0] * 20_000], 2**63, float("inf"), {"a": [[[[]]]] * 9000}])
def test_a_configuration_that_would_not_be_read_is_not_written(tmp_path, value):
    with pytest.raises(UserError, match="this configuration can't be saved: "):
        save_checkpoint(tmp_path, x=value)
    assert not list(tmp_path.iterdir())
