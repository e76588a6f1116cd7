"""Signals: closed forms, and that no bit of a run depends on them."""

import math

import pytest
import torch
from helpers import ADAM, train_tiny

from gan_cli.config.display import memory
from gan_cli.data import Dataset, resized
from gan_cli.losses import nonsaturating
from gan_cli.metrics.signals import checkerboard, diversity, memorisation, saturation
from gan_cli.networks import dcgan, mlp
from gan_cli.rundir import checkpoint
from gan_cli.rundir.records import read_metrics
from gan_cli.training import run as training_run
from gan_cli.training import signals
from gan_cli.training.games import Adversarial
from gan_cli.training.logits import accuracies


def test_diversity_is_one_of_the_data_and_falls_with_the_samples():
    rng = torch.Generator().manual_seed(0)
    data = torch.randn(64, 3, generator=rng)
    same = diversity(data, data)
    assert same == {"sample_std": pytest.approx(1), "sample_distance": pytest.approx(1)}
    narrow = diversity(data.mean(dim=0) + (data - data.mean(dim=0)) / 4, data)
    assert narrow == {"sample_std": pytest.approx(0.25), "sample_distance": pytest.approx(0.25)}
    assert diversity(data[:1].expand(64, 3), data) == {"sample_std": 0, "sample_distance": 0}


def test_saturation_counts_black_and_white_beyond_the_datas():
    data = torch.full((2, 1, 4, 4), 128, dtype=torch.uint8)
    data[:, :, 0] = 0
    samples = torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)
    assert saturation(samples, data) == pytest.approx(1 - 1 / 4)
    assert saturation(data, data) == 0


@pytest.mark.parametrize("pattern", ["rows", "columns", "checks"])
def test_the_checkerboard_is_the_energy_of_a_dft_at_the_nyquist_frequencies(pattern):
    rng = torch.Generator().manual_seed(0)
    data = torch.randint(100, 156, (8, 1, 6, 8), dtype=torch.uint8, generator=rng)
    rows, columns = torch.arange(6)[:, None] % 2, torch.arange(8) % 2
    wave = {"rows": rows + 0 * columns, "columns": columns + 0 * rows, "checks": (rows + columns) % 2}[pattern]
    samples = (data.int() + 60 * wave).byte()

    def energy(images):
        spectrum = torch.fft.fft2(images.double() / 255).abs().square() / (6 * 8) ** 2
        return sum(spectrum[..., y, x].mean() for y, x in ((3, 0), (0, 4), (3, 4)))

    assert checkerboard(samples, data) == pytest.approx(float(energy(samples) / energy(data)), rel=1e-4)
    assert checkerboard(samples, data) > 10


def test_the_accuracies_are_shares_of_both_kinds():
    found = accuracies([torch.tensor([1.0, -1.0]), torch.tensor([2.0, 3.0])], [torch.tensor([-1.0, 4.0, 5.0, 6.0])])
    assert {name: float(value) for name, value in found.items()} == {"d_accuracy_real": 0.75, "d_accuracy_fake": 0.25}


def test_memory_is_none_if_held_out_images_are_real_to_d_and_complete_if_they_are_fake():
    train, fake = torch.tensor([3.0, 5.0]), torch.tensor([-2.0, 0.0])
    assert memorisation(train, train, fake) == 0 and memorisation(train, fake, fake) == 1
    assert memorisation(train, torch.tensor([1.5]), fake) == pytest.approx(0.5)
    assert math.isnan(memorisation(fake, train, train))


def test_looking_for_the_memory_of_d_leaves_no_trace(tiny):
    """D has batch normalisation, whose averages a pass in training mode would move."""
    generator, discriminator = mlp.Generator((1, 32, 32), 4, widths=(8,)), dcgan.Discriminator((1, 32, 32), width=4)
    played, data = Adversarial(generator, discriminator, nonsaturating), Dataset(resized(tiny.images, 32), None)
    before, state = {name: value.clone() for name, value in played.state_dict().items()}, torch.get_rng_state()
    found = memory(data, data, played, 0, False)(torch.zeros(4, 1, 32, 32, dtype=torch.uint8))
    assert found == 0 or math.isnan(found)  # NaN: this D takes the data for less real than black images
    assert played.discriminator.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in played.state_dict().items())


def test_the_norm_is_that_of_all_gradients_of_a_side():
    a, b, c = (torch.nn.Parameter(torch.zeros(n)) for n in (2, 3, 1))
    optimizer = ADAM([a, b, c])
    assert math.isnan(signals.gradient_norm(optimizer))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0, 12.0])
    assert signals.gradient_norm(optimizer) == pytest.approx(13)


def test_no_bit_of_a_run_depends_on_its_signals(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(signals, "OBSERVE_EVERY", 1)
    train_tiny(tiny, tmp_path / "seen", steps=5)
    monkeypatch.setattr(training_run, "signals", lambda *_: {})
    train_tiny(tiny, tmp_path / "blind", steps=5)
    seen, blind = (checkpoint.read(tmp_path / name) for name in ("seen", "blind"))
    assert seen.shapes == blind.shapes  # nothing of them is saved
    for part in ("generator", "discriminator", "ema", "optimizer", "rng", "terms"):
        others = blind.tensors(part)
        assert all(torch.equal(value, others[name]) for name, value in seen.tensors(part).items())
    rows, others = read_metrics(tmp_path / "seen"), read_metrics(tmp_path / "blind")
    assert "sample_std" in rows[0] and "sample_std" not in others[0]
    clocks = {"seconds", "images_per_second", "time"}
    assert [{name: row[name] for name in others[0].keys() - clocks} for row in rows] == [
        {name: value for name, value in row.items() if name not in clocks} for row in others
    ]
