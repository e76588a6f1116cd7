"""gan-report: the page and the JSON of a run, of a sweep, of runs anywhere below; hostile folders."""

import html.parser
import io
import json
import re
import time

import pytest
from helpers import FAST, train_tiny
from PIL import Image

from gan_cli.commands import report
from gan_cli.reports import curves, facts, page, pictures, sweep, write
from gan_cli.rundir.records import MOST, read_metrics, read_some

ROWS = [
    {"step": s, "images": 4 * s, "seconds": s / 10, "loss_d": 1 / s, "frechet": abs(s - 6) + 1.0} for s in range(1, 11)
]


def _folder(path, rows=ROWS, status="complete", overrides=None, **more):
    """A run folder that has records, two grids and a status."""
    (path / "samples").mkdir(parents=True)
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [f"{key}={value}" for key, value in (overrides or {}).items()]
    content = {"overrides": overrides or {}, "status": status, "step": 10, "error": None, "words": words, **more}
    (path / "status.json").write_text(json.dumps(content))
    for i, step in enumerate((0, 10)):
        Image.new("L", (32, 16), 255 * i).save(path / f"samples/{step:08d}.png")
    return path


class _Page(html.parser.HTMLParser):
    """The tags of a page, its text, and the JSON that it hands to its script."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.words, self._inside = [], [], None
        self.feed(path.read_text(encoding="utf-8"))
        self.data = json.loads("".join(text for tag, text in self.words if tag == "data"))
        self.text = " ".join("".join(text for tag, text in self.words if tag is None).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id", tag) if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, text):
        self.words.append((self._inside, text))


def test_the_page_of_a_run_has_its_pictures_scores_curves_and_commands(call, tmp_path):
    assert call("gan-train", *FAST, "steps=4", "seed=3", "run_dir=my run").returncode == 0
    done = call("gan-report", "run=my run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "step 4, status complete; verdict: healthy so far; it is early to say",
        "the page is my run/report.html, its numbers are in my run/report.json",
    ]
    assert not (tmp_path / "my run/results.csv").exists()  # that is a sweep's
    shown, twin = _Page(tmp_path / "my run/report.html"), json.loads((tmp_path / "my run/report.json").read_text())
    assert [frame["step"] for frame in shown.data["frames"]] == [0, 2, 4]
    losses = next(chart for chart in shown.data["charts"] if chart["title"] == "Losses")
    rows = read_metrics(tmp_path / "my run")
    assert losses["steps"] == [row["step"] for row in rows] == [1, 2, 3, 4]
    assert losses["series"][0]["values"] == [row["loss_d"] for row in rows]
    assert twin["charts"] == shown.data["charts"]
    assert "gan-train resume='\"my run\"' steps=8" not in shown.text  # quoted as Hydra and a shell take it
    assert "gan-train 'resume=\"my run\"' steps=8" in shown.text
    assert "begun by gan-train net=mlp 'net.generator.widths=[8,8,16,32]'" in shown.text
    changed = {row["key"]: (row["value"], row["default"]) for row in twin["changed"]}
    assert changed["seed"] == ("3", "0") and changed["batch_size"] == ("4", "32")
    assert changed["net.z_dim"] == ("100", "16")  # a recipe's part
    assert "k" not in changed and "run_dir" not in changed
    assert {"device", "torch", "gan-cli"} <= twin["machine"].keys()
    assert re.fullmatch("[0-9a-f]{64}", twin["hashes"][0]["sha256"])


def test_a_page_fetches_nothing_and_runs_its_own_scripts_alone(tmp_path):
    write.report_run(_folder(tmp_path / "run"), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    shown = _Page(tmp_path / "report.html")
    for tag, attributes in shown.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        assert not any(name.startswith("on") for name in attributes), attributes
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "./").startswith("./")
        assert tag != "img" or attributes["alt"]
    (policy,) = [a["content"] for _, a in shown.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; ") and policy.count("sha256-") == 3
    assert "url(" not in text and "@import" not in text


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'{{7*7}}"


def test_a_hostile_folder_is_escaped(tmp_path):
    rows = [{"step": 1, HOSTILE: 1.0, "loss_d": 1.0}]
    folder = _folder(tmp_path / "a<b>&'", rows, overrides={HOSTILE: HOSTILE}, machine={HOSTILE: HOSTILE})
    (folder / "eval.json").write_text(json.dumps({HOSTILE: {"value": 1, "extractor": HOSTILE, "error": [1]}, "x": 3}))
    write.report_run(folder, tmp_path / "run.html")
    runs = sweep.find(tmp_path)
    write.report_runs(tmp_path, runs, None, tmp_path / "all.html")
    for name in ("run.html", "all.html"):
        shown = _Page(tmp_path / name)
        own = [{"id": f"script-{name}"} for name in ("uPlot.iife.min", "theme", "report")]
        data = {"type": "application/json", "id": "data"}
        assert [attributes for tag, attributes in shown.tags if tag == "script"] == [data, *own]
        assert not any("onerror" in attributes for _, attributes in shown.tags)
        assert "alert(1)" in shown.text and "{{7*7}}" in shown.text


def test_broken_files_are_passed_over(tmp_path):
    folder = _folder(tmp_path / "run", status="running")
    (folder / "metrics.jsonl").write_bytes(b'{"step": 1, "loss_d": NaN}\n\xff\xfe\n[[[[\n{"step": 2, "loss_d": 0.5}\n')
    (folder / "samples/00000000.png").write_bytes(b"no picture")
    (folder / "eval.json").write_bytes(b"[" * 100_000)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/last.safetensors").write_bytes(b"\xff" * 100)
    (folder / "checkpoints/best.safetensors").symlink_to("/dev/null")
    found = write.report_run(folder, tmp_path / "report.html", {"k": 1})
    assert found["status"] == "killed" and found["step"] == 2
    assert [frame["step"] for frame in _Page(tmp_path / "report.html").data["frames"]] == [10]
    assert found["evaluated"] == found["hashes"] == found["changed"] == []


def test_a_picture_that_is_too_large_is_left_out(tmp_path):
    Image.new("1", (5000, 4001)).save(tmp_path / "large.png")
    Image.new("1", (5000, 4000)).save(tmp_path / "fits.png")
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert pictures.inlined(tmp_path / "large.png", 100) is None
    assert pictures.inlined(tmp_path / "x.png", 100) is None
    assert pictures.inlined(tmp_path / "none.png", 100) is None
    found = pictures.inlined(tmp_path / "fits.png", 100)
    assert (found.width, found.height) == (100, 80)


def test_the_film_keeps_the_last_picture_within_its_budget(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(9)]
    for path in paths:
        Image.effect_noise((64, 64), 90).save(path)
    one = len(pictures.inlined(paths[0], 64).uri)
    assert [path.stem for path, _ in pictures.inlined_within(paths, 5, 64, 10**9)] == ["0", "2", "4", "6", "8"]
    few = pictures.inlined_within(paths, 9, 64, 3 * one)
    assert [path.stem for path, _ in few] in (["4", "8"], ["0", "4", "8"])


@pytest.mark.slow
def test_a_long_run_has_a_small_page(tmp_path):
    """20,000 records, 100 pictures of noise: the page stays below 5 MB, and every curve keeps its last point."""
    names = ("loss_d", "loss_g", "d_real", "d_fake", "value", "penalty", "mine")
    rows = [{"step": step, **dict.fromkeys(names, step / 7)} for step in range(1, 20_001)]
    folder = _folder(tmp_path / "run", rows)
    noise = io.BytesIO()
    Image.effect_noise((900, 900), 90).save(noise, "png")
    for i in range(100):
        (folder / f"samples/{100 + i:08d}.png").write_bytes(noise.getvalue())
    found = write.report_run(folder, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 5_000_000
    assert all(len(chart["steps"]) <= curves.POINTS for chart in found["charts"])
    assert {chart["steps"][-1] for chart in found["charts"]} == {20_000}


def test_a_file_of_records_beyond_measure_is_read_in_part(tmp_path, monkeypatch):
    (tmp_path / "metrics.jsonl").write_text("".join(f'{{"step": {i}, "loss_d": 1}}\n' for i in range(1, 100_002)))
    monkeypatch.setattr("gan_cli.rundir.records.LONGEST", 1000)
    begun = time.perf_counter()
    rows = read_some(tmp_path)
    assert time.perf_counter() - begun < 20
    assert len(rows) <= MOST + 1 and (rows[0]["step"], rows[-1]["step"]) == (1, 100_001)


def test_scores_have_their_best_by_their_own_direction(tmp_path):
    rows = [{"step": 1, "frechet": 3.0, "recall": 0.5}, {"step": 2, "frechet": 2.0, "recall": 0.9}, {"step": 3}]
    rows.append({"step": 4, "frechet": 5.0, "recall": 0.1})
    frechet, recall = facts.scores(rows, best_step=2)
    assert (frechet["last"], frechet["best"], frechet["best_step"], frechet["kept"]) == (5.0, 2.0, 2, True)
    assert (recall["last"], recall["best"], recall["best_step"], recall["kept"]) == (0.1, 0.9, 2, False)


def test_the_page_of_a_sweep_has_rows_pages_and_curves(tmp_path):
    for k in "12":
        for seed in "01":
            _folder(tmp_path / f"k-{k}+seed-{seed}", overrides={"k": k, "seed": seed})
    sweep.write_plan(tmp_path, {f"k-{k}+seed-{s}": {"k": k, "seed": s} for k in "123" for s in "01"})
    told = report.run({"run": str(tmp_path), "out": None, "watch": False})
    assert f"the page is {tmp_path}/report.html" in told
    shown, twin = _Page(tmp_path / "report.html"), json.loads((tmp_path / "report.json").read_text())
    assert twin["columns"][:2] == ["k", "runs"] and [row[0] for row in twin["rows"]] == ["1", "2", "3"]
    assert "4 of 6 runs are complete" in shown.text and "5 ± 0" in shown.text
    (chart,) = [chart for chart in shown.data["charts"] if chart["title"] == "frechet"]
    assert [line["name"] for line in chart["series"]] == [f"k-{k}+seed-{s}" for k in "12" for s in "01"]
    assert chart["series"][0]["values"] == [row["frechet"] for row in ROWS]
    links = {attributes["href"] for tag, attributes in shown.tags if tag == "a"}
    assert links == {f"./k-{k}+seed-{s}/report.html" for k in "12" for s in "01"}
    assert (tmp_path / "k-1+seed-0/report.html").is_file()


def test_a_folder_above_runs_has_a_leaderboard(call, tmp_path):
    _folder(tmp_path / "2026/a", overrides={"k": "1"})
    _folder(tmp_path / "2026/deeper/b", [{"step": 5, "loss_d": 0.5}], status="stopped", overrides={"k": "2"})
    (tmp_path / "circle").symlink_to(tmp_path, target_is_directory=True)
    done = call("gan-report", "run=.", "out=all.html")
    assert done.returncode == 0, done.stderr
    twin = json.loads((tmp_path / "all.json").read_text())
    assert [row[:4] for row in twin["rows"]] == [
        ["2026/a", "k=1", "complete", 10],
        ["2026/deeper/b", "k=2", "stopped", 10],
    ]
    assert twin["columns"][4] == "frechet" and twin["rows"][1][4] == "\u2013"


def test_a_run_from_python_has_a_page(tiny, tmp_path):
    train_tiny(tiny, tmp_path / "run", steps=4)
    assert "the page is" in report.run({"run": str(tmp_path / "run"), "out": None, "watch": False})
    assert json.loads((tmp_path / "run/report.json").read_text())["step"] == 4


def test_a_run_that_goes_on_is_watched_until_it_ends(call, tmp_path, monkeypatch):
    _folder(tmp_path / "run")
    states, pages = iter(["running", "running", "complete"]), []

    def page_of(folder, out, default, refresh):
        pages.append(write_run(folder, out, default))
        return {"status": next(states), "step": 10, "verdict": "healthy"}

    write_run = write.report_run
    monkeypatch.setattr(report, "WAIT", 0.001)
    monkeypatch.setattr(write, "report_run", lambda *arguments, refresh=None: page_of(*arguments, refresh))
    done = call("gan-report", "run=run", "watch=true")
    assert done.returncode == 0 and "step 10, status complete; verdict: healthy\n" in done.stdout
    assert len(pages) == 3
    refused = call("gan-report", "run=.", "watch=true")
    assert refused.returncode == 2 and "watch=true follows one run, and . is none" in refused.stderr


def test_another_ending_is_refused(call, tmp_path):
    _folder(tmp_path / "run")
    done = call("gan-report", "run=run", "out=page.pdf")
    assert (done.returncode, done.stderr) == (2, "gan-report: out=page.pdf should be a page: out=FILE.html\n")


@pytest.mark.parametrize(
    ("value", "text"), [(None, "\u2013"), (3, "3"), (1375.4, "1,375"), (12345.6, "12,346"), (0.00012345, "0.0001234")]
)
def test_numbers_for_a_reader(value, text):
    assert page.number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s"), (600, "10 min"), (7260, "2 h 1 min")])
def test_durations_for_a_reader(seconds, text):
    assert page.duration(seconds) == text
