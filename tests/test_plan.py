"""``plan=true``: what a run would take, beside closed forms; nothing is written."""

import torch
from helpers import FAST, SGD
from torch import nn

from gan_cli import losses
from gan_cli.commands import forecast
from gan_cli.data import Points
from gan_cli.noise import Noise
from gan_cli.training.batches import Batches
from gan_cli.training.games import Adversarial
from gan_cli.training.rehearsal import largest_layers, parameters, rehearse
from gan_cli.training.state import State, make_optimizers


def test_it_says_what_a_run_would_take_and_writes_nothing(call, tmp_path):
    done = call("gan-train", *FAST, "steps=100", "plan=true", "run_dir=a/b")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    words = [line.partition(" ")[0] for line in done.stdout.splitlines()]
    assert words == ["on", "data:", "generator:", "discriminator:", "a", "memory:", "the", "the"]
    assert "the run: 100 steps, 0.0 epochs, " in done.stdout and "the disk: 5 checkpoints of " in done.stdout


def test_its_operations_are_those_of_the_products():
    """A matrix product of [n, a] and [a, b] has 2nab operations. Each layer has one forward, and up to two backward."""
    n, z, wide = 6, 3, 5
    generator = nn.Sequential(nn.Linear(z, wide), nn.Tanh(), nn.Linear(wide, 2))
    discriminator = nn.Sequential(nn.Linear(2, wide), nn.Tanh(), nn.Linear(wide, 1), nn.Flatten(0))
    game = Adversarial(generator, discriminator, losses.nonsaturating, Noise("normal", z))
    batches = Batches(Points(torch.randn(50, 2)), n, 0, torch.device("cpu"))
    make = {"generator": SGD, "discriminator": SGD}
    found = rehearse(State(game, make_optimizers(game, make), batches, torch.device("cpu")), None, 1, "alternating")
    g, d = [2 * n * z * wide, 2 * n * wide * 2], [2 * n * 2 * wide, 2 * n * wide * 1]  # layer by layer, of n examples
    step_d = sum(g) + 2 * (sum(d) + sum(d) + d[1])  # real and fake: forward, weights, and inputs but of the first layer
    step_g = sum(g) + sum(d) + sum(d) + sum(g) + g[1]  # D's weights are frozen: its inputs alone
    assert found.flop == step_d + step_g
    assert found.seconds > 0 and found.operators > 20 and found.most >= found.before > 1e6


def test_the_largest_layers_are_named_with_their_own_weights():
    network = nn.Sequential(nn.Linear(3, 5), nn.Sequential(nn.Linear(5, 7, bias=False)), nn.ReLU())
    assert parameters(network) == 20 + 35
    assert largest_layers(network) == [("1.0", 35), ("0", 20)]


def test_a_batch_that_fits_is_looked_for(call, monkeypatch):
    real = forecast.rehearse

    def narrow(state, *arguments):
        if state.batches.batch_size > 8:
            raise torch.OutOfMemoryError
        return real(state, *arguments)

    monkeypatch.setattr(forecast, "rehearse", narrow)
    done = call("gan-train", *FAST, "batch_size=32", "plan=true")
    assert done.stdout.splitlines()[-1] == "batch_size=32 doesn't fit the memory: batch_size=8 does"
    monkeypatch.setattr(forecast, "rehearse", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError))
    done = call("gan-train", *FAST, "plan=true")
    assert done.returncode == 2 and "batch_size=4 doesn't fit the memory, and no smaller one does" in done.stderr


def test_a_run_that_goes_on_has_no_forecast(call):
    done = call("gan-train", *FAST, "plan=true", "resume=auto", "run_dir=x")
    assert (done.returncode, done.stderr) == (2, "gan-train: plan=true is for a new run: leave resume out\n")
