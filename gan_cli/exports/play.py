"""The generator in one page of HTML, which draws in any browser, from a file, without a connection."""

import base64
import copy
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.special import ndtr

from gan_cli import __version__
from gan_cli.directions import Directions
from gan_cli.exports import program, subject
from gan_cli.exports.graph import SMALL, Graph, graph_of
from gan_cli.exports.program import Checked
from gan_cli.latents import Mapped
from gan_cli.noise import Noise, threshold
from gan_cli.reports import page

DIRECTIONS = 8  # with a slider each
STEPS = 20  # of the slider of psi, from 0 to 1
KINDS = {torch.float32: "f4", torch.float16: "f2"}


def graph(generator: nn.Module, noise: Noise, classes: int, dtype: torch.dtype) -> tuple[Graph, list[Checked]]:
    """The graph of ``generator`` for the page, its weights as ``dtype``; and what these weights change, in torch.

    UserError if they change too much, or if the page lacks an operator of the generator.
    """
    whole = subject.drawing(generator, noise, classes)
    rounded = dataclasses.replace(whole, network=_rounded(whole.network, dtype))
    found = program.check(whole, lambda inputs: rounded.network(*inputs.values()), dtype)
    drawn = subject.drawing(generator, noise, classes, of_w=("truncation", "moves"))
    one = {name: value[:1] if value.dim() else value for name, value in drawn.inputs.items()}
    traced = program.traced(dataclasses.replace(drawn, inputs=one, dynamic={}))
    return graph_of(traced, list(one), dtype), found


def _rounded(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """``network`` with weights that went through ``dtype``, as far as the graph stores them so."""
    rounded = copy.deepcopy(network)
    for values in (*rounded.parameters(), *rounded.buffers()):
        if values.numel() > SMALL and values.is_floating_point():
            values.data = values.data.to(dtype).float()
    return rounded


def rendered(
    found: Graph, generator: nn.Module, noise: Noise, image_shape: Sequence[int], class_names: Sequence[str],
    directions: Directions, facts: Mapping[str, str],
) -> bytes:  # fmt: skip
    """The page of a graph. ``facts`` are its ``name``, what it is ``about``, and what it was ``trained_on``."""
    data: dict[str, Any] = {
        "graph": {
            "inputs": found.inputs, "nodes": found.nodes,
            "constants": [[list(value.shape), KINDS[value.dtype]] for value in found.constants],
        },
        "image_shape": list(image_shape), "z_dim": noise.z_dim, "prior": noise.prior, "classes": list(class_names),
        "mapped": isinstance(generator, Mapped), "outside": [_outside(step / STEPS) for step in range(STEPS + 1)],
        "directions": _directions(directions),
    }  # fmt: skip
    weights = base64.b64encode(b"".join(value.contiguous().numpy().tobytes() for value in found.constants)).decode()
    text = page.rendered(
        "play.html", data, page.PLAY, weights=weights, made=time.strftime("%Y-%m-%d"),
        made_by=f"gan-cli {__version__}", **facts,
    )  # fmt: skip
    return text.encode()


def _outside(psi: float) -> float:
    """The probability below the cut of a normal distribution that is truncated to the deviation ``psi``."""
    if psi in (0, 1):
        return 0.5 * (1 - psi)
    return float(ndtr(torch.tensor(-threshold(psi), dtype=torch.float64)))


def _directions(found: Directions) -> dict[str, Any]:
    def short(values: Tensor) -> Any:
        return [[round(x, 5) for x in row] for row in values.tolist()]

    some = slice(DIRECTIONS)
    return {
        "vectors": short(found.vectors[some]), "deviations": short(found.deviations[None, some])[0],
        "space": found.space, "method": found.method,
    }  # fmt: skip
