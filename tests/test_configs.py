"""Every YAML file composes and binds; a file that is forgotten is counted."""

import re

import pytest
import torch
from helpers import CONFIGS
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from gan_cli.config import networks, parts, schema
from gan_cli.config.advice import unsound
from gan_cli.config.targets import check_types, target_of
from gan_cli.errors import UserError

COUNTS = {
    ".": 9,
    "augment": 5,
    "cluster": 3,
    "dataset": 13,
    "experiment": 30,
    "game": 6,
    "hydra/job_logging": 1,
    "loss": 6,
    "net": 16,
    "net/discriminator": 15,
    "net/generator": 16,
    "optimizer": 5,
    "optimizer/discriminator": 5,
    "optimizer/generator": 5,
    "penalty": 8,
    "sinks": 2,
}
FILES = {str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.rglob("*.yaml")}
CHOICES = sorted(name for name in FILES if "/" in name and not name.startswith("cluster/"))  # cluster: test_sweep.py


def _compose(*overrides):
    with initialize_config_module("gan_cli.configs", version_base="1.3"):
        return OmegaConf.to_container(compose("train", list(overrides)), resolve=True)


def test_every_file_is_counted():
    found = {}
    for name in FILES:
        parent = name.rpartition("/")[0] or "."
        found[parent] = found.get(parent, 0) + 1
    assert found == COUNTS


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_and_binds(choice):
    group, _, name = choice.rpartition("/")
    overrides = [f"{group}={name}"]
    config = _compose(*overrides)
    side = 28 if "cs231n" in name else 32  # which are for MNIST alone
    facts = {"image_shape": (1, side, side)}
    does = networks.does(config["net"])
    if any(word in name for word in ("unet", "translator", "patchgan")) or does != "draws":
        facts |= {"source_channels": 1, "condition_channels": 1, "classes": 4 * (does == "classifies")}
        if group.startswith("net/"):  # beside a network of noise a translator fits nothing
            config = _compose("net=unet", *overrides)
    if group.startswith("net/") and name == "dann":
        facts |= {"source_channels": 1, "classes": 4}
        config = _compose("net=dann", *overrides)
    assert networks.generator(config["net"], facts)
    discriminator = networks.discriminator(config["net"], facts)
    assert parts.loss(config["loss"])
    assert parts.penalty(config["penalty"])
    assert parts.optimizers(config["optimizer"])
    assert (parts.augment(config["augment"], (1, side, side), 5000) is None) == (config["augment"]["_target_"] is None)
    check_types(config["dataset"], target_of(config["dataset"], "dataset"), "dataset")
    if group == "experiment":
        assert config != _compose(), "no effect: is its '# @package _global_' missing?"
    if group in ("experiment", "dataset"):
        assert unsound(config, discriminator) == []


def test_the_choice_lands_where_it_should():
    config = _compose(
        "net/discriminator=mlp", "optimizer/generator=sgd", "optimizer.discriminator.lr=0.5", "penalty=none"
    )
    assert config["net"]["discriminator"]["_target_"] == "gan_cli.networks.mlp.Discriminator"
    assert config["net"]["generator"]["_target_"] == "gan_cli.networks.conv.Generator"
    assert config["optimizer"]["generator"]["_target_"] == "torch.optim.SGD"
    assert config["optimizer"]["discriminator"]["_target_"] == "torch.optim.Adam"
    assert config["optimizer"]["generator"]["lr"] == 0.1  # SGD's own, not Adam's
    assert config["optimizer"]["discriminator"]["lr"] == 0.5
    both = _compose("optimizer.lr=0.25")["optimizer"]
    assert (both["generator"]["lr"], both["discriminator"]["lr"]) == (0.25, 0.25)
    assert parts.penalty(config["penalty"]) == (None, 1, None, "auto")


def test_a_penalty_is_a_function_or_a_module_or_a_bound_on_the_weights():
    assert parts.penalty(_compose("penalty=r2")["penalty"])[1:] == (8, None, "auto")
    first, second = (parts.penalty(_compose("penalty=lecam", "penalty.decay=0.5")["penalty"]) for _ in range(2))
    assert first.function.decay == 0.5
    assert first.interval == 1
    assert first.function is not second.function
    assert parts.penalty(_compose("penalty=weight_clip")["penalty"]) == (None, 1, 0.01, "auto")


@pytest.mark.parametrize(
    ("overrides", "group", "message"),
    [
        (["penalty=weight_clip", "penalty.clip=0"], "penalty", "penalty.clip=0 should be a number above 0"),
        (["penalty=weight_clip", "penalty.clip=some"], "penalty", "penalty.clip=some should be a number above 0"),
        (["penalty=lecam", "penalty.decay=1"], "penalty", "decay=1 should be from 0 up and below 1"),
        (["penalty=lecam", "+penalty.gamma=1"], "penalty", "LeCam has no option 'gamma'"),
        (["penalty=dragan", "dataset=ring8"], "penalty", "dragan has no option 'gamma'; if a dataset or an experiment"),
        (["penalty=gradient_penalty", "penalty.one_sided=2"], "penalty", "penalty.one_sided=2 should be bool"),
        (["penalty.precision=half"], "penalty", "penalty.precision=half should be one of auto, fp32, bf16"),
        (["loss.smoothing=1"], "loss", "smoothing=1 should be from 0 up and below 1"),
    ],
)
def test_an_option_that_makes_no_sense_is_found_before_training(overrides, group, message):
    with pytest.raises(UserError, match=re.escape(message)):
        getattr(parts, group)(_compose(*overrides)[group])


def _warnings(*overrides, discriminator=None):
    config = _compose(*overrides)
    return unsound(config, discriminator or networks.discriminator(config["net"], {"image_shape": (1, 32, 32)}))


def test_own_metrics_without_evaluations_get_a_line():
    config = {**_compose(), "own_metrics": {"ink": {"_target_": "mine.ink"}}}
    discriminator = networks.discriminator(config["net"], {"image_shape": (1, 28, 28)})
    (line,) = unsound(config, discriminator)
    assert line == "own_metrics are measured at evaluations, and this run has none: add eval_every=500"
    assert unsound({**config, "eval_every": 500}, discriminator) == []


def test_ada_with_a_loss_that_knows_no_zero_is_warned_of():
    (line,) = _warnings("augment=ada", "loss=relativistic")
    assert line.endswith("type loss=nonsaturating, or augment=diffaugment")
    for remedy in (["augment=ada"], ["augment=diffaugment", "loss=relativistic"]):
        assert _warnings(*remedy) == []
    assert _warnings("augment=ada", "loss=relativistic", "schedule.images=1000", "schedule.augment_p=[0,0.5]") == []


@pytest.mark.parametrize("penalty", ["r1", "r2", "r1r2", "gradient_penalty", "dragan"])
def test_a_gradient_penalty_with_batch_normalisation_is_warned_of(penalty):
    (line,) = _warnings("net=dcgan", f"penalty={penalty}")
    assert "batch normalisation" in line
    assert _warnings("net=dcgan", f"penalty={penalty}", line.split("type ")[1].split(",")[0]) == []  # what it advises


def test_a_critic_that_nothing_makes_lipschitz_is_warned_of():
    for penalty in ("none", "r1", "r1r2", "dragan", "lecam"):
        (line,) = _warnings("loss=wgan", f"penalty={penalty}")
        assert "Lipschitz" in line
    for advised in (["penalty=gradient_penalty"], ["penalty=weight_clip", "optimizer=rmsprop"]):
        assert " ".join(advised) in line
        assert _warnings("loss=wgan", *advised) == []
    linear = torch.nn.Linear(4, 1)
    spectral = torch.nn.Sequential(torch.nn.utils.parametrizations.spectral_norm(linear))
    assert _warnings("loss=wgan", "penalty=none", discriminator=spectral) == []


def test_weight_clipping_under_momentum_is_warned_of():
    adam = ["penalty=weight_clip", "optimizer=adam"]
    (line,) = _warnings(*adam, "optimizer.discriminator.betas=[0.5,0.999]")
    assert "momentum of 0.5" in line
    assert len(_warnings("penalty=weight_clip", "optimizer=sgd")) == 1
    assert _warnings(*adam) == _warnings("penalty=weight_clip", "optimizer=rmsprop") == []


def test_a_sigmoid_at_the_end_is_warned_of():
    (line,) = _warnings(discriminator=torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Sigmoid()))
    assert "sigmoid" in line
    assert _warnings("penalty=lecam", "net=dcgan") == []


def test_the_assignments_experiments_differ_in_what_they_say_alone():
    gan, dcgan = _compose("experiment=cs231n_gan"), _compose("experiment=cs231n_dcgan")
    assert {key for key in gan if gan[key] != dcgan[key]} - {"run_dir"} == {"net", "steps"}
    assert dcgan["net"]["generator"]["_target_"] == "gan_cli.networks.cs231n.ConvGenerator"
    assert dcgan["steps"] == 5 * (50_000 // dcgan["batch_size"])
    assert gan["optimizer"]["discriminator"]["lr"] == 0.001


@pytest.mark.parametrize("command", schema.COMMANDS)
def test_each_command_warns_under_its_own_name(command):
    with initialize_config_module("gan_cli.configs", version_base="1.3"):
        logging = compose(command, return_hydra_config=True).hydra.job_logging
    assert logging.formatters.simple.format == f"gan-{command}: %(message)s"
    assert logging.handlers.console.stream == "ext://sys.stderr"
    assert (logging.root.level, list(logging.root.handlers)) == ("WARNING", ["console"])


def test_the_help_names_every_key():
    for command, node in schema.COMMANDS.items():
        text = schema._describe_keys(command)
        for name in node.__dataclass_fields__:
            assert f"  {name}=" in text or node.__dataclass_fields__[name].metadata.get("group")


def test_a_fact_that_is_a_function_is_called_only_where_it_is_wanted():
    calls = []

    def pixel_mean():
        calls.append(True)
        return torch.full((1, 28, 28), 0.25)

    facts = {"image_shape": (1, 28, 28), "pixel_mean": pixel_mean}
    networks.generator(_compose("net=conv")["net"], facts)
    assert not calls
    maxout = networks.generator(_compose("net=maxout")["net"], facts)
    bias = [module for module in maxout.modules() if isinstance(module, torch.nn.Linear)][-1].bias
    assert torch.allclose(bias.sigmoid(), torch.tensor(0.25))
    assert len(calls) == 1
