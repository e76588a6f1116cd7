"""The recipes: what every choice comes to, and which file has the last word."""

import json
import re
from pathlib import Path

import pytest
import yaml
from helpers import CONFIGS
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from gan_cli.config import networks, parts
from gan_cli.config.defaults import settled
from gan_cli.config.explain import explain

NETS = sorted(path.stem for path in (CONFIGS / "net").glob("*.yaml"))
CHOICES = ["default"] + [
    f"{group}={path.stem}" for group in ("dataset", "experiment") for path in sorted((CONFIGS / group).glob("*.yaml"))
]
# What each choice comes to. The default stands whole. The others stand as their differences from the default: keys of
# other values, and under "absent" the default's keys that a choice does not have.
EXPECTED = json.loads((Path(__file__).parent / "recipes.json").read_text())

# Files of a user's own, one for each place that rates may come from: each sets rates, betas and a penalty.
OWN = {
    "net/bare": "defaults: [{generator: conv}, {discriminator: conv}]\nz_dim: 2\nprior: normal\n",
    "net/own": """
        defaults: [conv, override /penalty@_global_.penalty: r2]
        recipe: {lr: {generator: 0.1, discriminator: 0.2}, betas: [0.1, 0.91]}
        """,
    "dataset/own": """
        # @package _global_
        defaults: [override /net: own, override /penalty: r1r2]
        dataset: {_target_: gan_cli.data.toys.ring8, n: 10}
        optimizer: {lr: {generator: 0.3, discriminator: 0.4}, betas: [0.3, 0.93]}
        """,
    "experiment/own": """
        # @package _global_
        defaults: [override /dataset: own, override /penalty: lecam]
        optimizer: {lr: 0.5, betas: [0.5, 0.95]}
        """,
    "experiment/silent": """
        # @package _global_
        defaults: [override /dataset: own]
        optimizer: {lr: null, betas: null}
        """,
    "experiment/both": """
        # @package _global_
        defaults: [override /dataset: own]
        optimizer: {lr: {generator: 0.6, discriminator: 0.7}}
        """,
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The override by which Hydra finds the files of :data:`OWN`."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in OWN.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(line.removeprefix(8 * " ") for line in text.strip("\n ").splitlines()) + "\n")
    return f"hydra.searchpath=['file://{folder}']"


def _compose(*overrides):
    with initialize_config_module("gan_cli.configs", version_base="1.3"):
        return OmegaConf.to_container(compose("train", list(overrides)), resolve=True)


def _flat(node, prefix=""):
    """``{"a": {"b": 1}}`` -> ``{"a.b": 1}``."""
    pairs = {}
    for name, value in node.items():
        pairs |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return pairs


def _rates(config):
    """The rates of G and D, and the betas, which must be the same for both."""
    generator, discriminator = config["optimizer"]["generator"], config["optimizer"]["discriminator"]
    assert generator.get("betas") == discriminator.get("betas")
    return generator["lr"], discriminator["lr"], generator.get("betas")


def _penalty(config):
    return str(config["penalty"]["_target_"]).removeprefix("gan_cli.penalties.")


def test_every_choice_has_its_values_written_down():
    assert sorted(EXPECTED) == sorted(CHOICES)


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_comes_to_the_values_written_down(choice):
    config = settled(_compose(*([] if choice == "default" else [choice])))
    del config["run_dir"]
    game, schedule = config.pop("game"), config.pop("schedule")  # keys that came later
    assert list(config.pop("sinks")) == ["tensorboard"]
    assert (config.pop("deterministic"), config.pop("own_metrics")) == (False, {})
    own = dict(EXPECTED[choice])
    assert game == own.pop("game", {"_target_": "gan_cli.training.games.Adversarial"})
    assert {name: value for name, value in schedule.items() if value is not None} == own.pop("schedule", {})
    absent = own.pop("absent", [])
    expected = {name: value for name, value in (EXPECTED["default"] | own).items() if name not in absent}
    assert _flat(config) == expected


RECIPES = {
    "conv": (0.006, 0.002, [0.0, 0.99], "r1"),
    "cs231n": (0.001, 0.001, [0.5, 0.999], "None"),
    "cs231n_dc": (0.001, 0.001, [0.5, 0.999], "None"),
    "dann": (0.001, 0.001, [0.5, 0.999], "None"),
    "dcgan": (0.0002, 0.0002, [0.5, 0.999], "None"),
    "maxout": (0.1, 0.1, None, "None"),
    "mlp": (0.0002, 0.0002, [0.5, 0.999], "None"),
    "pictures": (0.003, 0.0015, [0.0, 0.9], "r1r2"),
    "r3gan": (0.003, 0.003, [0.0, 0.99], "r1r2"),
    "resnet": (0.0002, 0.0002, [0.0, 0.9], "r1"),
    "resnet_translator": (0.0002, 0.0002, [0.5, 0.999], "None"),
    "sngan": (0.0002, 0.0002, [0.0, 0.9], "None"),
    "stylegan2": (0.0025, 0.0025, [0.0, 0.99], "r1"),
    "toy": (0.0005, 0.003, [0.0, 0.99], "r1"),
    "unet": (0.0002, 0.0002, [0.5, 0.999], "None"),
    "waves": (0.002, 0.002, [0.5, 0.99], "r1"),
}


def test_every_network_has_a_recipe():
    assert sorted(RECIPES) == NETS


@pytest.mark.parametrize("net", NETS)
def test_a_network_brings_its_rates_and_its_penalty(net):
    *rates, penalty = RECIPES[net]
    config = _compose(f"net={net}")
    assert (_rates(config), _penalty(config)) == (tuple(rates), penalty)
    if net != "maxout":
        assert _rates(_compose(f"net={net}", "optimizer=adamw")) == tuple(rates)


def test_a_folder_has_the_network_for_pictures_unless_another_is_named():
    for overrides, family, loss in (
        ([], "pictures", "relativistic"), (["loss=hinge"], "pictures", "hinge"),
        (["net=conv"], "conv", "nonsaturating"), (["experiment=fastest_mnist"], "conv", "nonsaturating"),
    ):  # fmt: skip
        config = _compose("dataset=folder", "dataset.root=x", *overrides)
        assert config["net"]["generator"]["_target_"] == f"gan_cli.networks.{family}.Generator"
        assert config["loss"]["_target_"] == f"gan_cli.losses.{loss}"


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.1), ("annealed_sgd", 0.1), ("rmsprop", 0.00005)])
@pytest.mark.parametrize("net", ["conv", "dcgan", "maxout"])
def test_another_optimizer_than_adam_keeps_its_own_rate(net, optimizer, lr):
    assert _rates(_compose(f"net={net}", f"optimizer={optimizer}")) == (lr, lr, None)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_is_plain_where_no_recipe_says_otherwise(own, optimizer):
    for overrides in (["net=conv", "net.recipe=null"], ["net=maxout"], [own, "net=bare"]):
        assert _rates(_compose(*overrides, f"optimizer={optimizer}")) == (0.0002, 0.0002, [0.5, 0.999])


def test_each_network_may_have_an_optimizer_of_its_own():
    optimizer = _compose("net=conv", "optimizer/generator=sgd")["optimizer"]
    assert (optimizer["generator"]["lr"], optimizer["discriminator"]["lr"]) == (0.1, 0.002)
    optimizer = _compose("net=conv", "optimizer/discriminator=adamw")["optimizer"]
    assert (optimizer["generator"]["lr"], optimizer["discriminator"]["lr"]) == (0.006, 0.002)


@pytest.mark.parametrize(
    ("overrides", "rates", "penalty"),
    [
        (["net=bare"], (0.0002, 0.0002, [0.5, 0.999]), "r1"),  # the groups
        (["net=own"], (0.1, 0.2, [0.1, 0.91]), "r2"),  # the network before the groups
        (["dataset=own"], (0.3, 0.4, [0.3, 0.93]), "r1r2"),  # the dataset before the network
        (["dataset=own", "net=conv"], (0.3, 0.4, [0.3, 0.93]), "r1r2"),  # whichever network that is
        (["experiment=own"], (0.5, 0.5, [0.5, 0.95]), "LeCam"),  # the experiment before the dataset
        (["experiment=both"], (0.6, 0.7, [0.3, 0.93]), "r1r2"),
        (["experiment=silent"], (0.1, 0.2, [0.1, 0.91]), "r1r2"),  # null takes back what the dataset says
        (
            ["experiment=own", "optimizer.lr=0.8", "optimizer.betas=[0.8,0.98]", "penalty=dragan"],
            (0.8, 0.8, [0.8, 0.98]),
            "dragan",
        ),  # the command line before all of them
        (["dataset=own", "optimizer.lr=0.8"], (0.8, 0.8, [0.3, 0.93]), "r1r2"),
        (["experiment=both", "optimizer.lr={generator:0.8,discriminator:0.9}"], (0.8, 0.9, [0.3, 0.93]), "r1r2"),
        (["experiment=both", "optimizer.lr=null", "optimizer.betas=null"], (0.1, 0.2, [0.1, 0.91]), "r1r2"),
        (["experiment=own", "optimizer.generator.lr=0.8"], (0.8, 0.5, [0.5, 0.95]), "LeCam"),
        (["experiment=own", "optimizer.lr=0.7", "optimizer.generator.lr=0.8"], (0.8, 0.7, [0.5, 0.95]), "LeCam"),
    ],
)
def test_the_last_word(own, overrides, rates, penalty):
    config = _compose(own, *overrides)
    assert (_rates(config), _penalty(config)) == (rates, penalty)


@pytest.mark.parametrize("choice", CHOICES[1:])
def test_the_command_line_beats_every_choice(choice):
    config = _compose(choice, "optimizer.lr=0.125", "optimizer.betas=[0.25,0.75]", "penalty=dragan")
    generator_lr, discriminator_lr, betas = _rates(config)
    assert (generator_lr, discriminator_lr) == (0.125, 0.125)
    assert betas == (None if "betas" not in config["optimizer"]["generator"] else [0.25, 0.75])
    assert _penalty(config) == "dragan"


def test_no_file_sets_the_rates_where_the_shorthand_does_not_reach():
    for path in [
        *(CONFIGS / "dataset").glob("*.yaml"),
        *(CONFIGS / "experiment").glob("*.yaml"),
        *CONFIGS.glob("*.yaml"),
    ]:
        optimizer = yaml.safe_load(path.read_text()).get("optimizer", {})
        assert set(optimizer) <= {"lr", "betas"}, path
        assert isinstance(optimizer.get("betas", []), list), f"{path}: no list on the command line replaces a mapping"


@pytest.mark.parametrize("optimizer", ["sgd", "annealed_sgd", "rmsprop"])
def test_the_betas_of_a_dataset_or_an_experiment_are_no_mistake_under_another_optimizer(own, optimizer):
    for choice in ("dataset=own", "experiment=own", "experiment=dcgan_mnist", "dataset=ring8"):
        assert parts.optimizers(_compose(own, choice, f"optimizer={optimizer}")["optimizer"])


def test_betas_may_be_whole_numbers():
    config = settled(_compose("optimizer.betas=[0,0.9]"))
    assert parts.optimizers(config["optimizer"]).keys() == {"generator", "discriminator"}
    assert str(config["optimizer"]["generator"]["betas"]) == "[0.0, 0.9]"


@pytest.mark.parametrize("value", ["{generator:0.1}", "{generatr:0.1,discriminator:0.1}", "{}"])
def test_rates_of_one_network_alone_get_one_line(value):
    with pytest.raises(InterpolationResolutionError) as caught:
        _compose(f"optimizer.lr={value}")
    line = explain(caught.value, "train")
    assert "optimizer.lr should be one for both networks" in line and "optimizer.generator.lr=" in line


HEAD = re.compile(
    r"^# Parameters (?:at (grey|colour) (\d+)x(\d+)|(on the line|in the plane)): G ([\d,]+), D ([\d,]+)\.$"
)
CHANNELS = {"grey": 1, "colour": 3}


@pytest.mark.parametrize("net", NETS)
def test_a_network_s_head_says_what_it_is_what_it_costs_and_where_its_recipe_is_from(net):
    lines = (CONFIGS / f"net/{net}.yaml").read_text().splitlines()
    head = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    assert any(line.startswith(("# Images: ", "# Points: ")) for line in head)
    assert any(line.startswith("# Recipe: ") for line in head)
    counts = [match.groups() for line in head if (match := HEAD.match(line))]
    assert counts
    for kind, height, width, points, *expected in counts:
        config = _compose(f"net={net}", *(["dataset=gaussian1d"] if points == "on the line" else []))["net"]
        shape = (CHANNELS[kind], int(height), int(width)) if kind else (1,) if points == "on the line" else (2,)
        facts = {"image_shape": shape}
        if (does := networks.does(config)) != "draws":
            classes = {"classes": 10} if does == "classifies" else {}
            facts |= {"source_channels": shape[0], "condition_channels": 0, **classes}
        for build_one, count in zip((networks.generator, networks.discriminator), expected, strict=True):
            network = build_one(config, facts)
            assert f"{sum(parameter.numel() for parameter in network.parameters()):,}" == count
