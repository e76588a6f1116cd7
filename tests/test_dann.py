"""Domain-adversarial training: the game against gradient reversal, its data, and runs from the command line."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from helpers import invoke
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from gan_cli import cli
from gan_cli.data.pairs import Pairs
from gan_cli.data.textures import digits_on_textures
from gan_cli.losses import nonsaturating
from gan_cli.metrics.adaptation import predicted, scores
from gan_cli.networks import dann
from gan_cli.pictures.classes import rows_of_classes
from gan_cli.rundir.records import read_metrics
from gan_cli.training.algorithm import differentiate, frozen
from gan_cli.training.batches import Batch
from gan_cli.training.dann import DANN
from gan_cli.training.device import CPU, Compute

SMALL = [
    "experiment=dann_mnist", "dataset.n=400", "dataset.size=8", "net.features=8", "batch_size=8", "log_every=2",
    "sample_every=4", "eval_every=4", "checkpoint_every=3", "samples=20", "device=cpu",
]  # fmt: skip


class _Reversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by ``-weight``: the layer of Ganin et al., equation 15."""

    @staticmethod
    def forward(ctx, features, weight):
        ctx.weight = weight
        return features.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.weight * gradient, None


def test_both_sides_move_as_under_the_layer_that_reverses_gradients():
    """Float64. One loss, L_y + L_d with the layer between features and D, gives both networks' gradients at once."""
    torch.manual_seed(0)
    generator, discriminator = dann.Generator((3, 8, 8), 3, 8, 4).double(), dann.Discriminator(8, 5).double()
    batch = Batch(torch.rand(5, 6, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0]), number=30)
    compute = Compute(CPU, dtype=torch.float64)
    game = DANN(generator, discriminator, partial(nonsaturating, half=True), 3, compute=compute, strength=0.7, ramp=100)
    fake = game.generate(batch)  # the moves of algorithm.py with update=simultaneous
    differentiate(game.discriminator_terms(batch, fake))
    with frozen(game.networks("discriminator")):
        differentiate(game.generator_terms(batch, fake))
    weights = [*generator.parameters(), *discriminator.parameters()]
    ours = [weight.grad for weight in weights]

    features = generator.features(torch.cat([batch.real[:, :3], batch.real[:, 3:]]))
    strength = 0.7 * (2 / (1 + np.exp(-10 * 0.3)) - 1)  # the paper's curve
    domains = torch.tensor([1.0] * 5 + [0.0] * 5, dtype=torch.float64)
    logits = discriminator(_Reversal.apply(features, strength))
    loss = cross_entropy(generator.classify(features[:5]), batch.labels)
    theirs = torch.autograd.grad(loss + binary_cross_entropy_with_logits(logits, domains), weights)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-15)
    assert all(gradient.abs().max() > 0 for gradient in ours)


def test_the_data_are_split_into_labelled_sources_and_other_digits_on_textures():
    train, test = digits_on_textures(n=200), digits_on_textures(split="test", n=100)
    assert train.sources.shape == train.targets.shape == (100, 3, 28, 28)
    assert len(train.labels) == 100 and train.facts == {"image_shape": (3, 28, 28), "source_channels": 3}
    assert isinstance(test, Pairs) and test.images.shape == (100, 6, 28, 28)
    # |texture - digit| is the texture where the digit is black; where it is white, the texture's complement.
    texture, black = test.targets.float(), test.sources == 0
    digit = torch.where(black, 0.0, 255.0)
    assert (texture[black].mean() - 128).abs() < 10 and 30 < texture[black].std() < 60
    assert ((digit - texture).abs()[black] == texture[black]).all()
    assert torch.equal(digits_on_textures(n=200).others, train.others)  # the same in every run
    assert not torch.equal(train.others[:100], test.targets)


def test_accuracies_and_the_picture_are_those_of_a_classifier_that_is_known():
    class Brightness(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, images):
            bright = images.mean(dim=(1, 2, 3)) * self.scale
            return torch.stack([-bright, bright, torch.full_like(bright, -9.0)], dim=1)

    images = torch.tensor([0, 255, 200, 10, 255], dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 64, 64)
    assert predicted(Brightness(), images).tolist() == [0, 1, 1, 0, 1]
    found = scores(Brightness(), images, 255 - images, torch.tensor([0, 1, 1, 0, 0]))
    assert found == pytest.approx({"source_accuracy": 0.8, "target_accuracy": 0.2, "target_error": 0.8})
    picture = np.asarray(rows_of_classes(images, 3, 2)(1, Brightness()).convert("L"))
    middles = picture[34::66, 34::66]
    assert middles.tolist() == [[0, 10], [255, 200], [255, 255]]  # the last row has no image, and is white


def test_a_run_resumes_bit_for_bit_and_shows_its_accuracy(call, tmp_path):
    whole = call("gan-train", *SMALL, "steps=7", "run_dir=whole")
    assert whole.returncode == 0, whole.stderr
    assert "accuracy on targets" in whole.stdout and "gan-sample" not in whole.stdout
    assert call("gan-train", *SMALL, "steps=5", "run_dir=parts").returncode == 0
    assert call("gan-train", "resume=parts", "steps=7").returncode == 0
    one, other = (load_file(tmp_path / f"{run}/checkpoints/last.safetensors") for run in ("whole", "parts"))
    assert one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
    rows = read_metrics(tmp_path / "whole")
    assert {"loss_d", "label", "domain"} <= rows[-1].keys()
    assert [row["step"] for row in rows if "target_accuracy" in row] == [4, 7]
    assert call("gan-report", "run=whole").returncode == 0
    report = json.loads((tmp_path / "whole/report.json").read_text())
    assert {row["what"] for row in report["commands"]} == {"begun by", "to go on"}
    for command, words in {"gan-sample": [], "gan-eval": [], "gan-translate": ["input=x.png"]}.items():
        done = call(command, "ckpt=whole", *words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "classifies images and makes none" in done.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["dataset=digits_on_textures", "dataset.n=40", "net=conv"],
            "with labels of one, and this net's generator draws: dataset=digits_on_textures",
        ),
        ([*SMALL, "game=pix2pix"], "and this game's generator translates"),
        ([*SMALL, "conditional=false"], "needs labelled sources: add conditional=true"),
        ([*SMALL, "net.features=0"], "net.features=0 should be a whole number"),
        ([*SMALL, "net.features=7"], "are a multiple of 4: add net.features=128"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_gets_one_line(words, line, call):
    done = call("gan-train", *words, "steps=1", "run_dir=x")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert line in done.stderr


@pytest.mark.slow
def test_the_adversary_helps_on_digits_that_are_shifted(tmp_path, monkeypatch):
    """A minute: the discriminator's say raises the accuracy on targets."""
    monkeypatch.chdir(tmp_path)
    for strength in (0, 0.3):
        words = ["experiment=dann_mnist", "steps=1500", "eval_every=1500", f"game.strength={strength}", "device=cpu"]
        done = invoke(cli.train, [*words, f"run_dir=s{strength}"])
        assert done.returncode == 0, done.stderr
    without, with_ = (read_metrics(tmp_path / f"s{strength}")[-1]["target_accuracy"] for strength in (0, 0.3))
    assert with_ > without + 0.1
