"""Sweeps: their folders, their table, combinations that fail, grids that grow, what was killed."""

import importlib
import json
import math
import re
import subprocess
import sys
import time

import pytest
from helpers import Process

from gan_cli.commands import report, train
from gan_cli.config.sweep import folder_name
from gan_cli.metrics.catalogue import FIRST_SCORES, TERMS
from gan_cli.rundir import status

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
    first, second = report.collect(report.find(tmp_path))
    assert (first.choices, first.finished, first.runs) == ({"k": "2"}, 1, 2)
    assert first.metrics["value"] == (-5.0, None)
    assert (second.choices, second.finished, second.runs) == ({"k": "10"}, 2, 2)
    assert second.metrics["value"] == (-2.0, math.sqrt(2))
    text, complete = report.run({"run": str(tmp_path)})
    lines = text.splitlines()
    assert lines[1].split()[:3] == ["2", "1/2", "-5.000"]
    assert lines[2].split()[:5] == ["10", "2/2", "-2.000", "±", "1.414"]
    assert len({line.index("0.500") for line in lines[1:3]}) == 1  # columns stand below each other
    assert "  x: diverged at step 1: step 2: no longer finite" in lines
    assert not complete


def test_a_sweep_over_seeds_alone_is_one_row(tmp_path):
    for i in range(3):
        _run(tmp_path, str(i), overrides={"seed": str(i)})
    (row,) = report.collect(report.find(tmp_path))
    assert (row.choices, row.runs) == ({}, 3)
    assert report.run({"run": str(tmp_path)}).complete
    assert (tmp_path / "results.csv").read_text().splitlines()[1].startswith("3,3,0.5,0.0,")


def test_scores_come_first_where_runs_have_them(tmp_path):
    for i in range(2):
        _run(tmp_path, str(i), overrides={"k": "1", "seed": str(i)}, frechet=7.0 + i)
    _run(tmp_path, "plain", overrides={"k": "2", "seed": "0"})
    rows = report.collect(report.find(tmp_path))
    assert rows[0].metrics["frechet"] == (7.5, math.sqrt(0.5))
    head, first, second = report.table(rows).splitlines()
    assert head.split()[:4] == ["k", "runs", "frechet", "value"]
    assert first.split()[2:5] == ["7.500", "±", "0.707"]
    assert second.split()[2] == "-"
    report.write_csv(rows, tmp_path / "results.csv")
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert lines[0].startswith("k,finished,runs,frechet_mean,frechet_std,value_mean")
    assert lines[2].startswith("2,1,1,,,0.5")


def test_runs_that_are_not_there_are_named(call, tmp_path):
    _run(tmp_path, "k-1", "running", {"k": "1"})  # and no process is at work
    (tmp_path / "0" / "checkpoints").mkdir(parents=True)  # of an older gan-cli
    _run(tmp_path, "k-7", "failed", {"k": "7"}, "a mistake")  # never began, and is no longer asked for
    report.write_plan(tmp_path, {"k-1": {"k": "1"}, "k-2": {"k": "2"}})
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
    text, complete = report.run({"run": str(tmp_path)})
    assert "run: failed: status.json can't be read" in text
    assert not complete


@pytest.mark.parametrize(("words", "line"), [
    (["run=."], "no run in .: give the folder of a sweep"),
    ([], "run is needed: run=PATH, the folder of a sweep"),
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
    assert told.returncode == 0 and "1/1" in told.stdout


def test_a_job_returns_the_first_score_or_the_value(tmp_path):
    assert train.objective(tmp_path, scored=False) is None
    rows = [{"step": 1, "value": -1.0, "frechet": 8.0, "precision": 0.5}, {"step": 2, "value": -2.0, "frechet": 9.0}]
    rows += [{"step": 3, "value": -3.0, "precision": 0.5}]  # the first score was not finite
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert train.objective(tmp_path, scored=True) == 9.0
    assert train.objective(tmp_path, scored=False) == -3.0
    assert {"frechet", "missed", "jsd", "class_kl"} == set(FIRST_SCORES)


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


# With the real plugins: pip install 'gan-cli[sweep]'.
LAUNCHERS = {
    "joblib": ["hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra.launcher.timeout_min=5"],
    "ray": ["+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.init.include_dashboard=false"],
}


def _sweep(folder, *words):
    """A sweep as it is typed: launchers start processes of their own."""
    words = [sys.executable, "-m", "gan_cli", "train", "-m", *words, *FAST, "steps=2", "run_dir=sweep"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)


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
