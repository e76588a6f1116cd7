"""Algorithm 1, counted; and the promise that a run stopped and resumed is the run left alone, bit for bit."""

import copy
import functools
import json
import math
import os
import re
import shutil
import signal
from functools import partial

import pytest
import torch
from helpers import NARROW, SGD, save_modules, train_networks
from helpers import train_tiny as _train
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from gan_cli import files, losses, penalties
from gan_cli.augment import Augment
from gan_cli.data import Dataset
from gan_cli.errors import TrainingDiverged
from gan_cli.networks import conv, maxout, mlp
from gan_cli.optimizers import AnnealedSGD
from gan_cli.rundir import checkpoint, disk_retry, layout, records
from gan_cli.rundir.records import read_metrics
from gan_cli.training import batches, folder, games, stopwatch
from gan_cli.training.plan import lr_factor
from gan_cli.training.state import load_module
from gan_cli.training.terms import Totals


@pytest.fixture(autouse=True)
def _without_curves(monkeypatch, request):
    """Drawing them takes longer than everything else here, and one test looks at them."""
    if request.function is not test_the_run_folder_holds_what_is_promised:
        monkeypatch.setattr(folder, "write_curves", lambda run_dir: None)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_each_step_is_k_updates_of_d_then_one_of_g(tiny, tmp_path, k, monkeypatch):
    order = []

    class Recorder(torch.optim.SGD):
        def __init__(self, name, parameters):
            super().__init__(parameters, lr=0.01)
            self.name = name

        def step(self):
            order.append(self.name)
            return super().step()

    names = iter(["G", "D"])
    outcome = _train(tiny, tmp_path, steps=3, k=k, make_optimizer=lambda p: Recorder(next(names), p))
    assert order == (["D"] * k + ["G"]) * 3
    assert outcome.step == 3
    assert outcome.metrics["images"] == 3 * k * 16


def test_every_update_has_fresh_noise_and_fresh_data(tiny, tmp_path, monkeypatch):
    drawn, noises = [], []
    original_draw, original_noise = batches.Sampler.draw, games.sample_noise

    def draw(self, n):
        drawn.append(original_draw(self, n))
        return drawn[-1]

    def noise(prior, n, z_dim, device="cpu", rng=None):
        z = original_noise(prior, n, z_dim, device, rng)
        if rng is None:
            noises.append(z)
        return z

    monkeypatch.setattr(batches.Sampler, "draw", draw)
    monkeypatch.setattr(games, "sample_noise", noise)
    _train(tiny, tmp_path, steps=3, k=2)
    assert len(drawn) == 6
    assert len(torch.cat(drawn).unique()) == 96  # of 100: no image twice within the epoch
    assert len(noises) == 9  # 2 for D, 1 for G
    assert len({z.sum().item() for z in noises}) == 9


@pytest.mark.parametrize("update", ["alternating", "shared", "simultaneous"])
def test_one_step_of_sgd_is_the_equations_written_out(tiny, tmp_path, update):
    """k=1, SGD, no averaging: both networks after one step against plain autograd on equation 1 and section 3."""
    torch.manual_seed(0)
    generator = maxout.Generator(tiny.image_shape, 6, width=8)
    discriminator = mlp.Discriminator(tiny.image_shape, widths=(8,))
    expected_g, expected_d = copy.deepcopy(generator), copy.deepcopy(discriminator)
    sgd = partial(torch.optim.SGD, lr=0.5)
    torch.manual_seed(1)
    train_networks(
        generator, discriminator, tiny, tmp_path, make_optimizer=sgd,
        steps=1, batch_size=10, z_dim=6, ema_half_life=0, seed=5, update=update,
    )  # fmt: skip

    torch.manual_seed(1)
    x = tiny.images[batches.Sampler(100, seed=5).draw(10)].double() / 127.5 - 1
    z_d = torch.randn(10, 6)
    z_g = torch.randn(10, 6) if update == "alternating" else z_d
    expected_g, expected_d = expected_g.double(), expected_d.double()
    value = (
        torch.log(expected_d(x).sigmoid()).mean() + torch.log(1 - expected_d(expected_g(z_d.double())).sigmoid()).mean()
    )
    before_d = copy.deepcopy(expected_d)
    for p, g in zip(expected_d.parameters(), torch.autograd.grad(value, list(expected_d.parameters())), strict=True):
        p.data += 0.5 * g  # D ascends V
    judge = before_d if update == "simultaneous" else expected_d
    gain = torch.log(judge(expected_g(z_g.double())).sigmoid()).mean()
    for p, g in zip(expected_g.parameters(), torch.autograd.grad(gain, list(expected_g.parameters())), strict=True):
        p.data += 0.5 * g  # G ascends log D(G(z))
    for trained, expected in ((generator, expected_g), (discriminator, expected_d)):
        for a, b in zip(trained.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-6)
    (row,) = read_metrics(tmp_path)
    assert row["value"] == pytest.approx(value.item(), rel=1e-4)


def test_a_lazy_penalty_is_taken_every_interval_and_weighs_as_much_more(tiny, tmp_path):
    calls = []

    def penalty(discriminator, real, fake):
        calls.append((real.shape, fake.shape))
        return penalties.r1(discriminator, real, fake)

    _train(tiny, tmp_path, steps=10, penalty=penalty, penalty_interval=4)
    assert calls == [((16, 1, 8, 8), (16, 1, 8, 8))] * 2

    def constant(discriminator, real, fake):  # its gradient in D's last bias is 1, whatever the other weights are
        return discriminator(torch.zeros_like(real))

    def flat(real_logits, fake_logits):
        return 0 * real_logits, 0 * fake_logits

    finals = {}
    for interval in (1, 4):
        run_dir = tmp_path / str(interval)
        sgd = partial(torch.optim.SGD, lr=0.1)
        _train(tiny, run_dir, steps=8, loss=flat, make_optimizer=sgd, penalty=constant, penalty_interval=interval)
        finals[interval] = load_file(checkpoint.read(run_dir).path)["discriminator.5.bias"]
    torch.testing.assert_close(finals[1], finals[4])


CASES = {
    "mlp, fused Adam": (mlp, {}),
    "conv, R1, k=2": (conv, {"k": 2, "penalty": penalties.r1, "penalty_interval": 3}),
    "conv, bfloat16, shared": (conv, {"bf16": True, "update": "shared", "k": 2}),
    "maxout with dropout, SGD, decay": (
        maxout,
        {"make_optimizer": SGD, "lr_decay_after": 50, "update": "simultaneous"},
    ),
    "the 2014 paper's SGD": (mlp, {"make_optimizer": partial(AnnealedSGD, saturate=7, decay=1.1)}),
    "RMSprop": (mlp, {"make_optimizer": partial(torch.optim.RMSprop, lr=1e-4)}),
    "AdamW, uniform noise": (mlp, {"make_optimizer": partial(torch.optim.AdamW, lr=1e-3), "prior": "uniform"}),
}


@pytest.fixture(scope="module")
def left_alone(tiny, tmp_path_factory):
    """A function: case -> the folder of its run of 11 steps, which is made once."""

    @functools.cache
    def run(case):
        networks, options = CASES[case]
        folder = tmp_path_factory.mktemp("whole")
        _train(tiny, folder, networks, steps=11, **options)
        return folder

    return run


@pytest.mark.parametrize("stop", [1, 3, 8])
@pytest.mark.parametrize("case", CASES)
def test_resumed_is_bit_for_bit_the_run_left_alone(tiny, tmp_path, left_alone, case, stop):
    networks, options = CASES[case]
    whole_run = left_alone(case)
    _train(tiny, tmp_path / "parts", networks, steps=stop, **options)
    torch.manual_seed(12345)  # whatever the process drew in between
    torch.rand(7)
    _train(tiny, tmp_path / "parts", networks, steps=11, resume=True, **options)

    runs = whole_run, tmp_path / "parts"
    whole, parts = (load_file(run / "checkpoints" / "last.safetensors") for run in runs)
    assert whole.keys() == parts.keys()
    assert {name.split(".")[0] for name in whole} == {"generator", "discriminator", "ema", "optimizer", "rng"}
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
    pictures = [(run / "samples" / "00000011.png").read_bytes() for run in runs]
    assert pictures[0] == pictures[1]
    steps = [row["step"] for row in read_metrics(tmp_path / "parts")]
    assert steps == sorted({*range(2, 11, 2), stop, 11})


def _series(run_dir):
    """What a run logged and drew, without what tells the time: records, TensorBoard's values, pictures."""
    clocks = ("seconds", "images_per_second", "time")
    records = [{k: v for k, v in row.items() if k not in clocks} for row in read_metrics(run_dir)]
    (events,) = run_dir.glob("events.*")
    values = [
        (event.step, value.tag, value.SerializeToString())
        for event in EventFileLoader(str(events)).Load()
        for value in event.summary.value
        if value.tag not in clocks
    ]
    return records, values, {path.name: path.read_bytes() for path in (run_dir / "samples").iterdir()}


@pytest.mark.parametrize("stop", [1, 3, 8])
def test_a_run_that_a_signal_stopped_goes_on_with_the_same_records_and_pictures(tiny, tmp_path, stop):
    calls = []

    def loss(real_logits, fake_logits):
        calls.append(None)
        signal.raise_signal(signal.SIGTERM) if len(calls) == 2 * stop else None
        return losses.nonsaturating(real_logits, fake_logits)

    _train(tiny, tmp_path / "whole", steps=11)
    assert _train(tiny, tmp_path / "parts", steps=11, loss=loss).step == stop  # in between two ticks, for odd ones
    _train(tiny, tmp_path / "parts", steps=11, resume=True)
    whole, parts = _series(tmp_path / "whole"), _series(tmp_path / "parts")
    assert [row["step"] for row in whole[0]] == [2, 4, 6, 8, 10, 11]
    # images, two losses, two outputs, value, four signals; at the end four of the samples; a grid at 0, 4, 8 and 11
    assert len(whole[1]) == 6 * 10 + 4 + 4
    assert whole == parts


def test_what_came_after_the_checkpoint_is_dropped_from_all_series(tiny, tmp_path):
    _train(tiny, tmp_path / "whole", steps=11)
    _train(tiny, tmp_path / "parts", steps=10, keep=None)
    for path in [*layout.in_order(tmp_path / "parts" / "checkpoints")[:-2], layout.of_run(tmp_path / "parts")[0]]:
        path.unlink()  # those of 6, 9, 10, and last: it goes on from 3
    _train(tiny, tmp_path / "parts", steps=11, resume=True)
    assert _series(tmp_path / "whole") == _series(tmp_path / "parts")


def test_resuming_drops_what_was_logged_after_the_checkpoint(tiny, tmp_path):
    _train(tiny, tmp_path, steps=6)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "loss_d": 1}\n{"step": 8, "lo')  # killed after the checkpoint, in the middle of a line
    _train(tiny, tmp_path, steps=9, resume=True)
    assert [row["step"] for row in read_metrics(tmp_path)] == [2, 4, 6, 8, 9]


def test_learning_rates_fall_as_the_inverse_square_root(tiny, tmp_path):
    rates = []

    class Recorder(torch.optim.SGD):
        def step(self):
            rates.append(self.param_groups[0]["lr"])
            return super().step()

    _train(tiny, tmp_path, steps=9, lr_decay_after=64, make_optimizer=lambda p: Recorder(p, lr=0.1))
    expected = [0.1 * min(1, math.sqrt(4 / max(step, 1))) for step in range(9)]  # in steps of 16 images
    assert rates[0::2] == rates[1::2] == pytest.approx(expected)
    assert lr_factor(1e9, None) == 1


def test_the_run_folder_holds_what_is_promised(tiny, tmp_path):
    _train(tiny, tmp_path, steps=5)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    events = {name for name in names if "tfevents" in name}
    assert len(events) == 1
    assert names - events == {
        ".lock", "config.yaml", "metrics.jsonl", "curves.png", "training.webp",
        "samples/00000000.png", "samples/00000004.png", "samples/00000005.png",
        *(f"checkpoints/{name}.safetensors" for name in ("00000000", "00000003", "00000005", "last")),
    }  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 5]
    fields = ["step", "images", "seconds", "images_per_second", "loss_d", "loss_g", "d_real", "d_fake", "value"]
    signals = ["d_accuracy_fake", "d_accuracy_real", "grad_norm_d", "grad_norm_g"]
    of_samples = ["sample_checkerboard", "sample_distance", "sample_saturation", "sample_std"]
    for row in rows:
        last = of_samples if row["step"] == 5 else []  # they are looked at every hundred steps
        assert [*row] == [*fields, *sorted([*signals, *last]), "time"]
        assert row["images"] == 16 * row["step"]
        assert 0 < row["d_real"] < 1
        assert row["loss_d"] == pytest.approx(-row["value"], rel=1e-4)  # the same by definition, for this loss


def test_max_seconds_ends_a_run_and_saves_it(tiny, tmp_path):
    outcome = _train(tiny, tmp_path, steps=10**9, max_seconds=0.2)
    assert 0 < outcome.step < 10**9
    assert checkpoint.read(tmp_path).progress.step == outcome.step
    assert read_metrics(tmp_path)[-1]["seconds"] >= 0.2


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_step_and_saves(tiny, tmp_path, signum):
    def loss(real_logits, fake_logits):
        signal.raise_signal(signum) if not raised else None
        raised.append(signum)
        return losses.nonsaturating(real_logits, fake_logits)

    raised: list[int] = []
    before = signal.getsignal(signum)
    outcome = _train(tiny, tmp_path, steps=1000, loss=loss)
    assert (outcome.step, outcome.signum) == (1, signum)
    assert checkpoint.read(tmp_path).progress.step == 1
    assert signal.getsignal(signum) is before


def test_a_signal_breaks_off_an_evaluation(tiny, tmp_path):
    def evaluate(generator):
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("not reached")

    outcome = _train(tiny, tmp_path, steps=1000, evaluate=evaluate, eval_every=2)
    assert outcome.signum == signal.SIGTERM
    assert checkpoint.read(tmp_path).progress.step == outcome.step == 3
    assert "distance" not in read_metrics(tmp_path)[-1]


def test_a_second_signal_interrupts_at_once(tiny, tmp_path):
    def loss(real_logits, fake_logits):
        signal.raise_signal(signal.SIGINT)
        return losses.nonsaturating(real_logits, fake_logits)

    with pytest.raises(KeyboardInterrupt):
        _train(tiny, tmp_path, steps=1000, loss=loss)


def _bad_from(step, until=10**9):
    """A loss that is NaN for D in the steps from ``step`` on (k=1, so two calls a step), counted over the whole run."""
    calls = []

    def loss(real_logits, fake_logits):
        calls.append(None)
        bad = math.nan if 2 * step - 2 < len(calls) <= 2 * until else 1
        return losses.nonsaturating(real_logits * bad, fake_logits)

    return loss


def _all_finite(run_dir):
    for path in (run_dir / "checkpoints").iterdir():
        for name, value in load_file(path).items():
            assert not value.is_floating_point() or torch.isfinite(value).all(), (path, name)
    return True


def test_a_loss_that_is_not_finite_stops_the_run_and_is_never_saved(tiny, tmp_path):
    with pytest.raises(
        TrainingDiverged, match=r"step 8: no longer finite: loss_d, discriminator.1.weight and 5 more weights"
    ):
        _train(tiny, tmp_path, steps=100, loss=_bad_from(8), on_nonfinite="stop")
    assert checkpoint.read(tmp_path).progress.step == 6
    assert _all_finite(tmp_path)


def test_it_goes_back_once_with_half_the_learning_rates(tiny, tmp_path, capsys):
    rates = []

    class Recorder(torch.optim.SGD):
        def step(self):
            rates.append(self.param_groups[0]["lr"])
            return super().step()

    loss = _bad_from(8, until=8)  # as a bad batch does; at half the rates all is well
    outcome = _train(tiny, tmp_path, steps=13, loss=loss, make_optimizer=lambda p: Recorder(p, lr=0.1), log_every=1)
    assert outcome.step == 13
    assert [row["step"] for row in read_metrics(tmp_path)] == list(range(1, 14))
    # eight steps of G and D, each optimizer tried out as it was saved, then 7 to 13 again
    assert rates == [0.1] * 16 + [0.1] * 2 + [0.05] * 14
    said = capsys.readouterr().err
    assert said.startswith("gan-train: step 8: no longer finite: loss_d, ")
    assert said.endswith("; back to step 6, with half the learning rates from there on\n")
    assert checkpoint.read(tmp_path).progress.lr_scale == 0.5
    assert _all_finite(tmp_path)


def test_a_second_time_stops_the_run_also_after_a_resume(tiny, tmp_path):
    with pytest.raises(TrainingDiverged, match="step 7: no longer finite: loss_d"):  # the first after going back
        _train(tiny, tmp_path, steps=100, loss=_bad_from(8))
    _train(tiny, tmp_path / "b", steps=9, loss=_bad_from(8, until=8))
    with pytest.raises(TrainingDiverged, match="step 10: no longer finite: loss_d.*, once more, at half the learning"):
        _train(tiny, tmp_path / "b", steps=20, loss=_bad_from(1), resume=True)
    assert _all_finite(tmp_path)


def test_before_the_first_checkpoint_it_goes_back_to_the_start(tiny, tmp_path):
    assert _train(tiny, tmp_path, steps=5, loss=_bad_from(2, until=2)).step == 5
    rows = [row["step"] for row in read_metrics(tmp_path)]
    assert rows == [2, 4, 5]


@pytest.mark.parametrize("broken", ["penalty", "loss_g", "gradient", "update"])
def test_every_way_to_lose_finiteness_is_named_on_its_step(tiny, tmp_path, broken):
    """A penalty, the generator's loss, a gradient of a finite loss (sqrt at 0), an overflowing update."""
    calls = []

    def penalty(discriminator, real, fake):
        calls.append(None)
        term = discriminator(real) * 0
        return term * math.inf if broken == "penalty" and len(calls) == 3 else term

    def loss(real_logits, fake_logits):
        terms_d, terms_g = losses.nonsaturating(real_logits, fake_logits)
        if len(calls) == 3 and broken == "loss_g":
            terms_g = terms_g * math.inf
        if len(calls) == 2 and broken == "gradient":  # the penalty's third call comes after D's third loss
            terms_d = terms_d + (real_logits * 0).sqrt()
        return terms_d, terms_g

    class Overflowing(torch.optim.SGD):
        def step(self):
            if broken == "update" and len(calls) == 3:
                self.param_groups[0]["lr"] = 1e38
            return super().step()

    expected = {
        "penalty": "penalty, discriminator.1",
        "loss_g": "loss_g, generator.0",
        "gradient": "discriminator.1",
        "update": "discriminator.1",
    }
    with pytest.raises(TrainingDiverged, match=f"step 3: no longer finite: {expected[broken]}"):
        _train(
            tiny, tmp_path, steps=9, loss=loss, penalty=penalty, on_nonfinite="stop", log_every=100,
            make_optimizer=lambda p: Overflowing(p, lr=0.01),
        )  # fmt: skip


def test_a_weight_that_is_not_finite_is_never_saved(tiny, tmp_path):
    network = mlp.Generator(tiny.image_shape, 6)
    with torch.no_grad():
        network[0].weight[0, 0] = math.inf
    with pytest.raises(TrainingDiverged, match="no longer finite: generator.0.weight"):
        save_modules(tmp_path, checkpoint.Progress(), {}, {"generator": network})
    assert not list(tmp_path.iterdir())


def test_it_learns_a_constant_image(tmp_path):
    """The plainest data there is: after a short run the generator paints it."""
    dataset = Dataset(torch.full((64, 1, 8, 8), 230, dtype=torch.uint8))
    _train(dataset, tmp_path, networks=mlp, steps=300, log_every=100, sample_every=300, checkpoint_every=300)
    generator = mlp.Generator((1, 8, 8), 6, **NARROW[mlp][0])
    load_module(checkpoint.read(tmp_path), "ema", generator)
    image = generator.eval()(torch.randn(64, 6)).mean().item()
    assert (image + 1) * 127.5 == pytest.approx(230, abs=25)


def test_the_stopwatch_leaves_out_what_is_not_training(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    watch = stopwatch.Stopwatch(torch.device("cpu"), 5.0)
    now[0] += 50
    assert watch.seconds == 5
    watch.start()
    now[0] += 2
    assert watch.seconds == 7
    watch.stop()
    now[0] += 50
    watch.start()
    now[0] += 1
    assert watch.seconds == 8


def test_the_newest_checkpoints_stay_and_the_best(tiny, tmp_path):
    scores = iter([5.0, 3.0, 4.0, 3.5])
    asked = []

    def evaluate(generator):
        asked.append(generator)
        return {"distance": next(scores)}

    options = {"log_every": 100, "sample_every": 100, "checkpoint_every": 2}
    _train(tiny, tmp_path, steps=9, keep=3, evaluate=evaluate, eval_every=3, **options)
    assert len(asked) == 3
    names = {path.stem for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"00000006", "00000008", "00000009", "last", "best"}
    rows = {row["step"]: row.get("distance") for row in read_metrics(tmp_path)}
    assert rows == {3: 5.0, 6: 3.0, 9: 4.0}
    assert checkpoint.read(tmp_path / "checkpoints" / "best.safetensors").progress.step == 6

    _train(tiny, tmp_path, steps=12, keep=3, evaluate=evaluate, eval_every=3, resume=True, **options)
    assert checkpoint.read(tmp_path / "checkpoints" / "best.safetensors").progress.step == 6  # remembered: 3.5 is worse


class Disk:
    """A disk that takes nothing while ``full``: a stand-in for the system's calls."""

    def __init__(self, monkeypatch):
        self.full, self.refused = False, 0
        fsync = os.fsync

        def refusing_fsync(descriptor):
            self._refuse()
            return fsync(descriptor)

        monkeypatch.setattr(files.os, "fsync", refusing_fsync)
        monkeypatch.setattr(records, "append", lambda path, content: (self._refuse(path), files.append(path, content)))

    def _refuse(self, path=None):
        if self.full:
            self.refused += 1
            raise OSError(28, "No space left on device", path and str(path))


def test_a_full_disk_is_told_once_and_training_goes_on_until_it_takes_files_again(tiny, tmp_path, monkeypatch, capsys):
    disk = Disk(monkeypatch)
    calls = []

    def loss(real_logits, fake_logits):
        calls.append(None)
        disk.full = 7 <= len(calls) / 2 < 15
        return losses.nonsaturating(real_logits, fake_logits)

    _train(tiny, tmp_path / "whole", steps=20, sample_every=100)
    _train(tiny, tmp_path / "run", steps=20, loss=loss, sample_every=100)
    assert disk.refused > 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(
        r"gan-train: .*metrics.jsonl: No space left on device; training goes on in memory and .*", lines[0]
    )
    assert lines[1] == "gan-train: the disk takes files again; the run is saved"
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == list(range(2, 21, 2))
    assert _series(tmp_path / "run")[:2] == _series(tmp_path / "whole")[:2]
    whole, run = (load_file(tmp_path / name / "checkpoints" / "last.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(whole[name], run[name]) for name in whole)
    # 9 and 12 could not be written
    assert [p.stem for p in layout.in_order(tmp_path / "run" / "checkpoints")] == [
        f"{step:08d}" for step in (20, 18, 15, 6, 3, 0)
    ]


def test_on_write_error_stop_ends_at_once_with_the_last_good_checkpoint(tiny, tmp_path, monkeypatch):
    disk = Disk(monkeypatch)

    def loss(real_logits, fake_logits):
        disk.full = layout.numbered(tmp_path / "checkpoints", 6).exists()
        return losses.nonsaturating(real_logits, fake_logits)

    with pytest.raises(OSError, match="No space left"):
        _train(tiny, tmp_path, steps=20, loss=loss, on_write_error="stop")
    assert checkpoint.read(tmp_path).progress.step == 6


def test_a_complete_run_waits_for_the_disk_until_the_user_gives_up(tiny, tmp_path, monkeypatch, capsys):
    disk = Disk(monkeypatch)
    monkeypatch.setattr(disk_retry, "PAUSE", 0.2)
    attempts = []

    def refuse(path=None):
        if (tmp_path / "checkpoints" / "00000003.safetensors").exists():
            attempts.append(None)
            if len(attempts) == 4:
                signal.raise_signal(signal.SIGINT)
            raise OSError(28, "No space left on device", path and str(path))

    monkeypatch.setattr(disk, "_refuse", refuse)
    assert _train(tiny, tmp_path, steps=4).signum == signal.SIGINT
    said = capsys.readouterr().err.splitlines()
    assert "No space left on device; the run is complete, but not saved: trying again every" in said[0]
    assert said[1].endswith("No space left on device; given up")
    assert checkpoint.read(tmp_path).progress.step == 3


def test_a_run_whose_folder_is_deleted_goes_on_in_a_new_one(tiny, tmp_path, capsys):
    calls, config = [], tmp_path / "run" / "config.yaml"
    before = []

    def loss(real_logits, fake_logits):
        calls.append(None)
        if len(calls) == 2 * 7:
            before.append(config.read_text())
            shutil.rmtree(tmp_path / "run")
        return losses.nonsaturating(real_logits, fake_logits)

    _train(tiny, tmp_path / "run", steps=13, loss=loss)
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [8, 10, 12, 13]
    assert checkpoint.read(tmp_path / "run").progress.step == 13
    assert config.read_text() == before[0]
    assert "k: 1\n" in before[0]
    said = capsys.readouterr().err
    assert "metrics.jsonl: deleted while the run was going on; training goes on in memory" in said
    assert "intact" not in said


def test_an_optimizer_state_that_overflows_is_named_and_gone_back_from(tiny, tmp_path, capsys):
    """Weights and losses are finite all the while: it is the checkpoint that finds it, in the middle of its writing."""

    class Overflowing(torch.optim.SGD):
        def step(self):
            calls.append(None)
            result = super().step()
            if len(calls) == 11:
                self.state[self.param_groups[0]["params"][0]]["momentum_buffer"][0] = math.inf
            return result

    calls = []
    outcome = _train(
        tiny, tmp_path, steps=9, checkpoint_every=6, make_optimizer=lambda p: Overflowing(p, lr=0.0, momentum=0.5)
    )
    assert outcome.step == 9
    said = capsys.readouterr().err
    assert "step 6: no longer finite: momentum_buffer of discriminator.1.weight; back to step 0" in said
    assert [row["step"] for row in read_metrics(tmp_path)] == [2, 4, 6, 8, 9]


def test_going_back_while_the_disk_is_full(tiny, tmp_path, monkeypatch, capsys):
    disk = Disk(monkeypatch)
    bad, calls = _bad_from(8, until=8), []

    def loss(real_logits, fake_logits):
        calls.append(None)
        disk.full = 7 <= len(calls) / 2 < 12
        return bad(real_logits, fake_logits)

    assert _train(tiny, tmp_path, steps=13, loss=loss).step == 13
    assert [row["step"] for row in read_metrics(tmp_path)] == [2, 4, 6, 8, 10, 12, 13]
    assert "back to step 6" in capsys.readouterr().err
    assert checkpoint.read(tmp_path).progress.lr_scale == 0.5


def test_a_signal_right_before_an_evaluation_leaves_it_out(tiny, tmp_path):
    calls = []

    def loss(real_logits, fake_logits):
        calls.append(None)
        signal.raise_signal(signal.SIGTERM) if len(calls) == 2 * 3 else None
        return losses.nonsaturating(real_logits, fake_logits)

    def evaluate(generator):
        raise AssertionError("not reached")

    assert _train(tiny, tmp_path, steps=9, loss=loss, evaluate=evaluate, eval_every=3).step == 3


def test_a_damaged_picture_and_a_damaged_record_cost_a_run_nothing(tiny, tmp_path, caplog):
    _train(tiny, tmp_path, steps=3)
    (tmp_path / "samples" / "00000001.png").write_bytes(b"junk")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3}\n{"step": "x", "loss_d": null}\n[]\n' + "[" * 100_000 + "\n" + "9" * 5000 + "\n")
        record = read_metrics(tmp_path)[0]
        wrong = [{"seconds": 10**400}, {"x": "word"}, {"time": "x"}, {"step": -(10**23)}, {"step": 2**63}]
        for change in [*wrong, {"loss_d": math.nan}, {"loss_d": math.inf}, {"\ud800": 1}]:
            file.write(json.dumps({**record, **change}) + "\n")
    assert _train(tiny, tmp_path, steps=6, resume=True).step == 6
    assert [row["step"] for row in read_metrics(tmp_path)] == [2, 3, 4, 6]
    assert "no animation: a picture in " in caplog.text


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("foo", torch.zeros(2)),
        ("loss_d", torch.zeros(2, 2)),
        ("real", torch.zeros(2, dtype=torch.int64)),
        ("real", torch.zeros(2).to(torch.float8_e4m3fn)),
        ("real", torch.tensor([0.0, math.nan])),
        ("loss_g", torch.tensor([3e38, 3e38])),
    ],
)
def test_a_stranger_s_window_is_left_out(name, values):
    assert Totals(torch.device("cpu"), {name: values}).state() == {}


def test_data_that_does_not_fit_the_device_is_copied_batch_by_batch_to_the_same_effect(tiny, tmp_path, monkeypatch):
    _train(tiny, tmp_path / "resident", steps=3)
    monkeypatch.setattr(batches.devices, "holds", lambda device, data: False)
    _train(tiny, tmp_path / "copied", steps=3)
    resident, copied = (
        load_file(tmp_path / run / "checkpoints" / "last.safetensors") for run in ("resident", "copied")
    )
    assert all(torch.equal(value, copied[name]) for name, value in resident.items())


@pytest.mark.filterwarnings("default")  # of the compiler's own
def test_compiled_networks_train_to_the_same_weights(tiny, tmp_path):
    """The penalty, which is differentiated twice, goes by the networks themselves."""
    for mode in ("off", "default"):
        torch.manual_seed(0)
        networks = mlp.Generator(tiny.image_shape, 6, widths=(8,)), mlp.Discriminator(tiny.image_shape, widths=(16,))
        given = {"steps": 2, "batch_size": 16, "z_dim": 6, "penalty": penalties.r1, "make_optimizer": SGD}
        train_networks(*networks, tiny, tmp_path / mode, compile=mode, **given)
    plain, compiled = (load_file(tmp_path / mode / "checkpoints" / "last.safetensors") for mode in ("off", "default"))
    assert plain.keys() == compiled.keys()
    for network in ("generator", "discriminator", "ema"):
        names = [name for name in plain if name.startswith(f"{network}.") and plain[name].is_floating_point()]
        weights, same = (torch.cat([saved[name].flatten() for name in names]) for saved in (plain, compiled))
        # Rounded otherwise, a unit at its kink may fall on the other side of it: 1e-5 would be too strict.
        assert (same - weights).norm() < 1e-4 * weights.norm()


def test_what_d_sees_is_augmented_and_its_memory_goes_on_with_a_resumed_run(tiny, tmp_path):
    seen = []

    class Darker(Augment):
        """Takes off a little more at each observation."""

        def __init__(self):
            super().__init__()
            self.register_buffer("shift", torch.zeros(()))

        def forward(self, images):
            seen.append((images.detach(), self.shift.clone()))
            return images - self.shift

        def observe(self, real_logits):
            assert real_logits.shape == (16,) and not real_logits.requires_grad
            self.shift += 0.125

    given = {"penalty": penalties.LeCam(), "k": 2}
    _train(tiny, tmp_path / "whole", steps=6, augment=Darker(), **given)
    assert len(seen) == 6 * (2 * 2 + 1), "real and fake in D's steps, which the penalty shares, and fake in G's"
    shifts = [shift.item() for _, shift in seen]
    assert shifts == sorted(shifts) and shifts[-1] == 12 * 0.125
    assert {"augment.shift", "penalty.means"} <= load_file(checkpoint.read(tmp_path / "whole").path).keys()

    for steps, resume in ((3, None), (6, "parts")):
        given = {"penalty": penalties.LeCam(), "k": 2, "resume": bool(resume)}
        _train(tiny, tmp_path / "parts", steps=steps, augment=Darker(), **given)
    whole, parts = (load_file(checkpoint.read(tmp_path / run).path) for run in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_weights_are_clipped_after_each_update_of_d(tiny, tmp_path, update):
    _train(
        tiny, tmp_path, steps=3, update=update, make_optimizer=partial(torch.optim.RMSprop, lr=0.1), weight_clip=0.01
    )
    weights = load_file(checkpoint.read(tmp_path).path)
    largest = {
        part: max(v.abs().max() for k, v in weights.items() if k.startswith(part + "."))
        for part in ("generator", "discriminator")
    }
    assert largest["discriminator"] == pytest.approx(0.01)
    assert largest["generator"] > 0.02


def _raising(signum, at):
    """A loss that raises ``signum`` in step ``at``."""
    calls = []

    def loss(real_logits, fake_logits):
        calls.append(None)
        signal.raise_signal(signum) if len(calls) == 2 * at else None
        return losses.nonsaturating(real_logits, fake_logits)

    return loss


def test_nohup_keeps_a_run_alive(tiny, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        outcome = _train(tiny, tmp_path, steps=4, loss=_raising(signal.SIGHUP, 2))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (outcome.step, outcome.signum) == (4, None)


@pytest.mark.parametrize("signum", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM])
def test_a_handler_that_was_there_is_called_once_the_checkpoint_is_written(tiny, tmp_path, signum):
    saved = []

    def handler(number, frame):  # such as submitit's, which queues the job anew
        saved.append((number, checkpoint.read(tmp_path).progress.step))

    before = signal.signal(signum, handler)
    try:
        outcome = _train(tiny, tmp_path, steps=6, loss=_raising(signum, 2), checkpoint_every=100)
        assert signal.getsignal(signum) is handler
    finally:
        signal.signal(signum, before)
    assert saved == [(signum, 2)]
    assert outcome.step == (2 if signum == signal.SIGTERM else 6)


def test_sigusr1_writes_a_checkpoint_and_the_run_goes_on(tiny, tmp_path):
    outcome = _train(tiny, tmp_path, steps=6, loss=_raising(signal.SIGUSR1, 2), checkpoint_every=100)
    assert outcome.step == 6
    assert [path.stem for path in layout.in_order(tmp_path / "checkpoints")] == ["00000006", "00000002", "00000000"]
