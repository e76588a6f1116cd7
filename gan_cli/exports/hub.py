"""A generator as a folder in the form of a repository of the Hugging Face Hub: weights, configuration, model card."""

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
import yaml
from torch import Tensor, nn

from gan_cli import __version__
from gan_cli.errors import printable
from gan_cli.exports.subject import Inputs

WEIGHTS, CONFIG, CARD, GRID = "model.safetensors", "config.json", "README.md", "samples.png"


@dataclass(frozen=True)
class Model:
    """What the folder tells. ``config`` is ``config.json``: the path of the ``network``'s class, its ``arguments`` and
    more. ``usage`` are lines that call the ``generator``, and ``imported`` the imports that they need. ``scores`` are
    rows of ``eval.json`` for these weights.
    """

    name: str
    config: Mapping[str, Any]
    usage: Sequence[str]
    imported: Sequence[str]
    licence: str
    data: str
    trained_by: str | None
    scores: Sequence[Mapping[str, Any]]
    pictured: bool


def weights(generator: nn.Module, dtype: torch.dtype) -> bytes:
    """``model.safetensors``: the weights and buffers of ``generator``, named as in the module; numbers as ``dtype``."""
    values = {name: value.to(dtype if value.is_floating_point() else value.dtype).contiguous()
              for name, value in generator.state_dict().items()}  # fmt: skip
    return safetensors.torch.save(values)


def loaded(content: bytes, config: bytes) -> Callable[[Inputs], Tensor]:
    """The generator of such a folder, built as the card says, by the names of its inputs, truncation left aside."""
    known = json.loads(config)
    module, name = known["network"].rsplit(".", 1)
    generator = getattr(importlib.import_module(module), name)(**known["arguments"]).eval()
    generator.load_state_dict(safetensors.torch.load(content))
    return lambda inputs: generator(*inputs.values())


def card(model: Model) -> str:
    """``README.md``: a head for the Hub, the picture, the lines of use, the data, the scores with their origin."""
    translates = "source_channels" in model.config["arguments"]
    head = {
        "license": model.licence,
        "library_name": "gan-cli",
        "pipeline_tag": "image-to-image" if translates else "unconditional-image-generation",
        "model_name": model.name,
        "tags": ["gan", model.config["network"].split(".")[-2]],
        **({"metrics": [str(row["name"]) for row in model.scores]} if model.scores else {}),
    }
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n# {printable(model.name)}",
        f"The generator of a GAN, trained by gan-cli {__version__} for {model.config['step']:,} steps. "
        f"`{WEIGHTS}` holds {'its averaged weights' if model.config['weights'] == 'ema' else 'its last weights'} and "
        f"`{CONFIG}` its class and arguments.",
        *([f"![Samples]({GRID})"] if model.pictured else []),
        "## Use\n\nInstall gan-cli, and run these lines beside the files:\n\n```python\n"
        + "\n".join(_usage(model))
        + "\n```",
        f"## Data\n\n{printable(model.data)}",
        f"## Scores\n\n{_scores(model.scores)}",
        *([f"## Training\n\n```sh\n{printable(model.trained_by)}\n```"] if model.trained_by else []),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _usage(model: Model) -> list[str]:
    module, name = model.config["network"].rsplit(".", 1)
    return [
        "import json", "from pathlib import Path", "", "import torch", "from safetensors.torch import load_file", "",
        f"from {module} import {name}", *model.imported, "", f'config = json.loads(Path("{CONFIG}").read_text())',
        f'generator = {name}(**config["arguments"]).eval()', f'generator.load_state_dict(load_file("{WEIGHTS}"))',
        *model.usage,
    ]  # fmt: skip


def _scores(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "None were measured with these weights."
    lines = ["| metric | value | real data | measured with |", "|---|---|---|---|"]
    for row in rows:
        error = "" if row["error"] is None else f" ± {row['error']:.2g}"
        real = "-" if row["real_data"] is None else f"{row['real_data']:.4g}"
        origin = [
            row["extractor"],
            row["split"] and f"{row['split']} data",
            row["n_fake"] and f"{row['n_fake']:,} samples",
        ]
        told = printable(", ".join(str(part) for part in origin if part)).replace("|", "/")
        lines.append(f"| {printable(row['name']).replace('|', '/')} | {row['value']:.4g}{error} | {real} | {told} |")
    return "\n".join([*lines, "", "Measured by gan-eval; its `eval.json` has seeds and checksums."])
