"""The doctor before real runs: troubles made on purpose, and healthy recipes. benchmarks/clinic.py made the file."""

import gzip
import json

import pytest
from helpers import ROOT

from gan_cli.diagnostics.doctor import examined
from gan_cli.diagnostics.findings import NOTE

STORED = gzip.decompress((ROOT / "tests/data/clinic.jsonl.gz").read_bytes()).decode().splitlines()
RUNS = {run["case"]: run for run in map(json.loads, STORED)}
TROUBLED = [name for name, run in RUNS.items() if run["named"]]


def test_the_clinic_has_eleven_troubles_and_nine_healthy_runs():
    assert (len(TROUBLED), len(RUNS)) == (11, 20)


@pytest.mark.parametrize("name", TROUBLED)
def test_a_trouble_is_named_within_a_third_of_its_run(name):
    run = RUNS[name]
    last = run["records"][-1]["step"]
    found = examined(run["records"], run["config"]).history
    assert any(one.name in run["named"] and one.since <= last / 3 for one in found)


@pytest.mark.parametrize("name", [name for name in RUNS if name not in TROUBLED])
def test_a_healthy_run_has_no_finding(name):
    run = RUNS[name]
    assert [one.name for one in examined(run["records"], run["config"]).history if one.severity != NOTE] == []
