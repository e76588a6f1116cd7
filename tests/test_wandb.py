"""The sink of Weights & Biases, with the real library offline; and the line where it is missing."""

import hashlib
import os
import struct
import subprocess
import sys

import pytest
from helpers import FAST, ROOT

from gan_cli.rundir.records import read_metrics

BLOCK, HEADER = 32_768, struct.Struct("<IHB")  # LevelDB's log format, in which W&B writes: checksum, length, type


def _histories(path):
    """The history records of a ``.wandb`` file, each as ``{name: value in JSON}``."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts, found = path.read_bytes(), 7, b"", []  # 7 bytes of W&B's own come first
    while at + HEADER.size <= len(data):
        if (left := BLOCK - at % BLOCK) < HEADER.size:
            at += left
            continue
        _, length, kind = HEADER.unpack_from(data, at)
        at += HEADER.size
        parts += data[at : at + length]
        at += length
        if kind in (1, 4):  # a whole record, or its last part
            record, parts = Record.FromString(parts), b""
            if record.WhichOneof("record_type") == "history":
                found.append({item.key or ".".join(item.nested_key): item.value_json for item in record.history.item})
    return found


def _train(folder, *words):
    environment = {**os.environ, "WANDB_MODE": "offline", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    line = [sys.executable, "-m", "gan_cli", "train", *words]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_and_the_run_that_goes_on_with_it_are_in_wandb(tmp_path):
    pytest.importorskip("wandb", reason="W&B is not installed: gan-cli[wandb]")
    _train(tmp_path, *FAST, "sinks=[wandb]", "steps=4", "run_dir=run")
    _train(tmp_path, "resume=run", "steps=6")
    run = tmp_path / "run"
    first, second = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    assert first.name == second.name == f"run-{(run / 'wandb/id').read_text()}.wandb"
    assert [int(row["_step"]) for row in _histories(first)] == [0, 1, 2, 3, 4]
    rows = {int(row["_step"]): row for row in _histories(second)}
    recorded = {row["step"]: row for row in read_metrics(run)}
    assert rows.keys() == {0, *recorded} == set(range(7))
    for step, record in recorded.items():
        numbers = {name: value for name, value in record.items() if name not in ("step", "time")}
        assert {name: float(rows[step][name]) for name in numbers} == pytest.approx(numbers)
    for step in (0, 2, 4, 6):
        digest = hashlib.sha256((run / f"samples/{step:08d}.png").read_bytes()).hexdigest()
        assert rows[step]["samples.sha256"] == f'"{digest}"'


def test_without_the_library_one_line_says_what_to_type(call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "gan_cli.rundir.sinks.wandb", raising=False)
    done = call("gan-train", *FAST, "sinks=[wandb]", "run_dir=run")
    assert (done.returncode, done.stderr) == (
        2, "gan-train: sinks=[wandb] needs Weights & Biases: pip install 'gan-cli[wandb]'\n",
    )  # fmt: skip
    assert not (tmp_path / "run").exists()
