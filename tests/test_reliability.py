"""What a person relies on, with the installed commands: kills, signals, full disks, damaged files, odd names."""

import contextlib
import importlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import torch
from helpers import FAST, ROOT, SECONDS, Process, invoke, save_checkpoint

from gan_cli import cli
from gan_cli.commands import train
from gan_cli.config.sweep import folder_name
from gan_cli.errors import UserError
from gan_cli.metrics import quality
from gan_cli.rundir import checkpoint, layout, status
from gan_cli.rundir.records import read_metrics
from gan_cli.training.plan import Outcome

SMALL = [
    "net.generator.width=2", "net.discriminator.width=2", "batch_size=4", "samples=4", "log_every=5",
    "sample_every=1000", "checkpoint_every=10", "keep=2",
]  # fmt: skip


class Run(Process):
    """A ``gan-train`` in the background, its output in files."""

    def __init__(self, folder, *arguments):
        super().__init__("gan-train", arguments, folder, folder / "stdout", folder / "stderr")

    def until(self, reached, seconds=60):
        """Wait until ``reached()``, which must happen while the run is alive."""
        deadline = time.monotonic() + seconds
        while not reached():
            assert self.poll() is None, self.err.read_text()
            assert time.monotonic() < deadline, self.err.read_text()
            time.sleep(0.05)

    def stop(self, signum):
        """The status after ``signum``, and how long the end took."""
        began = time.monotonic()
        self.send_signal(signum)
        return self.wait(), time.monotonic() - began


@pytest.fixture
def start(tmp_path):
    runs = []

    def run(*arguments):
        runs.append(Run(tmp_path, *SMALL, *arguments))
        return runs[-1]

    yield run
    for one in runs:
        one.kill()


class Dying(Process):
    """A process of scripts/kill_test.py, as the script uses it."""

    def communicate(self, timeout=SECONDS):
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("gan-train", timeout)
        self.returncode = self.poll()
        return self.out.read_text(), self.err.read_text()


def test_kill_9_costs_nothing_but_the_steps_since_the_last_checkpoint(tmp_path, monkeypatch, capsys):
    """A few kills here; the thirty and more of docs/reliability.md with the same script, which starts new processes."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    kill_test = importlib.import_module("kill_test")
    out, err = tmp_path / "out", tmp_path / "err"

    def start(run_dir, steps, point):
        arguments = [*kill_test.RUN, f"steps={steps}", f"run_dir={run_dir}"]
        return Dying("gan-train", arguments, tmp_path, out, err, main=partial(kill_test.dying, point))

    start(tmp_path / "first", 1, 0).wait()  # the process that others are copies of is made now, and not timed
    monkeypatch.setattr(kill_test, "start", start)
    assert kill_test.main(["--kills", "2", "--steps", "40"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "the same: tensors, records, events, grids, names"


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_within_five_seconds(start, tmp_path, signum, status):
    run = start("steps=1000000", "run_dir=run", "checkpoint_every=1000000")
    run.until(lambda: "step 10/" in run.out.read_text())
    ended, seconds = run.stop(signum)
    assert ended == status
    assert seconds < 5
    assert checkpoint.read(tmp_path / "run").progress.step >= 10
    assert run.err.read_text() == ""
    assert "to go on:  gan-train resume=run" in run.out.read_text()


def test_a_second_run_in_the_same_folder_is_refused(start, call, tmp_path):
    run = start("steps=1000000", "run_dir=run", "checkpoint_every=1")
    run.until(lambda: any((tmp_path / "run" / "checkpoints").glob("*[1-9]*.safetensors")))
    second = call("gan-train", *SMALL, "run_dir=run", "resume=auto")
    assert (second.returncode, second.stderr.count("\n")) == (2, 1), second.stderr
    assert "another gan-train is at work in " in second.stderr
    run.stop(signal.SIGKILL)
    after = call("gan-train", "resume=run", "steps=1")
    assert after.returncode == 2
    assert "is complete" in after.stderr  # the lock is free again


@pytest.fixture
def disk(tmp_path):
    """A disk of 3 MB; skipped where none can be mounted (the stand-ins of test_algorithm and test_cli remain)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("can't mount a tmpfs here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def _fill(disk):
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096) == 4096:
            pass


def _empty(disk):
    (disk / "filler").unlink()


def _lock(disk):
    # A second mount over the first one: the system won't make one read-only in which files are open for writing.
    subprocess.run(["mount", "--bind", disk, disk], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)


def _unlock(disk):
    subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
@pytest.mark.parametrize(
    ("begin", "end", "complaint"),
    [(_fill, _empty, "No space left on device"), (_lock, _unlock, "Read-only file system")],
)
def test_a_full_or_read_only_disk_is_sat_out(start, disk, begin, end, complaint):
    run, run_dir = start("steps=1000000", "run_dir=disk/run"), disk / "run"
    run.until(lambda: layout.in_order(run_dir / "checkpoints"))
    begin(disk)
    run.until(lambda: complaint in run.err.read_text())
    before = checkpoint.read(run_dir).progress.step  # the last good one is intact
    time.sleep(0.5)
    assert checkpoint.read(run_dir).progress.step == before
    end(disk)
    run.until(lambda: "the disk takes files again; the run is saved" in run.err.read_text())
    assert checkpoint.read(run_dir).progress.step > before
    assert len(run.err.read_text().splitlines()) == 2
    assert run.stop(signal.SIGINT)[0] == 130
    steps = [row["step"] for row in read_metrics(run_dir)]
    assert steps == list(range(5, steps[-1] + 1, 5))  # none is missing


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(call, tmp_path):
    assert call("gan-train", *SMALL, "steps=20", "run_dir=run").returncode == 0
    folder = tmp_path / "run" / "checkpoints"
    content = bytearray((folder / "last.safetensors").read_bytes())
    content[-100] ^= 1
    (folder / "last.safetensors").write_bytes(content)  # 00000020 is the same file

    sampled = call("gan-sample", "ckpt=run", "n=1")
    assert sampled.returncode == 0, sampled.stderr
    assert sampled.stderr == (
        "gan-sample: run/checkpoints/last.safetensors is damaged: its checksum doesn't match; "
        "going back to the one before it\n"
    )
    resumed = call("gan-train", "resume=run", "steps=25")
    assert resumed.returncode == 0, resumed.stderr
    assert "last.safetensors is damaged" in resumed.stderr
    assert "step 15/25" in resumed.stdout

    (folder / "last.safetensors").write_bytes(b"")
    for path in layout.in_order(folder):
        path.write_bytes(b"nothing")
    lost = call("gan-train", "resume=run")
    assert lost.returncode == 2
    assert len(lost.stderr.splitlines()) == 2  # the newest, which has two names, and the one before it
    assert "Traceback" not in lost.stderr


def test_a_run_folder_of_any_name_and_the_lines_it_ends_with(call, tmp_path, monkeypatch):
    name = "-dash ~nobody a b=c,d ünï 日本 it's {x} [y] $z (1) back\\slash%s"
    first = call("gan-train", *SMALL, "steps=2", f'run_dir="{name}"')
    assert first.returncode == 0, first.stderr
    assert (tmp_path / name / "config.yaml").is_file()
    monkeypatch.chdir(tmp_path)
    lines = dict(re.findall("(to sample|to go on): +(.*)", first.stdout))
    for line in lines.values():
        program, *arguments = shlex.split(line)
        status, _, err = invoke({"gan-sample": cli.sample, "gan-train": cli.train}[program], arguments)
        assert status == 0, (line, err)
    assert (tmp_path / name / "sample.png").is_file()
    assert checkpoint.read(tmp_path / name).progress.step == 4


@pytest.mark.parametrize("name", [".lock", "samples", "checkpoints"])
def test_a_run_folder_does_not_lead_out_of_itself(tmp_path, name):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "99999999.png").write_bytes(b"mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to("../other/99999999.png" if name == ".lock" else "../other")
    with pytest.raises(UserError, match=f"{name} is a link, which gan-train never makes: remove it"):
        train.run({"resume": "auto"}, [], tmp_path / "run")
    assert (tmp_path / "other" / "99999999.png").read_bytes() == b"mine"


def test_a_run_that_finished_between_the_check_and_the_lock_is_not_overwritten(tmp_path):
    save_checkpoint(tmp_path)
    with pytest.raises(UserError, match="holds a run already; add resume=auto"):
        train.run({"resume": None}, [], tmp_path)


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0"]], ids=["a run", "a sweep"])
def test_a_run_killed_before_its_first_checkpoint_begins_again_with_the_same_line(call, tmp_path, sweep):
    words = [*sweep, *FAST, "dataset=gaussian1d", "steps=1", "run_dir=run"]
    run = tmp_path / "run" / (folder_name(words[1:]) if sweep else "")
    for name in ("checkpoints/.00000000.safetensors.9.tmp", "samples/00000000.png", "metrics.jsonl", ".lock"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(b"")
    status.Record(run, sweep=True).begin(0)
    done = call("gan-train", *words)
    assert done.returncode == 0, done.stderr
    assert status.read(run).status == "complete"
    assert not list(run.glob("checkpoints/.*"))
    (run / "checkpoints" / "last.safetensors").unlink()
    for path in run.glob("checkpoints/0*"):
        path.unlink()
    assert "holds a run already" in call("gan-train", *words).stderr  # its curves and records stay


@pytest.mark.parametrize("override", ["run_dir='a\\${b}'", "+dataset.x='a\\${b}'"])
def test_words_that_a_checkpoint_would_be_refused_for_are_refused_at_once(tmp_path, monkeypatch, override):
    monkeypatch.chdir(tmp_path)
    status, _, err = invoke(cli.train, [override])
    assert (status, err.count("\n")) == (2, 1), err
    assert "holds a literal ${" in err
    assert not list(tmp_path.iterdir())


def test_what_nobody_reads_costs_a_run_nothing(tmp_path, monkeypatch):
    class Gone(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    train._say_goodbye(7, tmp_path, None, {"net": {}})
    assert sys.stdout.name == os.devnull
    sys.stdout.close()


@pytest.mark.parametrize("saved", [None, 3])
def test_a_run_that_is_ended_while_its_disk_is_full_says_what_is_lost(tmp_path, monkeypatch, caplog, capsys, saved):
    def full(parts, run_dir, resume):
        for path in (run_dir / "checkpoints").glob("*"):
            path.unlink()
        if saved is not None:
            checkpoint.save(run_dir / "checkpoints", checkpoint.Progress(saved), {}, {"a": torch.zeros(1)})
        return Outcome(9, 1.0, {}, signal.SIGTERM)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "execute", full)
    monkeypatch.setattr(train.log, "warning", lambda *words: print("gan-train:", words[0] % words[1:], file=sys.stderr))
    status, _, err = invoke(cli.train, [*FAST, "run_dir=run"])
    assert status == 143
    assert err == f"gan-train: step 9 is lost: saved is only what came up to step {saved or 0}\n"


def test_an_evaluated_run_keeps_its_best(call, tmp_path, monkeypatch):
    """The Fréchet distance while it trains; few images, so that it doesn't take long."""
    whole = quality.feature_scores
    monkeypatch.setattr(quality, "feature_scores", lambda real, *noise: whole(real[:300], *noise, n=200))
    done = call("gan-train", *SMALL, "steps=20", "eval_every=10", "run_dir=run")
    assert done.returncode == 0, done.stderr
    scores = {row["step"]: row["frechet"] for row in read_metrics(tmp_path / "run") if "frechet" in row}
    assert list(scores) == [10, 20]
    best = checkpoint.read(tmp_path / "run" / "checkpoints" / "best.safetensors").progress
    assert best.step == min(scores, key=scores.get)
    assert best.best == min(scores.values())
