"""Static steps train to the same bits as plain ones. Their recording on a GPU is checked by benchmarks/gpu.py."""

import contextlib
import dataclasses
import types

import pytest
import torch
from helpers import ADAM, train_networks, train_tiny
from safetensors.torch import load_file

from gan_cli import penalties
from gan_cli.augment import ADA, DiffAugment
from gan_cli.data import Dataset
from gan_cli.errors import UserError
from gan_cli.networks import conv, mlp, r3gan
from gan_cli.optimizers import AnnealedSGD
from gan_cli.training import graphs
from gan_cli.training.device import Compute
from gan_cli.training.games import Adversarial
from gan_cli.training.schedule import Schedule

STEPS = 12
RUNS = {
    "conv, R1, ADA": (conv, {"width": 4}, {"penalty": penalties.r1, "penalty_interval": 2, "augment": ADA}),
    "mlp, LeCam": (mlp, {"widths": [8]}, {"penalty": penalties.LeCam, "k": 2, "update": "shared"}),
    "r3gan": (r3gan, {"width": 8, "max_width": 8, "group_width": 4},
              {"penalty": penalties.r1r2, "augment": DiffAugment, "update": "simultaneous", "conditional": True}),
}  # fmt: skip


def _adam(weights):
    return ADAM(weights, lr=2.0**-10)  # a number that float32 has: static steps hold the rate in a tensor


def _train(name, run_dir, steps=STEPS, **more):
    module, widths, options = RUNS[name]
    shape, random = (3, 8, 8), torch.Generator().manual_seed(0)
    images = torch.randint(256, (64, *shape), dtype=torch.uint8, generator=random)
    classes = {"classes": 2} if "conditional" in options else {}
    options = {name: value() if isinstance(value, type) else value for name, value in options.items()}
    torch.manual_seed(0)
    return train_networks(
        module.Generator(shape, 4, **widths, **classes), module.Discriminator(shape, **widths, **classes),
        Dataset(images, torch.arange(64) % 2, class_names=("a", "b")), run_dir, make_optimizer=_adam, steps=steps,
        batch_size=4, z_dim=4, log_every=5, sample_every=100, checkpoint_every=100, samples=1, sinks={}, **options,
        **more,
    )  # fmt: skip


def _tensors(run_dir):
    return load_file(run_dir / "checkpoints" / "last.safetensors")


def _equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("name", RUNS)
def test_static_steps_give_the_bits_of_plain_ones(name, tmp_path, monkeypatch):
    plain = _train(name, tmp_path / "plain")
    monkeypatch.setattr(graphs, "used", lambda compute, *_: compute.graphs == "auto")
    seen, generate = set(), Adversarial.generate
    with monkeypatch.context() as patch:
        patch.setattr(Adversarial, "generate", lambda game, batch: seen.add(batch.real) or generate(game, batch))
        static = _train(name, tmp_path / "static", graphs="auto")
    _equal(_tensors(tmp_path / "plain"), _tensors(tmp_path / "static"))
    clocks = dict.fromkeys(("time", "seconds", "images_per_second"))
    assert {**static.metrics, **clocks} == {**plain.metrics, **clocks}
    k, kinds = RUNS[name][2].get("k", 1), RUNS[name][2].get("penalty_interval", 1)
    assert len(seen) == kinds * k * (graphs.WARM_UP + 1), "after the first steps of a kind its inputs stay in place"


def test_a_run_in_static_steps_resumes_to_the_same_bits_and_plain_as_well(tmp_path, monkeypatch):
    name = "conv, R1, ADA"
    monkeypatch.setattr(graphs, "used", lambda compute, *_: compute.graphs == "auto")
    _train(name, tmp_path / "static", graphs="auto")
    for half in ("still", "plain"):
        _train(name, tmp_path / half, steps=STEPS // 2 + 1, graphs="auto")
    _train(name, tmp_path / "still", resume=True, graphs="auto")
    _train(name, tmp_path / "plain", resume=True)
    for half in ("still", "plain"):
        _equal(_tensors(tmp_path / "static"), _tensors(tmp_path / half))


def test_graphs_are_for_one_process_on_cuda_with_capturable_optimizers():
    weight = torch.nn.Parameter(torch.zeros(1))
    adam, sgd = {"generator": _adam([weight])}, {"generator": AnnealedSGD([weight])}
    cuda = Compute(torch.device("cuda"), graphs="auto")
    assert graphs.used(cuda, adam, 1)
    assert not graphs.used(cuda, sgd, 1)
    assert not graphs.used(cuda, adam, 2)
    for other in ({"device": torch.device("cpu")}, {"compile": "default"}, {"graphs": "off"}):
        assert not graphs.used(dataclasses.replace(cuda, **other), adam, 1)


def test_a_graph_keeps_what_a_schedule_would_move(tiny, tmp_path):
    moving = Schedule(images=100, beta2=(0.9, 0.99))
    with pytest.raises(UserError, match="a CUDA graph keeps all values but the learning rates"):
        train_tiny(tiny, tmp_path / "run", steps=1, graphs="auto", schedule=moving)
    assert not (tmp_path / "run").exists()


def test_a_replayed_step_puts_back_what_it_left_for_the_records(monkeypatch):
    replayed = []
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: types.SimpleNamespace(replay=lambda: replayed.append(1)))
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: contextlib.nullcontext())
    kept, mine, other, weight = {}, torch.zeros(1), torch.ones(1), torch.nn.Parameter(torch.zeros(1))
    weight.grad = mine
    game = types.SimpleNamespace(latest=lambda: [kept])
    replay = graphs._recorded(lambda: kept.update({0: mine}), game, [_adam([weight])])
    kept[0] = weight.grad = other  # left by a step of another kind
    replay()
    assert kept[0] is weight.grad is mine and replayed == [1]
