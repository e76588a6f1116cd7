"""Sweeps: their folders, their table, combinations that fail, grids that grow, what was killed."""

import contextlib
import importlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import Process
from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from gan_cli.commands import report, train
from gan_cli.config import cluster
from gan_cli.config.sweep import folder_name
from gan_cli.metrics.catalogue import FIRST_SCORES, TERMS
from gan_cli.reports import sweep
from gan_cli.rundir import status
from gan_cli.rundir.records import read_metrics

# A run that takes a moment.
FAST = ["dataset=gaussian1d", "net=toy", "batch_size=4", "log_every=1", "sample_every=100", "samples=4", "device=cpu"]
EVERY = ("k", "loss", "seed")


def _run(folder, name, state="complete", overrides=None, error=None, **metrics):
    """A folder of a run that has records and a status."""
    (folder / name).mkdir()
    row = {"step": 1, "seconds": 1.0, **dict.fromkeys((*TERMS, "images_per_second"), 0.5), **metrics}
    (folder / name / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    content = {"overrides": overrides or {}, "status": state, "step": 1, "error": error}
    (folder / name / "status.json").write_text(json.dumps(content))
    return folder / name


def _statuses(folder):
    """The states of the runs in ``folder``, by the values of their overrides."""
    runs = [json.loads(path.read_text()) for path in folder.glob("*/status.json")]
    return {tuple(run["overrides"][key] for key in EVERY if key in run["overrides"]): run for run in runs}


def _bytes(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.suffix in (".safetensors", ".jsonl", ".png")}


def test_seeds_share_a_row_and_common_overrides_are_left_out(tmp_path):
    for i, (k, seed, value) in enumerate([("10", "0", -1.0), ("10", "1", -3.0), ("2", "0", -5.0)]):
        _run(tmp_path, str(i), overrides={"k": k, "seed": seed, "steps": "9", "run_dir": str(i)}, value=value)
    diverged = {"k": "2", "seed": "1", "steps": "9", "resume": "auto"}
    _run(tmp_path, "x", "diverged", diverged, "step 2: no longer finite", value=9.0)  # metrics from before
    first, second = sweep.collect(sweep.find(tmp_path))
    assert (first.choices, first.finished, first.runs) == ({"k": "2"}, 1, 2)
    assert first.metrics["value"] == (-5.0, None)
    assert (second.choices, second.finished, second.runs) == ({"k": "10"}, 2, 2)
    assert second.metrics["value"] == (-2.0, math.sqrt(2))
    text, complete = report.table_of(tmp_path)
    lines = text.splitlines()
    assert lines[1].split()[:3] == ["2", "1/2", "-5.000"]
    assert lines[2].split()[:5] == ["10", "2/2", "-2.000", "±", "1.414"]
    assert len({line.index("0.500") for line in lines[1:3]}) == 1  # columns stand below each other
    assert "  x: diverged at step 1: step 2: no longer finite" in lines
    assert not complete


def test_a_sweep_over_seeds_alone_is_one_row(tmp_path):
    for i in range(3):
        _run(tmp_path, str(i), overrides={"seed": str(i)})
    (row,) = sweep.collect(sweep.find(tmp_path))
    assert (row.choices, row.runs) == ({}, 3)
    assert report.table_of(tmp_path).complete
    assert (tmp_path / "results.csv").read_text().splitlines()[1].startswith("3,3,0.5,0.0,")


def test_scores_come_first_where_runs_have_them(tmp_path):
    for i in range(2):
        _run(tmp_path, str(i), overrides={"k": "1", "seed": str(i)}, frechet=7.0 + i)
    _run(tmp_path, "plain", overrides={"k": "2", "seed": "0"})
    rows = sweep.collect(sweep.find(tmp_path))
    assert rows[0].metrics["frechet"] == (7.5, math.sqrt(0.5))
    head, first, second = report.table(rows).splitlines()
    assert head.split()[:4] == ["k", "runs", "frechet", "value"]
    assert first.split()[2:5] == ["7.500", "±", "0.707"]
    assert second.split()[2] == "-"
    sweep.write_csv(rows, tmp_path / "results.csv")
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert lines[0].startswith("k,finished,runs,frechet_mean,frechet_std,value_mean")
    assert lines[2].startswith("2,1,1,,,0.5")


def test_runs_that_are_not_there_are_named(call, tmp_path):
    _run(tmp_path, "k-1", "running", {"k": "1"})  # and no process is at work
    (tmp_path / "0" / "checkpoints").mkdir(parents=True)  # of an older gan-cli
    _run(tmp_path, "k-7", "failed", {"k": "7"}, "a mistake")  # never began, and is no longer asked for
    sweep.write_plan(tmp_path, {"k-1": {"k": "1"}, "k-2": {"k": "2"}})
    done = call("gan-report", "run=.")
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:3]] == [["1", "0/1"], ["2", "0/1"]]
    assert "  k-1: killed at step 1\n  k-2: not started\n" in done.stdout
    assert "left out, as they hold no status.json: 0\n" in done.stdout
    assert "k-7" not in done.stdout
    assert (tmp_path / "results.csv").read_text().splitlines()[1] == "1,0,1," + "," * 1


NO_STATUS = ["", "[]", "{}", '{"overrides": 3, "status": "complete"}', '{"status": "x"}', "[" * 99999]


@pytest.mark.parametrize("content", [*NO_STATUS, '{"overrides": {"k": [1]}, "status": "complete"}'])
def test_a_status_that_is_none_is_a_failed_run(tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "status.json").write_text(content)
    (tmp_path / "sweep.json").write_text(content)
    text, complete = report.table_of(tmp_path)
    assert "run: failed: status.json can't be read" in text
    assert not complete


@pytest.mark.parametrize(("words", "line"), [
    (["run=."], "no run in .: give the folder of a run"),
    ([], "run is needed: run=PATH, the folder of a run"),
    (["runs=x"], "no key 'runs'; did you mean 'run'?"),
    (["-m", "run=x,y"], "gan-report has no -m"),
])  # fmt: skip
def test_a_report_on_nothing_gets_one_line(call, tmp_path, words, line):
    done = call("gan-report", *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert line in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_is_named_after_what_makes_a_run_another():
    assert folder_name(["seed=1", "loss=hinge", "run_dir=x", "resume=auto"]) == "loss-hinge+seed-1"
    assert folder_name(["loss=hinge", "seed=1", "steps=9", "device=cpu"]) == "loss-hinge+seed-1"
    assert folder_name(["seed=1", "steps=9"], frozenset({"steps"})) == "seed-1+steps-9"
    assert folder_name(["run_dir=x"]) == "defaults"


def test_no_two_runs_share_a_folder_whatever_their_values_are():
    values = ["a", "A", "/a", "/b/../a", "a b", "[1,2]", "[1, 2]", "{a:1}", "'a+k-1'", "1e-3", "1e+3", "..", "é", "",
              "x" * 300, "x" * 301, "${now:%Y}", "\x1b[2J", "a=b"]  # fmt: skip
    runs = [["k=a", f"v={value}"] for value in values] + [[f"v={value}"] for value in values]
    runs += [["v=a", "~w"], ["v=a", "w="], ["v=a", "w/x=1"], ["v=a", "w.x=1"], ["v=a", "+w.x=1"], ["v=a", "w_x=1"]]
    names = [folder_name(words) for words in runs]
    assert len({name.lower() for name in names}) == len(runs)
    for name in names:
        assert len(name.encode()) <= 160
        assert re.fullmatch(r"[A-Za-z0-9_.+-]+", name) and not name.startswith((".", "-"))  # typed without quotes


def test_bad_combinations_cost_a_sweep_no_other_and_a_grid_grows(call, tmp_path):
    done = call("gan-train", "-m", *FAST, "k=1,0,two", "loss=minimax", "seed=0", "steps=1", "run_dir=sweep")
    assert done.returncode == 2
    lines = {values: run["error"] for values, run in _statuses(tmp_path / "sweep").items()}
    assert len(lines) == 3
    assert lines["1", "minimax", "0"] is None
    assert lines["0", "minimax", "0"] == "k=0 is too small: at least 1"
    assert lines["two", "minimax", "0"].startswith("k: Value 'two'")
    assert all(line in done.stdout.partition("not complete:")[2] for line in lines.values() if line)
    before = _bytes(tmp_path / "sweep")
    assert before

    more = ["k=1", "loss=minimax", "seed=0,1", "steps=1", "run_dir=sweep"]
    refused = call("gan-train", "-m", *FAST, *more)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "holds a run already; add resume=auto" in refused.stderr
    grown = call("gan-train", "-m", *FAST, *more, "resume=auto")
    assert grown.returncode == 0, grown.stderr  # what failed before is no longer asked for
    assert {path: path.read_bytes() for path in before} == before
    assert grown.stdout.count("step 1/1") == 1  # the other run was there
    head, row = (tmp_path / "sweep" / "results.csv").read_text().splitlines()
    assert head.startswith("finished,runs,jsd_mean") and row.startswith("2,2,")

    longer = call("gan-train", "-m", *FAST, "k=1", "loss=minimax", "seed=1", "steps=2", "run_dir=sweep", "resume=auto")
    assert longer.stdout.count("step 2/2") == 1 and longer.stdout.count("step 1/2") == 0  # it went on


def test_a_sweep_over_keys_that_may_change_has_a_folder_for_each(call, tmp_path):
    assert call("gan-train", "-m", *FAST, "steps=1,2", "run_dir=sweep").returncode == 0
    assert len(list((tmp_path / "sweep").glob("*/checkpoints"))) == 2


def test_a_run_that_diverges_costs_a_sweep_no_other(call, tmp_path):
    rates = ["optimizer.lr=1e30,1e-3", "on_nonfinite=stop"]
    done = call("gan-train", "-m", *FAST, *rates, "loss=wgan", "penalty=none", "steps=3", "run_dir=sweep")
    assert done.returncode == 2
    states = sorted(run["status"] for run in _statuses_of(tmp_path / "sweep"))
    assert states == ["complete", "diverged"]
    assert ": diverged: step 1: no longer finite: " in done.stdout


def _statuses_of(folder):
    return [json.loads(path.read_text()) for path in folder.glob("*/status.json")]


def test_a_killed_sweep_typed_again_completes(call, tmp_path):
    words = ["-m", *FAST, "seed=0,1", "run_dir=sweep", "resume=auto"]
    process = Process("gan-train", [*words, "steps=1000000"], tmp_path, tmp_path / "out", tmp_path / "err")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "sweep").glob("*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    told = call("gan-report", "run=sweep").stdout
    assert re.search(r"seed-0\S*: killed", told) and re.search(r"seed-1\S*: not started", told), told
    done = call("gan-train", *words, "steps=2")
    assert done.returncode == 0, done.stderr
    assert [run["status"] for run in _statuses_of(tmp_path / "sweep")] == ["complete"] * 2


def test_a_single_run_tells_its_status(call, tmp_path):
    assert call("gan-train", *FAST, "k=2", "steps=2", "run_dir=run").returncode == 0
    first = status.read(tmp_path / "run")
    assert (first.status, first.step, first.error) == ("complete", 2, None)
    assert first.overrides["k"] == "2"
    assert call("gan-train", "resume=run", "steps=3", "k=3").returncode == 2  # refused: the run stays what it was
    assert status.read(tmp_path / "run") == first
    assert call("gan-train", "resume=run", "steps=3").returncode == 0
    now = status.read(tmp_path / "run")
    assert (now.status, now.step, now.overrides["k"], now.overrides["steps"]) == ("complete", 3, "2", "3")
    told = call("gan-report", "run=run")
    assert told.returncode == 0 and told.stdout.startswith("step 3, status complete; verdict: ")


def test_a_job_returns_the_first_score_or_the_value(tmp_path):
    assert train.objective(tmp_path, scored=False) is None
    rows = [{"step": 1, "value": -1.0, "frechet": 8.0, "precision": 0.5}, {"step": 2, "value": -2.0, "frechet": 9.0}]
    rows += [{"step": 3, "value": -3.0, "precision": 0.5}]  # the first score was not finite
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert train.objective(tmp_path, scored=True) == 9.0
    assert train.objective(tmp_path, scored=False) == -3.0
    assert {"frechet", "frechet_random", "missed", "mae", "jsd", "class_kl", "target_error"} == set(FIRST_SCORES)


def test_the_value_reaches_the_sweeper(call, tmp_path, monkeypatch):
    from gan_cli import cli

    returned = []
    launcher = importlib.import_module("hydra._internal.core_plugins.basic_launcher")
    monkeypatch.setattr(launcher, "run_job", _noting(returned))
    done = call("gan-train", "-m", *FAST, "loss=hinge,minmax", "steps=2", "eval_every=1", "run_dir=sweep")
    assert done.returncode == 2
    assert "failed: no loss 'minmax'; did you mean 'minimax'?" in done.stdout
    records = [json.loads(line) for line in next((tmp_path / "sweep").glob("*/metrics.jsonl")).read_text().splitlines()]
    assert returned == [records[-1]["jsd"], None]
    assert cli.Callbacks.begun == type(tmp_path)("sweep")


def _noting(returned):
    from hydra.core.utils import run_job

    def noted(**arguments):
        result = run_job(**arguments)
        returned.append(result.return_value)
        return result

    return noted


LAUNCHER_OF = {"local": "joblib", "ray": "ray", "slurm": "submitit_slurm"}
# The keys of the plugins' launchers that the group cluster sets, and the plugins' defaults.
LAUNCHER_KEYS = {
    "joblib": {"_target_": "hydra_plugins.JoblibLauncher", "n_jobs": -1},
    "ray": {"_target_": "hydra_plugins.Launcher", "ray": {"init": {"address": None}, "remote": {}}},
    "submitit_slurm": {
        "_target_": "hydra_plugins.SlurmLauncher",
        "array_parallelism": 256, "gpus_per_node": None, "timeout_min": 60, "max_num_timeout": 0,
    },
}  # fmt: skip


@pytest.fixture
def plugins(monkeypatch):
    """The plugins' launchers, as far as Hydra composes them. Hydra's own launcher does what they are asked to do."""
    for launcher, keys in LAUNCHER_KEYS.items():
        node, name = OmegaConf.create(keys), f"{launcher}.yaml"
        entry = ConfigNode(name, node, "hydra/launcher", None, "test")
        monkeypatch.setitem(ConfigStore.instance().repo["hydra"]["launcher"], name, entry)

    def instead(self, **context):
        launcher = BasicLauncher()
        launcher.setup(**context)
        return launcher

    monkeypatch.setattr(Plugins, "instantiate_launcher", instead)


def _composed(*words):
    with initialize_config_module("gan_cli.configs", version_base="1.3"):
        return compose("train", words, return_hydra_config=True)


def test_a_cluster_sets_its_launcher(plugins, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    local, ray, slurm = (_composed(f"cluster={choice}").hydra.launcher for choice in LAUNCHER_OF)
    assert local.n_jobs == slurm.array_parallelism == ray.ray.init.num_cpus == 2
    assert slurm.gpus_per_node == ray.ray.remote.num_gpus == 1
    for choice in LAUNCHER_OF:
        config = _composed(f"cluster={choice}", "cluster.jobs=7")
        OmegaConf.resolve(config.hydra.launcher)
        assert ": 7\n" in OmegaConf.to_yaml(config.hydra.launcher)
    assert ray.ray.remote.num_cpus == 1  # of as many as there are jobs
    assert _composed().cluster.jobs is None


@pytest.mark.parametrize(("words", "line"), [
    (["cluster=local"], "cluster is for the runs of a sweep: add -m, or leave cluster out"),
    (["cluster.jobs=2"], "cluster is for the runs of a sweep: add -m, or leave cluster out"),
    (["-m", "cluster.jobs=2"], "cluster.jobs needs a cluster: add cluster=local, ray or slurm"),
    (["-m", "cluster=local", "cluster.jobs=null"], "cluster=local needs cluster.jobs=N, the runs at a time"),
    (["-m", "cluster=local", "cluster.jobs=0"], "cluster.jobs=0 is too small: at least 1"),
    (["-m", "cluster=local", "cluster.jobs=two"], "cluster.jobs: Value 'two'"),
    (["-m", "cluster=local", "cluster.jobs=1,2"], "cluster.jobs holds for the whole sweep: give one value"),
    (["-m", "cluster=lokal"], "no cluster 'lokal'; did you mean 'local'?"),
    (["-m", "cluster=slurm"], "there is no Slurm on this machine: start the sweep where srun is"),
])  # fmt: skip
def test_a_cluster_that_cant_act_gets_one_line(call, plugins, tmp_path, monkeypatch, words, line):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = call("gan-train", *words, "run_dir=sweep")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert line in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("choice", LAUNCHER_OF)
def test_a_plugin_that_is_missing_is_told_how_to_get(call, monkeypatch, choice):
    launchers, launcher = ConfigStore.instance().repo["hydra"]["launcher"], LAUNCHER_OF[choice]
    monkeypatch.delitem(launchers, f"{launcher}.yaml", raising=False)
    for word in (f"cluster={choice}", f"hydra/launcher={launcher}"):
        done = call("gan-train", "-m", word)
        assert done.returncode == 2
        said = f"hydra/launcher={launcher} is a plugin that is not installed: pip install 'gan-cli[sweep]'"
        assert done.stderr == f"gan-train: {said}\n"


def test_a_cluster_is_no_part_of_a_run_and_shows_each_process_its_gpu(call, plugins, tmp_path, monkeypatch):
    shown, run = [], train.run
    monkeypatch.setattr(train, "run", lambda *a: (shown.append(os.environ.get("CUDA_VISIBLE_DEVICES")), run(*a))[1])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    words = ["-m", *FAST, "steps=1", "run_dir=sweep"]
    assert call("gan-train", *words, "seed=0").returncode == 0
    process = SimpleNamespace(name="LokyProcess-3")
    monkeypatch.setattr(cluster.multiprocessing, "current_process", lambda: process)
    done = call("gan-train", *words, "seed=0,1", "cluster=local", "cluster.jobs=3", "resume=auto")
    assert done.returncode == 0, done.stderr
    assert shown == ["4,6", "6", "6"] and os.environ["CUDA_VISIBLE_DEVICES"] == "4,6"
    stored = [path.read_text() for path in (tmp_path / "sweep").glob("*/config.yaml")]
    assert len(stored) == 2 and "cluster" not in "".join(stored)
    (row,) = sweep.collect(sweep.find(tmp_path / "sweep"))
    assert (row.choices, row.finished) == ({}, 2)  # no column of the table
    assert call("gan-train", *words, "seed=0", "steps=2", "cluster=local", "resume=auto").returncode == 0  # it went on


def test_the_gpus_that_a_process_sees(monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert cluster.visible_gpus() == []
    for name in ("nvidia0", "nvidia3", "nvidia10", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert cluster.visible_gpus() == ["0", "1", "2"]  # CUDA counts the GPUs that it finds from 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-7a")
    assert cluster.visible_gpus() == ["4", "GPU-7a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert cluster.visible_gpus() == []


def test_the_processes_of_joblib_have_a_gpu_each(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    assert cluster.own_gpu() == {}  # this is no process of joblib
    given, process = [], SimpleNamespace()
    monkeypatch.setattr(cluster.multiprocessing, "current_process", lambda: process)
    for number in range(1, 7):
        process.name = f"LokyProcess-{number}"
        given.append(cluster.own_gpu()["CUDA_VISIBLE_DEVICES"])
    assert sorted(given[:3]) == ["4", "6", "7"] and given[3:] == given[:3]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given[-1])
    assert cluster.own_gpu() == {"CUDA_VISIBLE_DEVICES": given[-1]}  # asked again in the process itself
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert cluster.own_gpu() == {}


def test_the_runs_of_ray_find_room_on_the_gpus(monkeypatch):
    for gpus in range(9):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus))))
        for jobs in range(1, 25):
            share = cluster.gpus_per_run(jobs)
            assert 0 < share <= 1 if gpus else share == 0
            if gpus:
                assert gpus * (10_000 // round(10_000 * share)) >= jobs  # a run has its share on a single GPU


# With the real plugins: pip install 'gan-cli[sweep]'.
LAUNCHERS = {
    "joblib": ["hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra.launcher.timeout_min=5"],
    "ray": ["+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.init.include_dashboard=false"],
}


def _typed(*words):
    return [sys.executable, "-m", "gan_cli", "train", "-m", *FAST, "run_dir=sweep", *words]


def _sweep(folder, *words):
    """A sweep as it is typed: launchers start processes of their own."""
    return subprocess.run(_typed("steps=2", *words), cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sweep_is_whole_under_every_launcher(launcher, tmp_path):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    pytest.importorskip(launcher.partition("_")[0])
    words = [f"hydra/launcher={launcher}", *LAUNCHERS[launcher]]
    done = _sweep(tmp_path, *words, "k=1,0", "loss=minimax,minmax")
    assert done.returncode == 2, done.stderr
    lines = {values: run["error"] for values, run in _statuses(tmp_path / "sweep").items()}
    assert lines["1", "minimax"] is None
    assert lines["0", "minimax"] == "k=0 is too small: at least 1"
    assert lines["1", "minmax"] == "no loss 'minmax'; did you mean 'minimax'?"
    assert re.search(r"^1 +minimax +1/1 +\d", done.stdout, re.MULTILINE), done.stdout
    assert all(line in done.stdout.partition("not complete:")[2] for line in lines.values() if line)
    assert "Traceback" not in done.stdout + done.stderr
    before = _bytes(tmp_path / "sweep")
    grown = _sweep(tmp_path, *words, "k=1,2", "loss=minimax", "resume=auto")
    assert grown.returncode == 0, grown.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert len((tmp_path / "sweep" / "results.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_optuna_goes_by_the_score(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    pytest.importorskip("optuna")
    words = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.sampler.seed=1", "eval_every=1"]
    done = _sweep(tmp_path, *words, "k=choice(0,1,2)")
    assert done.returncode == 2, done.stderr  # k=0 was among them
    best = re.search(r"best_value: (\S+)", (tmp_path / "sweep" / "optimization_results.yaml").read_text()).group(1)
    files = (tmp_path / "sweep").glob("*/metrics.jsonl")
    assert float(best) == min(json.loads(path.read_text().splitlines()[-1])["jsd"] for path in files)
    (tmp_path / "none").mkdir()
    none = _sweep(tmp_path / "none", *words[:1], "hydra.sweeper.n_trials=2", "k=choice(0,-1)")
    assert (none.returncode, "Traceback" in none.stderr) == (2, False), none.stderr
    assert "gan-train: no run of this search is complete, so that there are no best values" in none.stderr


def _at_work(folder):
    """The processes that hold the locks of the runs in ``folder``, by the runs' names."""
    locks, found = {str(path): path.parent.name for path in folder.glob("*/.lock")}, {}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if (name := locks.get(os.readlink(link))) is not None:
                found[name] = int(link.parts[2])
    return found


def _kill_one(folder, process, name):
    """Kill the process of the run ``name`` once it has records. The most runs at a time, until the sweep ends."""
    most, killed, deadline = 0, False, time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        working = _at_work(folder)
        most = max(most, len(working))
        if not killed and name in working and read_metrics(folder / name):
            os.kill(working[name], signal.SIGKILL)
            killed = True
        time.sleep(0.1)
    assert killed and process.poll() is not None
    return most


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes in /proc")
@pytest.mark.parametrize("choice", ["cluster=local", "cluster=ray", "hydra/launcher=submitit_local"])
def test_a_sweep_outlives_a_killed_run(choice, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")  # of the same extra as the others
    words = ["steps=1000000", "max_seconds=6", "log_every=5"]
    command, name = _typed(*words, choice, "seed=range(4)"), folder_name([*FAST[:-1], "seed=1"])
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=err)
        try:
            most = _kill_one(tmp_path / "sweep", process, name)
        finally:
            process.kill()
            process.wait()
    said, errors = (tmp_path / "out").read_text(), (tmp_path / "err").read_text()
    assert process.returncode == 2, errors
    assert "Traceback" not in said + errors
    assert re.search(rf"^  {re.escape(name)}: killed at step \d", said, re.MULTILINE), said
    complete = [run.folder.name for run in sweep.find(tmp_path / "sweep") if run.state == "complete"]
    if choice == "cluster=local":
        assert "a process of this sweep was killed" in errors  # joblib ends its other processes
    else:
        assert len(complete) == 3 and re.search(r"^3/4 ", said, re.MULTILINE), said
    assert most == 2 or choice.startswith("hydra")  # submitit starts all at once
    again = subprocess.run([*command, "resume=auto"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "sweep" / "results.csv").read_text().splitlines()[1].startswith("4,4,")
