"""Schedules: the cosine against its published form, what follows it, and a resumed run."""

import math

import pytest
import torch
from helpers import train_tiny
from safetensors.torch import load_file

from gan_cli.networks import r3gan
from gan_cli.penalties import r1
from gan_cli.rundir.records import read_metrics
from gan_cli.training.games import Adversarial
from gan_cli.training.schedule import Schedule


def published(images, first, total, last):
    """cosine_decay_with_warmup of R3GAN's code, without warm-up."""
    decay = 0.5 * (1 + math.cos(math.pi * images / total))
    return last if images > total else first + (1 - decay) * (last - first)


def test_values_move_along_a_cosine_and_then_stay():
    schedule = Schedule(images=1000, lr=[1, 0.25], half_life=(0, 1))
    assert schedule.moving() == {"lr", "half_life"}
    for images in (0, 1, 250, 500, 999, 1000, 5000):
        assert schedule.at("lr", images) == pytest.approx(published(images, 1, 1000, 0.25), abs=1e-12)
        assert schedule.at("half_life", images) == pytest.approx(published(images, 0, 1000, 1), abs=1e-12)
    assert Schedule(lr=[1, 0.25]).moving() == set()  # no length, no schedule


SMALL = [
    "net=mlp", "net.generator.widths=[8]", "net.discriminator.widths=[8]", "net.z_dim=2", "batch_size=4", "log_every=1",
    "dataset.limit=64", "penalty=r1", "penalty.interval=1", "augment=ada",
]  # fmt: skip
MOVING = [
    "schedule.images=24", "schedule.lr=[1,0.5]", "schedule.penalty=[1,0]", "schedule.half_life=[0,1]",
    "schedule.beta2=[0.9,0.99]", "schedule.augment_p=[0,0.6]",
]  # fmt: skip


def test_a_run_follows_its_schedule_and_resumes_bit_for_bit(call, tmp_path):
    for words in (["steps=8", "run_dir=whole"], ["steps=3", "run_dir=parts"]):
        done = call("gan-train", *SMALL, *MOVING, *words)
        assert done.returncode == 0, done.stderr
    assert call("gan-train", "resume=parts", "steps=8").returncode == 0
    one, other = (load_file(tmp_path / f"{run}/checkpoints/last.safetensors") for run in ("whole", "parts"))
    assert one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
    rows = read_metrics(tmp_path / "whole")
    augment_p = [published(4 * step, 0, 24, 0.6) for step in range(8)]  # before each step, after so many images
    assert [row["augment_p"] for row in rows] == pytest.approx(augment_p, rel=1e-6)
    refused = call("gan-train", "resume=parts", "steps=9", "schedule.images=50")
    assert refused.returncode == 2 and "schedule can't change" in refused.stderr


def test_rates_betas_and_the_penalty_s_weight_are_those_of_the_step(tiny, tmp_path):
    seen, made = [], []

    def adam(weights):
        made.append(torch.optim.Adam(weights, lr=0.1, betas=(0.5, 0.9)))
        return made[-1]

    class Watched(Adversarial):
        def discriminator_terms(self, batch, fake):
            terms = super().discriminator_terms(batch, fake)
            groups = [optimizer.param_groups[0] for optimizer in made]
            assert groups[0]["lr"] == groups[1]["lr"] and groups[0]["betas"] == groups[1]["betas"]
            seen.append((groups[0]["lr"], *groups[0]["betas"], terms["penalty"].weight))
            return terms

    schedule = Schedule(images=40, lr=[1, 0.5], penalty=[1, 0.1], beta2=[0.9, 0.99], half_life=[0, 1])
    train_tiny(
        tiny, tmp_path / "run", steps=6, batch_size=10, game=Watched, make_optimizer=adam, penalty=r1, schedule=schedule
    )
    expected = [
        (0.1 * published(n, 1, 40, 0.5), 0.5, published(n, 0.9, 40, 0.99), published(n, 1, 40, 0.1))
        for n in range(0, 60, 10)
    ]
    assert seen == [pytest.approx(values, rel=1e-12) for values in expected]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["schedule.lr=[1,0.5]"], "add schedule.images=N"),
        (["schedule.images=9", "schedule.lr=2"], "schedule.lr=2 should be two numbers from 0 up, [first,last]"),
        (["schedule.images=9", "schedule.lr=[1,-1]"], "schedule.lr=[1,-1] should be two numbers"),
        (["schedule.images=9", "schedule.beta2=[0.9,1]"], "should stay below 1"),
        (["schedule.images=9", "schedule.augment_p=[0,2]"], "up to 1"),
        (["schedule.images=0", "schedule.lr=[1,0.5]"], "schedule.images=0.0 is too small"),
        (["schedule.images=9", "schedule.augment_p=[0,1]"], "probability of augment=ada"),
        (["schedule.images=9", "schedule.penalty=[1,0]", "penalty=none"], "needs a penalty: add penalty=r1r2"),
        (["schedule.images=9", "schedule.beta2=[0.9,0.99]", "optimizer=sgd"], "use optimizer=adam"),
        (["schedule.images=9", "schedule.beta2=[0.9,0.99]", "graphs=auto"], "use graphs=off"),
    ],
)
def test_an_impossible_schedule_gets_one_line(words, line, call):
    done = call("gan-train", "steps=1", "run_dir=x", *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert line in done.stderr


def test_the_presets_have_the_published_widths():
    """The authors' code: widths by stage from 4x4 up, two blocks each, inner width / cardinality = 16."""
    options = {"patch": 1, "blocks": 2, "expansion": 2, "group_width": 16}
    with torch.device("meta"):
        cifar = r3gan.Generator((3, 32, 32), 64, width=768, max_width=768, **options)
        ffhq = r3gan.Generator((3, 64, 64), 64, width=384, max_width=768, **options)
    for generator, widths in ((cifar, [768] * 4), (ffhq, [768] * 4 + [384])):
        assert [stage[0].layers[0].weight.shape[1] for stage in generator.stages] == widths
        assert [len(stage) for stage in generator.stages] == [2] * len(widths)
        cardinality = [stage[0].layers[2].groups for stage in generator.stages]
        assert cardinality == [3 * n for n in ([32] * 4 + [16])[: len(widths)]]
