"""Pictures of a generator's latents: along directions, styles of two latents mixed, truncated, on closed paths."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from gan_cli.directions import Directions
from gan_cli.latents import Latents, Mapped, Mixing, Styled, Synthesis
from gan_cli.noise import closed_cubic, closed_path
from gan_cli.pictures.figures import write_panels
from gan_cli.sampling import generate

ROWS, REACH, STEPS = 8, 3, 7  # directions in a figure; how far they go, in deviations, and in how many steps
PSIS = (0.0, 0.25, 0.5, 0.75, 1.0)  # the rows of figure=truncation


def images(generator: nn.Module, latents: Tensor, labels: Tensor | None = None) -> Tensor:
    """The images of ``latents`` ``[..., D]``, uint8 ``[..., C, H, W]``; ``labels`` ``[...]`` are one for each."""
    flat = None if labels is None else labels.flatten()
    made = torch.cat(list(generate(generator, latents.flatten(0, -2), labels=flat)))
    return made.unflatten(0, latents.shape[:-1])


def write_directions(generator: nn.Module, given: Latents, directions: Directions, path: Path) -> None:
    """Write a PNG with a panel for each latent ``given``: a row for each direction, from minus to plus.

    The middle column is the latent itself. Latents z are mapped to w for directions of w.
    """
    latents = given.in_w(generator) if directions.space == "w" else given
    steps = torch.linspace(-REACH, REACH, STEPS)
    moved = directions.along(latents.values, steps)[:, :ROWS]
    labels = latents.given_labels
    of_all = None if labels is None else labels[:, None, None].expand(moved.shape[:-1])
    panels = [("", part) for part in images(latents.network(generator), moved, of_all)]
    title = f"directions of {directions.space} by {directions.method}, in standard deviations"
    columns = [f"{step:+.0f}" if step else "0" for step in steps.tolist()]
    write_panels(panels, columns, title, path, [str(i + 1) for i in range(moved.shape[1])])


def write_truncation(draw: Callable[[float], Tensor], path: Path) -> None:
    """Write a PNG with a row for each psi of :data:`PSIS`. ``draw`` gives the images of a psi, uint8 ``[N, C, H, W]``.

    Each column has one latent.
    """
    rows = torch.stack([draw(psi) for psi in PSIS])
    names = [f"{psi:g}" for psi in PSIS]
    write_panels([("", rows)], [""] * rows.shape[1], "the same latents, each row truncated by psi", path, names)


def write_mixing(generator: nn.Module, of_rows: Tensor, of_columns: Tensor, path: Path) -> None:
    """Write PNG panels of style mixing (Karras et al. 2019, figure 3), one for each size but the last.

    A panel's images have the styles of the row's w up to that size, and those of the column's w from there on. The
    images of ``of_rows`` ``[R, D]`` stand at the left, those of ``of_columns`` ``[C, D]`` above; both are w.
    """
    assert isinstance(generator, Styled)
    left, above = (images(Synthesis(generator), w) for w in (of_rows, of_columns))
    both = torch.cat(torch.broadcast_tensors(of_rows[:, None], of_columns[None]), dim=-1)
    top = torch.cat([torch.full_like(above[:1], 255), above])[None]
    panels = []
    for (height, width), layer in generator.first_layers.items():
        body = torch.cat([left[:, None], images(Mixing(generator, layer), both)], dim=1)
        panels.append((f"up to {height}x{width} as at the left", torch.cat([top, body])))
    write_panels(panels, [""] * top.shape[1], "styles of two latents mixed; later layers as above", path)


def loop(
    generator: nn.Module, corners: Latents, steps: int, prior: str, classes: Sequence[int], batch_size: int
) -> Iterator[Tensor]:
    """The frames of a closed path through K ``corners`` in z: K * ``steps`` blocks, uint8 ``[P, C, H, W]``.

    The path follows great circles or, for a uniform ``prior``, lines. A frame has one image. For a conditional
    generator it has one image for each of the ``classes``, of the same latent.
    """
    path = closed_path(corners.values, steps, prior)[:, None].expand(-1, max(1, len(classes)), -1)
    return _frames(generator, path, batch_size, torch.tensor(classes) if classes else None)


def walk(
    generator: nn.Module, corners: Latents, steps: int, prior: str, classes: Sequence[int], batch_size: int
) -> Iterator[Tensor]:
    """The frames of :func:`loop`, in w where the generator is :class:`Mapped`: along a smooth path through the w."""
    if not isinstance(generator, Mapped):
        return loop(generator, corners, steps, prior, classes, batch_size)
    n, alike = len(corners.values), [None] if corners.space == "w" or not classes else classes
    labels = [None if one is None else torch.full((n,), one) for one in alike]
    w = torch.stack([corners._replace(labels=of).in_w(generator).values for of in labels], dim=1)
    return _frames(Synthesis(generator), closed_cubic(w, steps), batch_size, None)


def _frames(generator: nn.Module, path: Tensor, batch_size: int, labels: Tensor | None) -> Iterator[Tensor]:
    """The images along ``path`` ``[T, P, D]``: T blocks, uint8 ``[P, C, H, W]``; ``labels`` ``[P]``."""
    of_all = None if labels is None else labels.repeat(len(path))
    blocks = generate(generator, path.flatten(0, 1), batch_size, labels=of_all)
    singly = (image for block in blocks for image in block)
    for _ in range(len(path)):
        yield torch.stack(list(islice(singly, path.shape[1])))
