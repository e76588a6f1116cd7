"""What users and other tools rely on by name: a change here is a change for them, and belongs in the changelog."""

import dataclasses
import inspect

import gan_cli
from gan_cli.config import schema
from gan_cli.data import Dataset, Points


def test_the_keys_of_the_commands():
    names = {command: [f.name for f in dataclasses.fields(node)] for command, node in schema.COMMANDS.items()}
    assert names == {
        "train": [
            "dataset",
            "game",
            "net",
            "loss",
            "penalty",
            "augment",
            "optimizer",
            "sinks",
            "own_metrics",
            "cluster",
            "conditional",
            "k",
            "update",
            "steps",
            "max_seconds",
            "batch_size",
            "accumulate",
            "lr_decay_after",
            "schedule",
            "seed",
            "device",
            "precision",
            "deterministic",
            "compile",
            "graphs",
            "threads",
            "ema",
            "log_every",
            "sample_every",
            "checkpoint_every",
            "samples",
            "keep",
            "eval_every",
            "on_nonfinite",
            "on_write_error",
            "on_collapse",
            "run_dir",
            "resume",
            "init",
            "freeze_d",
            "trust",
            "plan",
        ],
        "sample": [
            "ckpt",
            "n",
            "out",
            "figure",
            "scale",
            "latents",
            "frames",
            "seed",
            "weights",
            "batch_size",
            "truncation",
            "labels",
            "device",
            "root",
            "trust",
        ],
        "translate": [
            "ckpt",
            "input",
            "out",
            "size",
            "mode",
            "figure",
            "n",
            "backward",
            "weights",
            "seed",
            "device",
            "root",
            "trust",
        ],
        "eval": [
            "ckpt",
            "real",
            "fake",
            "metrics",
            "own_metrics",
            "n",
            "seed",
            "weights",
            "batch_size",
            "extractor",
            "device",
            "root",
            "trust",
        ],
        "project": [
            "ckpt",
            "input",
            "out",
            "n",
            "space",
            "starts",
            "steps",
            "seed",
            "weights",
            "device",
            "root",
            "trust",
        ],
        "report": ["run", "out", "watch"],
        "doctor": ["run", "json"],
        "export": ["ckpt", "out", "weights", "dtype", "opset", "licence", "backward", "trust"],
    }


def test_the_verbs_and_their_keywords():
    assert sorted(gan_cli.__all__) == [
        "Average", "Compute", "Noise", "Penalty", "Plan", "evaluate", "load_generator", "sample", "train",
    ]  # fmt: skip
    parameters = {name: inspect.signature(getattr(gan_cli, name)).parameters for name in gan_cli.__all__}
    needed = {name: [p.name for p in of.values() if p.default is p.empty] for name, of in parameters.items()}
    assert needed["train"] == ["generator", "discriminator", "dataset", "run_dir", "plan"]
    assert needed["load_generator"] == needed["sample"] == needed["evaluate"] == ["ckpt"]
    assert list(parameters["train"]) == [
        "generator", "discriminator", "dataset", "loss", "optimizer_g", "optimizer_d", "run_dir", "plan", "k", "update",
        "batch_size", "accumulate", "noise", "penalty", "augment", "conditional", "average", "compute", "seed",
        "samples", "game", "draw", "evaluate", "sinks", "resume",
    ]  # fmt: skip
    assert list(parameters["Plan"]) == [
        "steps", "max_seconds", "lr_decay_after", "schedule", "log_every", "sample_every", "checkpoint_every",
        "eval_every", "keep", "on_nonfinite", "on_write_error", "on_collapse",
    ]  # fmt: skip
    assert [list(parameters[name]) for name in ("Noise", "Penalty", "Average", "Compute")] == [
        ["prior", "z_dim"], ["function", "interval", "clip", "precision"],
        ["half_life", "ramp"], ["device", "bf16", "compile", "dtype", "graphs"],
    ]  # fmt: skip
    fields = [f.name for f in dataclasses.fields(Dataset)]
    assert fields == [
        "images", "labels", "class_names", "description", "fingerprint", "attributes", "licence",
    ]  # fmt: skip
    assert [f.name for f in dataclasses.fields(Points)] == ["points", "mixture"]
