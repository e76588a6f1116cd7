"""What is exported: a generator as a function of tensors, with examples of its inputs and an independent reference."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gan_cli import sampling
from gan_cli.latents import Mapped
from gan_cli.noise import Noise
from gan_cli.translating import as_in_training

BATCHES = (1, 3, 64)  # at which each export is compared with torch
PSI = 0.7  # of the comparisons
PIXELS = 2**21  # most pixels of a batch of images in a comparison

Inputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Subject:
    """A generator to export.

    ``network`` is a module in eval mode whose arguments are ``inputs``, in this order: examples of a batch of 2.
    ``dynamic`` names the axes of each input that may have any size, ``{"latents": {0: "batch"}}``. ``reference``
    computes the output for given inputs in float32, by the code that the other commands use. ``trials`` are the inputs
    to compare for. ``output`` is the output's name, and ``notes`` are lines for the user.
    """

    network: nn.Module
    inputs: Inputs
    dynamic: Mapping[str, Mapping[int, str]]
    reference: Callable[[Inputs], Tensor]
    trials: Callable[[], Iterator[Inputs]]
    output: str = "images"
    notes: Sequence[str] = ()


class Drawing(nn.Module):
    """Latents ``[N, z_dim]``, labels ``[N]`` and psi ``[]``, as far as ``generator`` takes them -> images or points.

    The inputs and the output are float32; the labels are int64. ``centre`` is the mean w of a :class:`Mapped`
    generator. Such a generator also takes psi, ``centre + psi (w - centre)`` (Karras et al. 2019, appendix B). With
    ``moves`` there is a last input, ``[N, w_dim]``, which is added to w.
    """

    centre: Tensor

    def __init__(self, generator: nn.Module, labelled: bool, centre: Tensor | None = None, moves: bool = False) -> None:
        super().__init__()
        self.generator, self.labelled, self.moves = generator, labelled, moves
        self.truncated = centre is not None
        if centre is not None:
            self.register_buffer("centre", centre)

    def forward(self, latents: Tensor, *given: Tensor) -> Tensor:
        rest = [*given]
        labels = [rest.pop(0)] if self.labelled else []
        z = latents.to(next(self.generator.parameters()).dtype)
        if not self.truncated:
            return self.generator(z, *labels).float()
        assert isinstance(self.generator, Mapped)
        w = self.centre + rest.pop(0).to(z.dtype) * (self.generator.mapped(z, *labels) - self.centre)
        return self.generator.synthesise(w + rest.pop(0) if self.moves else w).float()


class Translating(nn.Module):
    """Images ``[N, Cs, H, W]`` in [-1, 1] -> images ``[N, C, H, W]``, each by itself, without dropout; in float32."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: Tensor) -> Tensor:
        return self.generator(images.to(next(self.generator.parameters()).dtype)).float()


def drawing(
    generator: nn.Module, noise: Noise, classes: int, points: bool = False, of_w: Sequence[str] = ("truncation",)
) -> Subject:
    """The subject of a ``generator`` that draws from ``noise``. ``of_w`` are the inputs of :class:`Drawing` beside
    latents and labels, for a generator that has a w: ``truncation``, and after it ``moves``.
    """
    of_w = of_w if isinstance(generator, Mapped) else ()
    centre = _centre(generator, noise, classes) if of_w else None
    network, alone = copy.deepcopy(generator), copy.deepcopy(generator)  # the reference is truncated
    names = ["latents", *(["labels"] if classes else []), *of_w]
    rows = [name for name in names if name != "truncation"]

    def inputs(n: int) -> dict[str, Tensor]:
        given = {
            "latents": sampling.latents(noise, n, seed=0), "labels": torch.arange(n) % max(1, classes),
            "truncation": torch.tensor(PSI), "moves": torch.zeros(n, noise.z_dim),
        }  # fmt: skip
        return {name: given[name] for name in names}

    return Subject(
        Drawing(network, bool(classes), centre, "moves" in names).eval(),
        inputs(2),
        {name: {0: "batch"} for name in rows},
        lambda given: _drawn(alone, given, noise, classes),
        lambda: map(inputs, BATCHES),
        "points" if points else "images",
    )


@torch.inference_mode()
def _drawn(generator: nn.Module, inputs: Inputs, noise: Noise, classes: int) -> Tensor:
    """The output of ``generator`` itself, truncated as gan-sample does."""
    if "truncation" in inputs:
        generator.truncate(float(inputs["truncation"]), *sampling.of_centre(noise, classes))  # type: ignore[operator]
    return generator(*(inputs[name] for name in ("latents", "labels") if name in inputs))


@torch.no_grad()
def _centre(generator: nn.Module, noise: Noise, classes: int) -> Tensor:
    """The mean w of ``generator``, around which it is truncated."""
    assert isinstance(generator, Mapped)
    return generator.mapped(*sampling.of_centre(noise, classes)).mean(dim=0)


def translating(generator: nn.Module, channels: int, sides: Sequence[int], mode: str) -> Subject:
    """The subject of a ``generator`` that translates images of ``channels`` and was trained at ``sides`` (H, W).

    With ``mode`` train_stats, batch normalisation goes by the statistics of each image, as in
    :func:`gan_cli.translating.translate`. Dropout is off: its noise is no function of the image.
    """
    height, width = sides
    network = copy.deepcopy(generator)
    most = max(2, min(BATCHES[-1], PIXELS // (height * width)))
    sizes = [(BATCHES[0], height, width), (BATCHES[1], 2 * height, width), (most, height, width)]
    dropped = any(isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p for layer in generator.modules())

    def inputs(n: int, height: int, width: int) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed(n)
        return {"images": torch.rand(n, channels, height, width, generator=rng) * 2 - 1}

    return Subject(
        Translating(_of_each_image(network) if mode == "train_stats" else network).eval(),
        inputs(2, height, width),
        {"images": {0: "batch", 2: "height", 3: "width"}},
        lambda given: _translated(generator, given["images"], mode),
        lambda: (inputs(*size) for size in sizes),
        "translations",
        ["dropout, which gan-translate keeps on in mode=train_stats, is off in the file"]
        if dropped and mode == "train_stats"
        else [],
    )


@torch.inference_mode()
def _translated(generator: nn.Module, images: Tensor, mode: str) -> Tensor:
    """The translations in ``mode``, one by one, without dropout."""
    with as_in_training(generator, mode == "train_stats"):
        for layer in generator.modules():
            if isinstance(layer, nn.modules.dropout._DropoutNd):
                layer.training = False
        return torch.cat([generator(image[None]) for image in images])


def _of_each_image(network: nn.Module) -> nn.Module:
    """``network``, whose batch normalisation goes by the statistics of each image: instance normalisation."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                alone = nn.InstanceNorm2d(layer.num_features, layer.eps, affine=layer.affine)
                alone.load_state_dict(layer.state_dict(), strict=False)
                setattr(parent, name, alone)
    return network
