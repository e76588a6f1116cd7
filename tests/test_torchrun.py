"""The real torchrun: it ends all processes as soon as one has failed, and starts all of them again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import FAST, free_port

from gan_cli.rundir.records import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="torchrun and its signals on Linux")]

# A trainer that leaves its process id, and whose leader, with --slow, takes three seconds for each
# checkpoint but the first.
TRAINER = """
import os, sys, time
from pathlib import Path
from gan_cli import cli
from gan_cli.rundir import checkpoint
Path(f"{os.environ['RANK']}-{os.environ['TORCHELASTIC_RESTART_COUNT']}.pid").write_text(str(os.getpid()))
save, calls, slow = checkpoint.save, [], "--slow" in sys.argv
def save_slowly(*arguments, **options):
    calls.append(1)
    if len(calls) > 1 and slow:
        time.sleep(3)
    return save(*arguments, **options)
checkpoint.save = save_slowly
sys.argv = ["gan-train", *(word for word in sys.argv[1:] if word != "--slow")]
cli.train()
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts two processes of TRAINER, on one or two machines, and waits for the first records.

    Two machines are two torchruns here. The function returns these, and a function that finds a process by its name.
    """
    (tmp_path / "trainer.py").write_text(TRAINER)
    started = []

    def begin(*words, restarts=0, machines=1):
        meet = ["--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{free_port()}"] if machines > 1 else ["--standalone"]
        command = [sys.executable, "-m", "torch.distributed.run", *meet, f"--nnodes={machines}"]
        command += [f"--nproc-per-node={2 // machines}", f"--max-restarts={restarts}", "trainer.py"]
        words = [*FAST, "batch_size=6", "keep=20", "log_every=5", "run_dir=run", *words]
        for _ in range(machines):
            started.append(
                subprocess.Popen(
                    [*command, *words], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
            )  # fmt: skip
        end = time.monotonic() + 120
        while len(read_metrics(tmp_path / "run")) < 2:
            assert started[-1].poll() is None and time.monotonic() < end, started[-1].communicate()
            time.sleep(0.05)
        return started, lambda name: int((tmp_path / f"{name}.pid").read_text())

    yield begin
    for process in started:
        process.terminate()  # and its workers with it
        process.communicate()


@pytest.mark.parametrize("rank", [0, 1])
def test_the_leader_has_the_time_to_save_when_a_signal_stops_one_process(start, tmp_path, rank):
    (run,), pid = start("steps=1000000", "--slow")
    os.kill(pid(f"{rank}-0"), signal.SIGTERM)
    out, err = run.communicate(timeout=120)
    assert "to go on:  gan-train resume=run" in out, err
    state = json.loads((tmp_path / "run" / "status.json").read_text())
    assert state["status"] == "stopped" and state["step"] > 0
    assert (tmp_path / "run" / "checkpoints" / f"{state['step']:08}.safetensors").is_file()


@pytest.mark.parametrize("machines", [1, 2])
@pytest.mark.parametrize("rank", [0, 1])
def test_one_restart_is_enough_for_one_killed_process(start, tmp_path, rank, machines):
    runs, pid = start("steps=300", "checkpoint_every=10", "resume=auto", restarts=1, machines=machines)
    os.kill(pid(f"{rank}-0"), signal.SIGKILL)
    told = [run.communicate(timeout=240) for run in runs]
    assert [run.returncode for run in runs] == [0] * machines, told
    assert pid(f"{rank}-1") and any("step 300" in out for out, _ in told)
