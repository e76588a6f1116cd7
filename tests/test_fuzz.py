"""Hostile checkpoints and garbled command lines: each works, or gets one line. Nothing a file says is run.

``FUZZ=35 python -m pytest tests/test_fuzz.py`` tries 35 times as many as usual: the long mode of docs/reliability.md.
"""

import copy
import json
import os
import resource
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import FAST, NET, invoke, save_checkpoint
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from gan_cli import cli, sampling
from gan_cli.config import build
from gan_cli.config.saved import open_run
from gan_cli.errors import UserError
from gan_cli.rundir import checkpoint
from gan_cli.training import folder
from gan_cli.untrusted import safetensors_header

TIMES = int(os.environ.get("FUZZ", "1"))
MARGIN = 256 << 20  # bytes that reading a small file may take


def _fuzz(examples):
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples * TIMES, deadline=None, suppress_health_check=checks, database=None)


# Values that no run writes, and a few that it might: for any place of a header or a configuration.
HOSTILE = st.one_of(
    st.integers(-2, 9),
    st.sampled_from(
        [2**31, 2**47, 2**62, 2**63, 10**30, 10**400, -(2**40), 1e308, -0.0, 1e-320, 1.5, True, False, None]
    ),
    st.sampled_from(
        ["", "x", "../../etc/passwd", "/dev/zero", "a/b", "a..b", "\0", "\x1b[2J", "é" * 300, "F32", "9" * 999]
    ),
    st.sampled_from(["os.system", "builtins.eval", "torch.load", "gan_cli.files.write_atomic", "subprocess.run"]),
    st.sampled_from(["${oc.env:HOME}", "${now:%Y}", "???", "normal", "gan_cli.networks.maxout.Generator"]),
    st.sampled_from([[], {}, [0], [-1, 4], [[]], [2**40, 2**40], {"_target_": "os.mkdir", "path": "CANARY"}]),
    st.sampled_from([[1] * 50_000, {str(i): i for i in range(30_000)}, ["a" * 100_000]]),
    st.builds(lambda depth: json.loads("[" * depth + "]" * depth), st.sampled_from([2, 40, 300])),
).map(copy.deepcopy)
NEW_KEYS = st.sampled_from(["_target_", "_partial_", "_args_", "_recursive_", "width", "x"])


@st.composite
def _changed(draw, value):
    """``value``, JSON data, with one to three of its places overwritten, removed, renamed or added to."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        node, parents = value, []
        while isinstance(node, dict | list) and node and (not parents or draw(st.integers(0, 3))):
            key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            parents.append((node, key))
            node = node[key]
        if not parents:
            break
        parent, key = parents[-1]
        action = draw(st.sampled_from(["overwrite", "overwrite", "overwrite", "remove", "rename", "add"]))
        if action == "overwrite":
            parent[key] = draw(HOSTILE)
        elif action == "remove":
            del parent[key]
        elif isinstance(parent, list):
            parent.append(draw(HOSTILE))
        elif action == "rename":
            parent[str(draw(HOSTILE))[:2000]] = parent.pop(key)
        else:
            parent[draw(NEW_KEYS)] = draw(HOSTILE)
    return value


def _split(content):
    """A checkpoint's header, the facts in its metadata, and its tensors' bytes."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["gan_cli"]), content[8 + length :]


def _joined(header, facts, data):
    """The file again, with a digest that is right, where the facts still have a place for one."""
    header = copy.deepcopy(header)
    if isinstance(header.get("__metadata__"), dict):
        header["__metadata__"]["gan_cli"] = json.dumps(facts)
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + data
    return safetensors_header.sealed(content) if safetensors_header.BLANK_DIGEST.encode() in content else content


@st.composite
def _garbled(draw, content):
    """``content`` with bytes overwritten, inserted, removed or cut off."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)) | st.integers(0, 2000).map(lambda n: min(n, len(content))))
        piece = draw(
            st.binary(min_size=1, max_size=9)
            | st.sampled_from([b"\xff" * 8, b'"', b"[" * 5000, b"NaN", b"-", b"s", b"u.", b"b", b"N\x85R", b"h\x01"])
        )
        action = draw(st.sampled_from(["overwrite", "insert", "remove", "cut"]))
        if action == "overwrite":
            content[at : at + len(piece)] = piece
        elif action == "insert":
            content[at:at] = piece
        elif action == "remove":
            del content[at : at + len(piece)]
        else:
            del content[at:]
    return bytes(content)


@contextmanager
def _little_memory():
    """Let an allocation fail that is larger than :data:`MARGIN`."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MARGIN, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _sample(path):
    """Read, build and sample, as ``gan-sample`` does."""
    run = open_run(path)
    return list(sampling.generate(run.generator(), sampling.latents(run.noise, 2, seed=0)))


def _open(path):
    """Whether :func:`_sample` worked in little memory. If not, it has to be told in one line."""
    try:
        with _little_memory():
            _sample(path)
    except UserError as error:
        line = str(error)
    else:
        return True
    assert "\n" not in line
    assert "allocate" not in line  # to be stopped by the limit is not to be refused
    assert len(line) < 1000
    return False


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A checkpoint's file, warmed up: what is imported or started once is not what a hostile file allocates."""
    path = save_checkpoint(tmp_path_factory.mktemp("sound"))
    _sample(path)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by /proc and RLIMIT_AS")
@given(data=st.data())
@_fuzz(200)
def test_a_hostile_checkpoint_gets_one_line(sound, tmp_path, monkeypatch, data):
    """Bytes garbled; or the header, or the configuration, changed with a digest that is right."""
    monkeypatch.chdir(tmp_path)
    content = sound.read_bytes()
    header, facts, tensors = _split(content)
    facts["sha256"] = safetensors_header.BLANK_DIGEST
    kind = data.draw(st.sampled_from(["bytes", "header", "facts", "net", "data"]))
    if kind == "bytes":
        content = data.draw(_garbled(content))
    elif kind == "header":
        content = _joined(data.draw(_changed(header)), facts, tensors)
    elif kind == "facts":
        content = _joined(header, data.draw(_changed(facts)), tensors)
    elif kind == "net":
        changed = data.draw(_changed({"net": NET, "image_shape": [1, 8, 8]}))
        content = _joined(header, {**facts, "config": changed}, tensors)
    else:
        content = _joined(header, facts, data.draw(_garbled(tensors)))
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    event(f"{kind}: {'opened' if _open(path) else 'refused'}")
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


@given(data=st.data())
@_fuzz(50)
def test_no_damage_to_a_checkpoint_goes_unnoticed(sound, tmp_path, data):
    """One byte changed, wherever it is: the file is refused, in one line."""
    content = bytearray(sound.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert not _open(path)


def test_a_header_with_a_key_twice_is_refused(sound, tmp_path):
    content = sound.read_bytes()
    header, _, tensors = _split(content)
    text = json.dumps(header)
    name = next(key for key in header if key.startswith("ema"))
    text = text[:-1] + f', "{name}": {json.dumps(header[name])}}}'
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode() + tensors)
    with pytest.raises(UserError, match="a key of its JSON comes twice"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"shape": [-8], "data_offsets": [0, 32]}, "no sound dtype, shape and data_offsets"),
        ({"shape": [float("nan")], "data_offsets": [0, 32]}, "its JSON holds NaN"),
        ({"shape": [2**40], "data_offsets": [0, 2**42]}, "overlaps another tensor, or leaves a gap"),
        ({"shape": [16]}, "a shape that is not its size"),
        ({"shape": [0, 2**47, 2**47], "data_offsets": [0, 0]}, "of a shape that nothing could hold"),
        ({"dtype": "F1024"}, "no sound dtype"),
        ({"data_offsets": [4, 36]}, "overlaps another tensor, or leaves a gap"),
        ({"extra": 1}, "not described by dtype, shape and data_offsets"),
    ],
)
def test_each_lie_of_a_header_is_named(sound, tmp_path, change, complaint):
    header, facts, tensors = _split(sound.read_bytes())
    name = min((key for key in header if key != "__metadata__"), key=lambda key: header[key]["data_offsets"])
    header[name] |= change
    path = tmp_path / "x.safetensors"
    path.write_bytes(_joined(header, facts, tensors))
    with pytest.raises(UserError, match=complaint):
        checkpoint.read(path)


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/passwd", "a/b", "a\\b", "a..b", "", ".", "a\nb", "\x1b[2J", "x" * 600]
)
def test_a_tensor_named_like_a_path_is_refused(sound, tmp_path, name):
    header, facts, tensors = _split(sound.read_bytes())
    header[name] = header.pop(next(other for other in header if other.startswith("ema.")))
    path = tmp_path / "x.safetensors"
    path.write_bytes(_joined(header, facts, tensors))
    with pytest.raises(UserError, match="a tensor is named") as caught:
        checkpoint.read(path)
    assert str(caught.value).isprintable()


# The command line.

KEYS = [
    "dataset", "net", "loss", "penalty", "optimizer", "experiment", "k", "max_seconds", "batch_size", "lr_decay_after",
    "seed", "precision", "ema", "ema.half_life", "ema.ramp", "log_every", "sample_every", "checkpoint_every", "samples",
    "keep", "eval_every", "on_nonfinite", "on_write_error", "resume", "trust", "net/generator", "net/discriminator",
    "net.generator", "net.generator.widths", "net.discriminator.widths", "net.generator.norm", "net.generator.width",
    "net.z_dim", "net.prior", "loss._target_", "loss.half", "penalty.gamma", "penalty.interval", "penalty._target_",
    "penalty.precision",
    "optimizer.lr", "optimizer.generator.lr", "optimizer.discriminator.betas", "optimizer.generator._target_",
    "optimizer/generator", "optimizer.generator.fused", "dataset.size", "dataset.channels", "dataset.root",
    "dataset._target_", "device", "steps", "nonsense", "ls", "net.nonsense", "hydra.nonsense", "",
]  # fmt: skip
VALUES = [
    "1", "2", "3", "0", "-1", "1.5", "1e-3", "1e30", "1e400", "-1e400", ".inf", ".nan", "99999999999", "1" * 400,
    "null", "true", "", "''", "' '", "mlp", "conv", "dcgan", "maxout", "sgd", "adam", "rmsprop", "minimax", "r1",
    "none", "auto", "bf16", "uniform", "folder", "mnist", "mlp_mnist", "stop", "cpu", "[]", "[1]", "[8,8]", "[-1]",
    "[0]", "[[1]]", "{}", "{a:1}", "{_target_:os.mkdir,path:canary}", "1,2", "a,b", "x y", "a=b", "${oc.env:HOME}",
    "${net.z_dim}", "${nothing}", "${", "[", "}", "'", '"', "\\", "\\,", "é", "日本", "\x1b[2J", "%s", "???", "~",
    "/dev/null", "..", "torch.optim.SGD", "os.system", "gan_cli.losses.minimax", "gan_cli.penalties.r1",
    "gan_cli.networks.mlp.Generator", "range(1,3)", "choice(1,2)", "glob(*)", "int(3)", "float(x)",
    "extend_list(1)", "a" * 3000,
]  # fmt: skip
PLAUSIBLE = [
    "k=2", "batch_size=3", "lr_decay_after=null", "lr_decay_after=5", "seed=7", "precision=bf16", "ema.half_life=0",
    "ema.ramp=null", "log_every=3", "samples=1", "keep=null", "keep=2", "on_nonfinite=stop", "on_write_error=stop",
    "resume=auto", "trust=[mine]", "net/generator=maxout", "net/discriminator=conv", "net=conv",
    "net.generator.norm=false", "net.generator.widths=[8,8]", "net.discriminator.widths=[]", "net.z_dim=1",
    "net.prior=uniform", "loss=minimax", "loss.half=true", "penalty=none", "penalty.gamma=0", "penalty.gamma=1e30",
    "penalty.interval=1", "optimizer=sgd", "optimizer.lr=1e30", "optimizer.lr=1e38", "optimizer.lr=0",
    "optimizer.generator.betas=[0.9,0.999]", "dataset.size=12", "dataset.channels=3", "optimizer/generator=rmsprop",
    "experiment=mlp_mnist", "max_seconds=1e-9", "net.generator.width=1", "dataset.size=9", "batch_size=1",
    "optimizer.generator.fused=false", "++net.generator.widths=[3]", "eval_every=1",
]  # fmt: skip
GARBLED = st.one_of(
    st.builds(lambda p, k, v: f"{p}{k}={v}", st.sampled_from(["", "", "", "", "+", "++"]), st.sampled_from(KEYS),
              st.sampled_from(VALUES)),
    st.builds(lambda k: f"~{k}", st.sampled_from(KEYS)),
    st.sampled_from(KEYS),
    st.builds(lambda k, v: f"{k}={v}", st.sampled_from(KEYS), st.text(max_size=8)),
    st.builds(lambda a, b: a + b, st.sampled_from(KEYS), st.text(max_size=4)),
)  # fmt: skip


OVERRIDES = st.tuples(
    st.lists(st.sampled_from(PLAUSIBLE), max_size=3), st.just([]) | st.lists(GARBLED, max_size=2)
).map(lambda both: [*both[0], *both[1]])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of eight pictures of 8x8."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(8):
        Image.new("L", (8, 8), 30 * i).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def emptied(tmp_path, monkeypatch):
    """The working folder, emptied at each call: a thousand runs fill a disk. Curves, slow to draw, are left out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folder, "write_curves", lambda run_dir: None)

    def empty():
        for path in tmp_path.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        return tmp_path

    return empty


def _assert_one_line(status, err, arguments):
    event(f"status {status}")
    assert status in (0, 2, 3), (status, arguments, err)
    assert "Traceback" not in err, (arguments, err)
    if status == 2:
        lines = err.splitlines()
        assert len(lines) == 1, (arguments, err)
        assert lines[0].startswith("gan-train: "), (arguments, err)


@given(overrides=OVERRIDES, sweep=st.sampled_from([False, False, False, False, True]))
@_fuzz(30)
def test_a_garbled_command_line_runs_or_gets_one_line(pictures, emptied, overrides, sweep):
    data = ["dataset=folder", f"dataset.root={pictures}", "dataset.size=8", "dataset.channels=1"]
    emptied()
    # Last, so that it holds: a run that is asked to take long has not hung.
    arguments = [*data, *FAST, *overrides, "steps=2", "run_dir=run", *(["-m"] if sweep else [])]
    status, _, err = invoke(cli.train, arguments)
    if sweep and status == 2:
        assert "Traceback" not in err, (arguments, err)
    else:
        _assert_one_line(status, err, arguments)
    assert not list(Path().glob("**/canary"))


@pytest.fixture(scope="module")
def stopped(pictures, tmp_path_factory):
    """A run that could go on."""
    run_dir = tmp_path_factory.mktemp("stopped") / "run"
    data = ["dataset=folder", f"dataset.root={pictures}", "dataset.size=8", "dataset.channels=1"]
    status, _, err = invoke(cli.train, [*data, *FAST, "steps=2", f"run_dir={run_dir}"])
    assert status == 0, err
    return (run_dir / "checkpoints" / "last.safetensors").read_bytes()


@st.composite
def _other_tensors(draw, header, content):
    """A header and its tensors' bytes, with one to three of the optimizers', the terms' … left out or changed."""
    names = sorted(name for name in header if name.startswith(("optimizer.", "terms.", "rng.")))
    kept = {name: entry for name, entry in header.items() if name != "__metadata__"}
    parts = {name: content[slice(*entry["data_offsets"])] for name, entry in kept.items()}
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)):
        action, entry = draw(st.sampled_from(["leave out", "retype", "reshape", "refill"])), kept[name]
        if action == "leave out":
            del kept[name]
        elif action == "retype":
            kept[name] = {
                **entry,
                "dtype": draw(st.sampled_from(["F8_E4M3", "I8", "BOOL"])),
                "shape": [len(parts[name])],
            }
        elif action == "reshape":
            kept[name] = {**entry, "shape": [1, *entry["shape"]]}
        else:
            parts[name] = draw(st.sampled_from([b"\0", b"\xff", b"\x7f"])) * len(parts[name])
    end = 0
    for name, entry in kept.items():
        kept[name] = {**entry, "data_offsets": [end, end := end + len(parts[name])]}
    return {"__metadata__": header["__metadata__"], **kept}, b"".join(parts[name] for name in kept)


@given(data=st.data())
@_fuzz(20)
def test_a_hostile_run_is_resumed_or_gets_one_line(stopped, emptied, data):
    header, facts, tensors = _split(stopped)
    facts["sha256"] = safetensors_header.BLANK_DIGEST
    part = data.draw(st.sampled_from(["config", "param_groups", "all", "tensors"]))
    if part == "tensors":
        header, tensors = data.draw(_other_tensors(header, tensors))
    else:
        facts = data.draw(_changed(facts)) if part == "all" else {**facts, part: data.draw(_changed(facts[part]))}
    checkpoints = emptied() / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "last.safetensors").write_bytes(_joined(header, facts, tensors))
    status, _, err = invoke(cli.train, ["resume=run", "steps=4", "max_seconds=5"])
    _assert_one_line(status, err, facts)
    assert not list(Path().glob("**/CANARY"))


@pytest.mark.parametrize(
    ("dataset", "shape", "complaint"),
    [
        ({"_target_": "gan_cli.data.idx.mnist", "size": 160}, [1, 8, 8], "has images of 8x8, and yet dataset.size=160"),
        ({"_target_": "gan_cli.data.idx.mnist", "size": 160}, [2], "has images of 2, and yet dataset.size=160"),
        ({"_target_": "gan_cli.data.idx.mnist", "size": 160}, [1, 160, 160], "the saved weights don't fit"),
        ({"_target_": "gan_cli.data.idx.mnist"}, [1500, 8, 8], "they should be (1, 3 or 4 channels"),
        ({"_target_": "gan_cli.data.idx.mnist"}, None, "they should be (1, 3 or 4 channels"),
    ],
)
def test_a_stranger_s_data_is_not_loaded_for_networks_that_are_not_in_the_file(
    stopped, emptied, monkeypatch, dataset, shape, complaint
):
    def never(node):
        raise AssertionError("the data is loaded first")

    monkeypatch.setattr(build, "training_data", never)
    header, facts, tensors = _split(stopped)
    facts["sha256"] = safetensors_header.BLANK_DIGEST
    facts["config"] |= {"dataset": dataset, "image_shape": shape}
    checkpoints = emptied() / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "last.safetensors").write_bytes(_joined(header, facts, tensors))
    status, _, err = invoke(cli.train, ["resume=run", "steps=4"])
    assert (status, err.count("\n")) == (2, 1), err
    assert complaint in err
