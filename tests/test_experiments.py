"""Every shipped experiment trains for a few steps, from its YAML to its pictures."""

import pytest
import torch
from helpers import CONFIGS
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from PIL import Image

from gan_cli import load_generator
from gan_cli.commands import train

EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of 20 colour images in two subfolders."""
    root = tmp_path_factory.mktemp("pictures")
    for i in range(20):
        path = root / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (70, 66), (12 * i, 255 - 12 * i, 100)).save(path)
    return root


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_trains_for_two_steps_and_is_sampled_from(name, pictures, tmp_path):
    with initialize_config_module("gan_cli.configs", version_base="1.3"):
        config = OmegaConf.to_container(compose("train", [f"experiment={name}"]), resolve=True)
    config |= {"steps": 2, "batch_size": 4, "samples": 4, "log_every": 1, "eval_every": None, "device": "cpu"}
    if "root" in config["dataset"] and config["dataset"]["_target_"].endswith("folder"):
        config["dataset"] |= {"root": str(pictures)}
    if "pairs" in config["dataset"]["_target_"]:
        places = {"root": str(pictures)} if config["dataset"].get("make") else {"a": str(pictures), "b": str(pictures)}
        config["dataset"] |= {**places, "size": 32, "load_size": config["dataset"]["load_size"] and 36, "holdout": 0.3}
        for part in ("generator", "discriminator"):
            config["net"][part]["width"] = 4
        config["net"]["discriminator"]["n_layers"] = 2
    if name in ("r3gan_cifar10", "r3gan_ffhq64"):  # the published widths are for GPUs: test_schedule.py counts them
        for part in ("generator", "discriminator"):
            config["net"][part] |= {"width": 16, "max_width": 16, "blocks": 1}
    if "cifar" in config["dataset"]["_target_"]:  # in its place a folder with classes, of its size
        config["dataset"] = {"_target_": "gan_cli.data.folder.folder", "root": str(pictures), "size": 32, "channels": 3}
    if "stacked" in config["dataset"]["_target_"]:
        config["dataset"] |= {"n": 64}
    outcome = train.run(config, [], tmp_path)
    assert outcome.step == 2
    assert all(torch.isfinite(torch.tensor(value)) for value in outcome.metrics.values())
    assert {path.name for path in (tmp_path / "samples").iterdir()} >= {"00000000.png", "00000002.png"}
    assert load_generator(tmp_path)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_s_header_names_its_command_what_to_expect_and_its_source(name):
    header = [line for line in (CONFIGS / f"experiment/{name}.yaml").read_text().splitlines() if line.startswith("#")]
    assert header[0] == "# @package _global_"
    assert any(line.startswith(f"#   gan-train experiment={name}") for line in header)
    assert any("Expected: " in line or "expectations" in line for line in header)
    assert any(line.startswith("# Source: ") for line in header)
