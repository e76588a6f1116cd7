"""Games of one's own, named terms, sinks: what the heart carries beside the game of 2014."""

import contextlib
import json
import math

import pytest
import torch
from helpers import invoke, train_tiny
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from gan_cli import cli
from gan_cli.pictures import curves
from gan_cli.rundir.records import read_metrics
from gan_cli.training.algorithm import frozen
from gan_cli.training.terms import Term, Totals, objective

CPU = torch.device("cpu")
FAST = [
    "net=mlp", "net.generator.widths=[8]", "net.discriminator.widths=[8]", "dataset.size=8", "dataset.limit=100",
    "batch_size=10", "samples=4", "log_every=2", "sample_every=4", "checkpoint_every=3", "device=cpu",
]  # fmt: skip
OWN = {
    "mine_games.py": '''
"""A game that matches means as well, with a critic of its own; and a sink that keeps a table."""
import torch
from torch import nn
from gan_cli.training.games import Adversarial
from gan_cli.training.terms import Term


class Matching(Adversarial):
    def __init__(self, weight: float = 0.5, **parts):
        super().__init__(**parts)
        self.weight = weight
        self.register_module("memory", nn.BatchNorm1d(1, affine=False))  # what has to come back on a resume

    def generator_terms(self, batch, fake):
        means = self.memory(fake.mean(dim=(1, 2, 3), keepdim=True).flatten(1))
        gap = (fake.mean() - batch.real.mean()).square()
        spread = Term(means.detach().abs().flatten(), weight=None)
        return {**super().generator_terms(batch, fake), "gap": Term(gap[None], self.weight), "spread": spread}


def table(run_dir, records, grids, anew, name="table.csv"):
    with (run_dir / name).open("w" if anew else "a") as file:
        for row in records:
            print(row["step"], row["gap"], file=file)
        for step, path in grids:
            print("grid", step, path.name, file=file)
''',
    "own/game/matching.yaml": "_target_: mine_games.Matching\nweight: 0.5\n",
    "own/sinks/table.yaml": "table:\n  _target_: mine_games.table\n  _partial_: true\n  name: table.csv\n",
}


@pytest.fixture
def train(own_code):
    """``gan-train`` in a folder that holds :data:`OWN`."""
    own_code(OWN)
    return lambda *words: invoke(cli.train, ["--config-dir", "own", *words])


def test_a_game_of_ones_own_trains_resumes_bit_for_bit_and_shows_its_terms(train, tmp_path, monkeypatch):
    panels, draw = [], curves._draw
    monkeypatch.setattr(
        curves, "_draw", lambda axes, rows, labels: (panels.append({*labels}), draw(axes, rows, labels))
    )
    whole = train(*FAST, "game=matching", "game.weight=0.25", "steps=11", "run_dir=whole")
    assert whole.returncode == 0, whole.stderr
    assert ", gap 0." in whole.stdout and ", spread 0." in whole.stdout
    assert {"gap", "spread"} in panels
    with Image.open("whole/curves.png") as picture:
        assert picture.width == 3 * curves.PANEL[0]
    rows = read_metrics(tmp_path / "whole")
    assert all(0 < row["gap"] < 1 and row["spread"] > 0 for row in rows)
    events = (tmp_path / "whole/events.out.tfevents.gan-cli").read_bytes()
    assert b"gap" in events and b"spread" in events and b"samples" in events

    assert train(*FAST, "game=matching", "game.weight=0.25", "steps=5", "run_dir=parts").returncode == 0
    refused = train("resume=parts", "steps=11")
    assert refused.returncode == 2 and "trust=[mine_games]" in refused.stderr
    assert train("resume=parts", "steps=11", "trust=[mine_games]").returncode == 0
    one, other = (load_file(f"{run}/checkpoints/last.safetensors") for run in ("whole", "parts"))
    assert one.keys() == other.keys() and "memory.running_mean" in one
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    plain = train(*FAST, "steps=11", "run_dir=plain")
    assert plain.returncode == 0 and "gap" not in plain.stdout
    sampled = invoke(cli.sample, ["ckpt=parts", "n=4"], "gan-sample")  # the game is not needed for that
    assert sampled.returncode == 0, sampled.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["game=matching", "+game.x=1"], "game: Adversarial.__init__() got an unexpected keyword argument 'x'"),
        (["game=adversarial", "+game.x=1"], "game: Adversarial has no option 'x'"),
        (["game._target_=gan_cli.noise.Noise"], "not a gan_cli.training.games.Game"),
        (["game=chess"], "no game 'chess'; choose from adversarial"),
        (["sinks.tensorboard._target_=os.nothing"], "sinks.tensorboard: can't find os.nothing"),
        (["sinks=[nothing]"], "no sinks 'nothing'"),
    ],
)
def test_a_game_or_a_sink_that_is_none_gets_one_line(train, words, line):
    done = train(*FAST, *words, "steps=1", "run_dir=x")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert line in done.stderr


def test_a_sink_of_ones_own_is_given_every_record_and_every_grid(train, tmp_path):
    words = [*FAST, "game=matching", "sinks=[tensorboard,table]", "sinks.table.name=t.csv", "run_dir=run"]
    done = train(*words, "steps=5")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run/t.csv").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["2", "grid", "4", "grid", "5", "grid"]
    assert train("resume=run", "steps=8", "trust=[mine_games]").returncode == 0
    lines = (tmp_path / "run/t.csv").read_text().splitlines()
    assert {line.split()[0] for line in lines} == {"2", "4", "5", "6", "8", "grid"}
    assert [line.split()[1] for line in lines if line.startswith("grid")] == ["0", "4", "5", "8"]
    assert train(*FAST, "sinks=[]", "steps=2", "run_dir=bare").returncode == 0
    assert not list((tmp_path / "bare").glob("events.*"))


def test_tensorboard_shows_the_grids(tiny, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_tiny(tiny, tmp_path, steps=5)
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    shown = events.Images("samples")
    assert [event.step for event in shown] == [0, 4, 5]
    grid = tmp_path / "samples/00000004.png"
    assert shown[1].encoded_image_string == grid.read_bytes()
    with Image.open(grid) as picture:
        assert (shown[1].width, shown[1].height) == picture.size
    rows = {row["step"]: row["loss_d"] for row in read_metrics(tmp_path)}
    assert {event.step: event.value for event in events.Scalars("loss_d")} == pytest.approx(rows, rel=1e-6)


def test_the_objective_is_the_sum_of_the_weighted_means_in_their_order():
    one, two = torch.tensor([1.0, 2.0, 6.0], requires_grad=True), torch.tensor([4.0])
    terms = {"a": Term(one), "b": Term(two, 0.5), "c": Term(torch.tensor([math.nan]), None)}
    total = objective(terms)
    assert total.item() == 5.0
    total.backward()
    assert torch.allclose(one.grad, torch.full((3,), 1 / 3))
    with pytest.raises(ValueError, match="at least one term with a weight"):
        objective({"c": Term(two, None)})


def test_totals_are_means_over_samples_in_double_precision():
    totals = Totals(CPU)
    for value, n in ((1.0, 4), (1e8, 1), (-1e8, 1)):
        totals.add({"x": Term(torch.full((n,), value)), "bad": Term(torch.tensor([math.inf]), None)})
    assert totals.means() == {"x": 4 / 6}  # what is not finite is in no record
    again = Totals(CPU, {"x": totals.state()["x"]})
    again.add({"x": Term(torch.zeros(2))})
    assert again.means() == {"x": 0.5}
    for name in ("step", "images_per_second", "a.b", "", "1st"):
        with pytest.raises(ValueError, match="can't be named"):
            totals.add({name: Term(torch.zeros(1))})


def test_sums_without_float64_are_compensated():
    """MPS has no float64. 2^24 + 1 + 1 + … in plain float32 stays at 2^24."""
    totals, plain = Totals(CPU), torch.tensor(2.0**24)
    totals._dtype = torch.float32
    totals.add({"x": Term(plain[None].clone())})
    for _ in range(1000):
        totals.add({"x": Term(torch.ones(1))})
        plain = plain + 1
    assert plain == 2**24
    assert totals.means()["x"] * 1001 == pytest.approx(2**24 + 1000, abs=2)


def test_frozen_gives_back_what_was_trainable_and_nothing_else():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].weight.requires_grad_(False)
    before = [weight.requires_grad for weight in network.parameters()]
    with contextlib.suppress(KeyError), frozen({"d": network}):
        assert not any(weight.requires_grad for weight in network.parameters())
        raise KeyError
    assert [weight.requires_grad for weight in network.parameters()] == before == [False, True, True, True]


def test_records_need_a_step_alone(tmp_path):
    lines = [{"step": 1, "gap": 0.5}, {"step": 2}, {"loss_d": 1.0}, {"step": 4, "loss_d": 1.0, "time": 3}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 4]
    curves.write_curves(tmp_path)
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (2 * curves.PANEL[0], curves.PANEL[1])  # losses, other terms
