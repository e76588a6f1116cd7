"""Metrics of one's own, from outside the package: scores of a run, and rows of gan-eval."""

import json

import pytest
import torch
from helpers import COMMANDS, FAST, invoke

from gan_cli import processes, sampling
from gan_cli.config import display
from gan_cli.config.saved import open_run
from gan_cli.data.idx import mnist
from gan_cli.errors import UserError
from gan_cli.metrics.own import measured_own, own_numbers
from gan_cli.rundir.records import read_metrics

OWN = {
    "mine_metrics.py": """
def ink(samples, real, threshold):
    return {"ink": (samples > threshold).float().mean(), "ink_of_data": (real > threshold).float().mean()}


def spread(samples, real):
    return samples.float().std()


def greeting(samples, real):
    return "hello"


def frechet(samples, real):
    return 0
""",
    "own/own_metrics/ink.yaml": "ink:\n  _target_: mine_metrics.ink\n  _partial_: true\n  threshold: 127\n",
    **{
        f"own/own_metrics/{name}.yaml": f"{name}:\n  _target_: mine_metrics.{name}\n  _partial_: true\n"
        for name in ("spread", "greeting", "frechet")
    },
}


@pytest.fixture
def own(own_code):
    """A command in a folder that holds :data:`OWN`."""
    own_code(OWN)
    return lambda name, *words: invoke(COMMANDS[name], ["--config-dir", "own", *words], name)


def test_a_run_is_scored_by_them_and_gan_eval_has_their_rows(own, tmp_path):
    words = ["dataset.limit=100", "own_metrics=[ink]", "own_metrics.ink.threshold=100", "run_dir=run"]
    done = own("gan-train", *FAST, *words, "steps=2", "eval_every=2")
    assert done.returncode == 0, done.stderr
    train = mnist(limit=100).images
    of_data = (train > 100).float().mean().item()
    record = read_metrics(tmp_path / "run")[-1]
    assert record["ink_of_data"] == pytest.approx(of_data)
    assert "frechet" in record and f"ink {record['ink']:.3g}" in done.stdout

    refused = own("gan-train", "resume=run", "steps=4")
    assert refused.returncode == 2 and "trust=[mine_metrics]" in refused.stderr
    assert own("gan-train", "resume=run", "steps=4", "trust=[mine_metrics]").returncode == 0

    done = own("gan-eval", "ckpt=run", "n=50", "own_metrics=[ink,spread]", "metrics=[kid]")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run" / "eval.json").read_text())
    saved = open_run("run", ["mine_metrics"])
    samples = torch.cat(list(sampling.generate(saved.generator(), sampling.latents(saved.noise, 50, 0))))
    held = mnist(split="test").images
    chosen = held[torch.randperm(len(held), generator=torch.Generator().manual_seed(0))[:50]]
    for name, images in {"value": samples, "real_data": chosen}.items():
        assert rows["ink"][name] == pytest.approx((images > 127).float().mean().item())
        assert rows["spread"][name] == pytest.approx(images.float().std().item(), rel=1e-5)
    assert (rows["ink"]["n_real"], rows["ink"]["n_fake"], rows["ink"]["split"]) == (100, 50, "train")


def test_of_several_processes_the_first_alone_calls_them(monkeypatch):
    monkeypatch.setattr(processes, "leads", lambda: False)
    monkeypatch.setattr(processes, "told", lambda value: {**value, "told": 1.0} if isinstance(value, dict) else value)
    found = display._with_own(lambda generator: {"frechet": 2.0}, {"ink": None}, None, None, None)
    assert found == {"frechet": 2.0, "told": 1.0}


def test_points_without_a_score_of_their_own_are_scored(own, tmp_path):
    (tmp_path / "mine_points.py").write_text(
        "import torch\nfrom gan_cli.data import Points\n\n\ndef points(split='train'):\n"
        "    return Points(torch.randn(64, 2, generator=torch.Generator().manual_seed(0)))\n"
    )
    (tmp_path / "own/dataset").mkdir()
    (tmp_path / "own/dataset/points.yaml").write_text("_target_: mine_points.points\n")
    words = ["dataset=points", "net=toy", "steps=2", "log_every=1", "sinks=[]", "run_dir=run"]
    refused = own("gan-train", *words, "eval_every=2")
    assert refused.returncode == 2 and "there is no score" in refused.stderr
    done = own("gan-train", *words, "eval_every=2", "own_metrics=[spread]")
    assert done.returncode == 0, done.stderr
    assert read_metrics(tmp_path / "run")[-1]["spread"] > 0
    assert (tmp_path / "run/checkpoints/best.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("greeting", "own_metrics.greeting gives a str as greeting; it should be a number"),
        ("frechet", "own_metrics.frechet: gan-cli has a number 'frechet' of its own; choose another name"),
        ("nothing", "no own_metrics 'nothing'"),
    ],
)
def test_what_gives_no_number_gets_one_line(own, name, line):
    assert own("gan-train", *FAST, "dataset.limit=64", "steps=1", "run_dir=run").returncode == 0
    done = own("gan-eval", "ckpt=run", "n=16", f"own_metrics=[{name}]", "metrics=[kid]")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert line in done.stderr


@pytest.mark.parametrize("command", ["gan-train", "gan-eval"])
def test_without_their_folder_one_line_says_so(call, command):
    done = call(command, "own_metrics=[ink]")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "own_metrics/NAME.yaml of yours: add --config-dir FOLDER" in done.stderr


def test_a_metric_s_random_numbers_are_the_same_each_time_and_none_of_the_run_s():
    metrics = {"draw": lambda samples, real: torch.rand(())}
    images = torch.zeros(3, 1, 2, 2)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again = (own_numbers(metrics, images, images) for _ in range(2))
    assert first == again
    assert torch.equal(torch.random.get_rng_state(), before)
    found = measured_own({"mean": lambda samples, real: samples.mean()}, images + 2, images, fresh=images + 1)
    assert (found["mean"].value, found["mean"].real_data) == (2, 1)
    with pytest.raises(UserError, match="gives a NoneType as x"):
        own_numbers({"x": lambda samples, real: None}, images, images)
