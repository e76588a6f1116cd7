"""Directions in the latents of a generator along which its images change most, found without labels.

SeFa (Shen and Zhou 2021, arXiv 2007.06600): a layer that is linear in the latent, ``y = A z + b``, moves by
``A n`` for a step n. The unit vectors n that move it most are the eigenvectors of ``A^T A`` with the largest
eigenvalues (equation 8). Where no such layer comes first, GANSpace (Härkönen et al. 2020, arXiv 2004.02546): the
principal components of a layer's outputs, regressed back to the latents.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_cli import sampling
from gan_cli.errors import UserError
from gan_cli.latents import Mapped
from gan_cli.noise import Noise

METHODS = ("SeFa", "GANSpace")
MOST = 64  # directions that are kept
SAMPLES = 1000  # latents whose spread is measured
PASS = 64  # latents in a pass
AFFINE = 1e-4  # the relative error up to which a layer counts as linear in float32
WEAK = 1e-10  # eigenvalues below this part of the largest are rounding


class Directions(NamedTuple):
    """Unit ``vectors`` ``[K, D]``, the most telling one first, and the latents' standard ``deviations`` ``[K]`` along
    them. ``space`` is ``z`` or ``w``, ``method`` ``SeFa`` or ``GANSpace``.
    """

    vectors: Tensor
    deviations: Tensor
    space: str
    method: str

    def along(self, latents: Tensor, steps: Tensor) -> Tensor:
        """``latents`` ``[N, D]`` moved by ``steps`` ``[T]``, in deviations, on each direction: ``[N, K, T, D]``."""
        moves = steps[:, None] * (self.deviations[:, None] * self.vectors)[:, None]
        return latents[:, None, None] + moves


@torch.no_grad()
def find(generator: nn.Module, noise: Noise, classes: int = 0) -> Directions:
    """The directions of ``generator`` (in eval mode): of w if it is :class:`Mapped`, else of z.

    ``classes`` is the number of its classes, 0 for an unconditional one. The same generator gives the same directions.
    UserError if no layer depends on the latent.
    """
    device = next(generator.parameters()).device
    z = sampling.latents(noise, SAMPLES, seed=0).to(device)
    labels = torch.arange(len(z), device=device) % classes if classes else None
    if isinstance(generator, Mapped):
        w, affine = generator.mapped(z, labels), getattr(generator, "affine", None)
        found = factorised(affine()) if affine else principal(w, w)
        return _told(found, w, "w", "SeFa" if affine else "GANSpace")
    outputs = _FirstLayer(generator, z[:2], None if labels is None else labels[:1].expand(2))
    matrix = outputs.matrix(z[:3], labels)
    if matrix is not None:
        return _told(factorised(matrix), z, "z", "SeFa")
    return _told(principal(outputs(z, labels), z), z, "z", "GANSpace")


def factorised(matrix: Tensor) -> Tensor:
    """The eigenvectors of ``A^T A`` for ``matrix`` A ``[M, D]``, those of the largest eigenvalues first, ``[K, D]``.

    The first one is the unit vector n of the largest ``|A n|``. Each vector's largest component is positive.
    """
    wide = matrix.double().cpu()
    return _leading(wide.T @ wide)[0]


def principal(features: Tensor, latents: Tensor) -> Tensor:
    """The directions ``[K, D]`` in ``latents`` ``[N, D]`` of the principal components of ``features`` ``[N, F]``.

    With x the coordinates of the features on their components, U minimises ``sum |U x_j - z_j|^2`` (Härkönen et al.
    2020, section 2.2). x is ``S L`` with the eigenvectors L of the Gram matrix, so that ``U = S^-1 L^T z``, and its
    rows as unit vectors are those of ``L^T z``. Features that are the latents give the plain components of these.
    """
    centred, around = (x.double().cpu() - x.double().cpu().mean(dim=0) for x in (features, latents))
    rows, values = _leading(centred @ centred.T)
    found = rows[values > WEAK * values[0]] @ around
    return _signed(nn.functional.normalize(found))


def _leading(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvectors of the largest eigenvalues, at most :data:`MOST`, as rows; and these eigenvalues."""
    values, vectors = torch.linalg.eigh(symmetric)
    return _signed(vectors.T.flip(0)[:MOST]), values.flip(0)[:MOST]


def _signed(vectors: Tensor) -> Tensor:
    """``vectors``, each with the sign by which its largest component is positive: an eigenvector has no sign."""
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return vectors * largest.sign()


def _told(vectors: Tensor, latents: Tensor, space: str, method: str) -> Directions:
    deviations = (latents.double().cpu() @ vectors.T).std(dim=0)
    return Directions(vectors.float(), deviations.float(), space, method)


class _Reached(Exception):
    """Ends a pass through the generator at the layer that was looked for."""

    def __init__(self, output: Tensor) -> None:
        self.output = output


class _FirstLayer:
    """The first layer with weights whose output depends on the latents, as a function of these.

    ``z`` are two different latents, with labels that are equal. UserError if the images don't depend on them.
    """

    def __init__(self, generator: nn.Module, z: Tensor, labels: Tensor | None) -> None:
        self.generator, seen = generator, list[nn.Module]()

        def note(layer: nn.Module, given: object, output: object) -> None:
            weighty = next(layer.parameters(), None) is not None
            if weighty and isinstance(output, Tensor) and len(output) == 2 and not torch.equal(output[0], output[1]):
                seen.append(layer)

        handles = [layer.register_forward_hook(note) for layer in generator.modules()]
        self._pass(z, labels)
        for handle in handles:
            handle.remove()
        if not seen:
            raise UserError("no image depends on its latent: this generator has no directions")
        self.layer = seen[0]

    def __call__(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """The layer's outputs for ``z`` ``[N, D]``, flat, ``[N, F]``."""

        def reached(layer: nn.Module, given: object, output: Tensor) -> None:
            raise _Reached(output)

        handle, parts = self.layer.register_forward_hook(reached), []
        try:
            for i in range(0, len(z), PASS):
                try:
                    self._pass(z[i : i + PASS], None if labels is None else labels[i : i + PASS])
                except _Reached as end:
                    parts.append(end.output.flatten(1))
        finally:
            handle.remove()
        return torch.cat(parts)

    def matrix(self, z: Tensor, labels: Tensor | None) -> Tensor | None:
        """A ``[F, D]`` if the layer is ``A z + b``, or None: tried with ``a``, ``b`` and ``c`` of ``z`` ``[3, D]``."""
        a, b, c = z
        alike = None if labels is None else labels[:1]
        tried = torch.stack([a, b, c, a + b - 3 * c])
        of_a, of_b, of_c, found = self(tried, None if alike is None else alike.expand(4))
        expected = of_a + of_b - 3 * of_c + 2 * self(torch.zeros_like(z[:1]), alike)[0]
        if (found - expected).abs().max() > AFFINE * torch.stack([of_a, of_b, of_c, found]).abs().max():
            return None
        basis = torch.cat([torch.zeros_like(z[:1]), torch.eye(z.shape[1], dtype=z.dtype, device=z.device)])
        outputs = self(basis, None if alike is None else alike.expand(len(basis)))
        return (outputs[1:] - outputs[0]).T

    def _pass(self, z: Tensor, labels: Tensor | None) -> None:
        self.generator(*([z] if labels is None else [z, labels]))
