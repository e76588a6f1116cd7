"""What users and other tools rely on by name: a change here is a change for them, and belongs in the changelog."""

import dataclasses
import inspect

from gan_cli import loop, schema
from gan_cli.data import Dataset, Points


def test_the_keys_of_the_commands():
    names = {command: [f.name for f in dataclasses.fields(node)] for command, node in schema.COMMANDS.items()}
    assert names == {
        "train": [
            "dataset",
            "net",
            "loss",
            "penalty",
            "augment",
            "optimizer",
            "conditional",
            "k",
            "update",
            "steps",
            "max_seconds",
            "batch_size",
            "lr_decay_after",
            "seed",
            "device",
            "precision",
            "compile",
            "ema",
            "log_every",
            "sample_every",
            "checkpoint_every",
            "samples",
            "keep",
            "eval_every",
            "on_nonfinite",
            "on_write_error",
            "run_dir",
            "resume",
            "trust",
        ],
        "sample": ["ckpt", "n", "out", "figure", "seed", "weights", "batch_size", "labels", "device", "root", "trust"],
        "eval": ["ckpt", "metrics", "n", "seed", "weights", "batch_size", "device", "root", "trust"],
    }


def test_the_loop_can_be_called_from_python_by_these_names():
    parameters = inspect.signature(loop.train).parameters
    needed = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    assert needed == [
        "generator",
        "discriminator",
        "dataset",
        "loss",
        "make_optimizer_g",
        "make_optimizer_d",
        "run_dir",
        "steps",
    ]
    assert [f.name for f in dataclasses.fields(Dataset)] == ["images", "labels", "class_names"]
    assert [f.name for f in dataclasses.fields(Points)] == ["points", "mixture"]
