"""The table at the end of a sweep."""

import json
import math

from gan_cli.commands import sweep
from gan_cli.metrics.catalogue import TERMS


def _run(folder, name, **metrics):
    (folder / name).mkdir()
    row = {"step": 1, "seconds": 1.0, **dict.fromkeys((*TERMS, "images_per_second"), 0.5), **metrics}
    (folder / name / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return folder / name


def test_seeds_share_a_row_and_common_overrides_are_left_out(tmp_path):
    runs = []
    for i, (k, seed, value) in enumerate([("1", "0", -1.0), ("1", "1", -3.0), ("2", "0", -5.0)]):
        runs.append(sweep.Run({"k": k, "seed": seed, "steps": "9"}, _run(tmp_path, str(i), value=value), True))
    diverged = _run(tmp_path, "diverged", value=9.0)  # it has metrics, from before it diverged
    runs.append(sweep.Run({"k": "2", "seed": "1", "steps": "9"}, diverged, False))
    first, second = sweep.collect(runs)
    assert (first.choices, first.finished, first.runs) == ({"k": "1"}, 2, 2)
    assert first.metrics["value"] == (-2.0, math.sqrt(2))
    assert (second.choices, second.finished, second.runs) == ({"k": "2"}, 1, 2)
    assert second.metrics["value"] == (-5.0, None)
    lines = sweep.table([first, second]).splitlines()
    assert lines[1].split()[:5] == ["1", "2/2", "-2.000", "±", "1.414"]
    assert lines[2].split()[:3] == ["2", "1/2", "-5.000"]
    assert len({line.index("0.500") for line in lines[1:]}) == 1  # columns stand below each other


def test_a_sweep_over_seeds_alone_is_one_row(tmp_path):
    runs = [sweep.Run({"seed": str(i)}, _run(tmp_path, str(i)), True) for i in range(3)]
    (row,) = sweep.collect(runs)
    assert (row.choices, row.runs) == ({}, 3)
    sweep.write_csv([row], tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text().splitlines()[1].startswith("3,3,0.5,0.0,")


def test_scores_come_first_where_runs_have_them(tmp_path):
    scored = [sweep.Run({"k": "1", "seed": str(i)}, _run(tmp_path, str(i), frechet=7.0 + i), True) for i in range(2)]
    rows = sweep.collect([*scored, sweep.Run({"k": "2", "seed": "0"}, _run(tmp_path, "plain"), True)])
    assert rows[0].metrics["frechet"] == (7.5, math.sqrt(0.5))
    head, first, second = sweep.table(rows).splitlines()
    assert head.split()[:4] == ["k", "runs", "frechet", "value"]
    assert first.split()[2:5] == ["7.500", "±", "0.707"]
    assert second.split()[2] == "-"
    sweep.write_csv(rows, tmp_path / "results.csv")
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert lines[0].startswith("k,finished,runs,frechet_mean,frechet_std,value_mean")
    assert lines[2].startswith("2,1,1,,,0.5")
