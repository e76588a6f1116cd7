"""Every YAML file composes and binds; a file that is forgotten is counted."""

import pytest
import torch
from conftest import CONFIGS
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from gan_cli import build, schema

COUNTS = {
    ".": 3,
    "dataset": 8,
    "experiment": 4,
    "loss": 2,
    "net": 6,
    "net/discriminator": 6,
    "net/generator": 6,
    "optimizer": 5,
    "optimizer/discriminator": 5,
    "optimizer/generator": 5,
    "penalty": 2,
}
FILES = {str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.rglob("*.yaml")}
CHOICES = sorted(name for name in FILES if "/" in name)


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
    facts = {"image_shape": (1, 32, 32)}
    assert build.generator(config["net"], facts)
    assert build.discriminator(config["net"], facts)
    assert build.loss(config["loss"])
    assert build.penalty(config["penalty"])
    assert build.optimizers(config["optimizer"])
    build._check_types(config["dataset"], build._target(config["dataset"], "dataset"), "dataset")
    if group == "experiment":
        assert config != _compose(), "no effect: is its '# @package _global_' missing?"


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
    assert build.penalty(config["penalty"]) == (None, 1)


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
    build.generator(_compose("net=conv")["net"], facts)
    assert not calls
    maxout = build.generator(_compose("net=maxout")["net"], facts)
    bias = [module for module in maxout.modules() if isinstance(module, torch.nn.Linear)][-1].bias
    assert torch.allclose(bias.sigmoid(), torch.tensor(0.25))
    assert len(calls) == 1
