"""The latents that a ``gan-sample`` line asks for: those of a seed, of several seeds, or of a file."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gan_cli import sampling
from gan_cli.config.saved import SavedRun
from gan_cli.config.schema import SampleConfig
from gan_cli.config.selection import seeds
from gan_cli.errors import UserError
from gan_cli.latents import Latents
from gan_cli.noise import threshold, truncated
from gan_cli.untrusted.npz import read_arrays

log = logging.getLogger(__name__)

FARTHEST = 1000.0  # no number of a latent is further from 0


@dataclass(frozen=True)
class Source:
    """Where the latents of a ``gan-sample`` line come from: its ``seed``, a list of seeds, or the file ``latents``.

    ``chosen`` are the classes that the line asks for; a file's own labels stand where it names none. ``mapped`` says
    that the generator has a mapping to w, where it is truncated. Else ``truncation`` is that of the prior.
    """

    saved: SavedRun
    config: Mapping[str, Any]
    chosen: list[int]
    mapped: bool

    def asked(self, n: int, whole_rows: bool = False) -> Latents:
        """The latents of all images that the line asks for, with their labels, class by class.

        One seed gives ``n`` latents, which the classes share, some more for ``whole_rows`` of classes. Of a file, or of
        a list of seeds, each class has all.
        """
        given = self.file
        self._tell_unused()
        if given is not None and (given.labels is not None or given.space == "w"):
            return given
        if given is None and isinstance(seeds(self.config["seed"]), int):
            labels = sampling.class_rows(self.chosen, n)[: None if whole_rows else n] if self.chosen else None
            return Latents(self._of_seeds(n if labels is None else len(labels)), labels)
        values = self._of_seeds(n) if given is None else given.values
        if not self.chosen:
            return Latents(values)
        every = sampling.class_rows(self.chosen, len(values) * len(self.chosen))
        return Latents(values.repeat(len(self.chosen), 1), every)

    def first(self, n: int, least: int = 1, space: str | None = None) -> Latents:
        """``n`` latents for a figure, with the classes in turn; fewer, down to ``least``, if no more are given.

        UserError if there are fewer, or if they are not of the ``space``.
        """
        given = self._checked_space(self.file or Latents(self._of_seeds(n)), space)
        if len(given.values) < least:
            raise UserError(
                f"figure={self.config['figure']} takes {least} latents here, and {len(given.values)} are given"
            )
        labels = given.labels
        if labels is None and self.chosen and given.space == "z":
            labels = torch.tensor(self.chosen).repeat(-(-n // len(self.chosen)))
        return Latents(given.values[:n], None if labels is None else labels[: len(given.values)][:n], given.space)

    def corners(self, space: str | None) -> Latents:
        """The latents that a loop leads through, without labels. UserError for fewer than two, or another ``space``."""
        found = self.file or Latents(self._of_seeds(self.config["latents"]))
        self._tell_unused()
        if len(found.values) < 2:
            raise UserError("a loop leads through two latents or more: give more seeds")
        return self._checked_space(found, space)._replace(labels=None)

    def name(self, i: int) -> str:
        """The name of image ``i`` in a folder: its number, or the seed that it alone has."""
        of = seeds(self.config["seed"])
        return f"{i:06d}" if self.file or isinstance(of, int) else f"seed{of[i % len(of)]:04d}"

    @property
    def by_class(self) -> bool:
        """Whether the latents that are :meth:`asked` for go class by class: those of a file with labels do not."""
        return self.file is None or self.file.labels is None

    @cached_property
    def file(self) -> Latents | None:
        """The latents in the file that ``latents`` names; None if it names none. UserError if the run has no such."""
        if isinstance(self.config["latents"], int):
            return None
        path = Path(os.path.expanduser(self.config["latents"]))
        if not path.is_file():  # to open a FIFO would block forever
            raise UserError(f"latents={path}: no such file; gan-sample out=FILE.npz writes one")
        try:
            found = _checked(read_arrays(path, ("z", "w", "labels")), self.saved)
        except ValueError as error:
            raise UserError(f"latents={path} {error}") from error
        if found.space == "w" and not self.mapped:
            raise UserError(f"latents={path} holds w, and this generator has z alone")
        if self.config["truncation"] != 1 and (found.space == "w" or not self.mapped):
            raise UserError("the latents of a file are drawn as they are: leave truncation= out")
        return found if self.config["labels"] is None else found._replace(labels=None)

    def _of_seeds(self, n: int) -> Tensor:
        """``n`` latents of the one seed, or a latent of each seed in a list."""
        of, noise = seeds(self.config["seed"]), self.saved.noise
        found = sampling.latents(noise, n, of) if isinstance(of, int) else sampling.latents_of(noise, of)
        return found if self.mapped else truncated(found, noise.prior, self.config["truncation"])

    def _checked_space(self, given: Latents, space: str | None) -> Latents:
        if space not in (None, given.space):
            raise UserError(f"figure={self.config['figure']} takes latents z, and the file of latents= holds w")
        return given

    def _tell_unused(self) -> None:
        """A line if the line asks for a number of images that a file or a list of seeds does not have."""
        of, asked = seeds(self.config["seed"]), self.config["n"]
        if self.file is not None and asked not in (SampleConfig.n, n := len(self.file.values)):
            log.warning("n=%s is not used: the number of latents in the file is %d", asked, n)
        elif self.file is None and not isinstance(of, int) and asked not in (SampleConfig.n, len(of)):
            log.warning("n=%s is not used: there is one image for each of %d seeds", asked, len(of))


def truncate(generator: nn.Module, source: Source, psi: float) -> None:
    """Truncate the w of ``generator`` towards their mean over 10,000 latents and, if it has classes, all of these.

    Without w it is the prior that is truncated, by ``source``, and a line says how.
    """
    if not source.mapped:
        if source.file is not None:  # it refuses truncation itself
            return
        if psi > 1:
            raise UserError(f"truncation={psi:g} widens the w of net=stylegan2 alone: take 1 or less here")
        where = (
            f"cut off at ±{threshold(psi):.2f}" if 0 < psi < 1 and source.saved.noise.prior == "normal" else "narrowed"
        )
        log.warning("truncation=%g: this generator has no w; its prior is %s, to a deviation of %g", psi, where, psi)
        return
    device = next(generator.parameters()).device
    given = sampling.of_centre(source.saved.noise, len(source.saved.class_names), device)
    generator.truncate(psi, *given)  # type: ignore[operator]


def _checked(arrays: Mapping[str, np.ndarray], saved: SavedRun) -> Latents:
    """The latents in ``arrays``. ValueError, which says what they are, unless the run's generator can draw them."""
    spaces = [name for name in ("z", "w") if name in arrays]
    if len(spaces) != 1:
        raise ValueError(f"holds {'both' if spaces else 'neither'} z {'and' if spaces else 'nor'} w: give one of them")
    (space,), z_dim = spaces, saved.noise.z_dim
    values = arrays[space]
    if values.dtype.kind != "f" or values.ndim != 2 or values.shape[1] != z_dim or not len(values):
        raise ValueError(f"holds {space} of {values.dtype} {list(values.shape)}: the run has float32 [N, {z_dim}]")
    if not (np.abs(values) <= FARTHEST).all():
        raise ValueError(f"holds a {space} that is not finite, or further than {FARTHEST:g} from 0")
    latents = torch.from_numpy(values.astype(np.float32, order="C"))
    if "labels" not in arrays:
        return Latents(latents, None, space)
    labels, classes = arrays["labels"], len(saved.class_names)
    if not classes:
        raise ValueError("holds labels, and the run's generator is not conditional")
    if labels.dtype.kind not in "iu" or labels.shape != (len(values),):
        raise ValueError(f"holds labels of {labels.dtype} {list(labels.shape)}: they should be int64 [{len(values)}]")
    if not ((labels >= 0) & (labels < classes)).all():
        raise ValueError(f"holds labels that are not from 0 to {classes - 1}")
    return Latents(latents, torch.from_numpy(labels.astype(np.int64)), space)
