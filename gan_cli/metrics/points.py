"""The suite of gan-eval on points: one function per family of metrics, as in :mod:`gan_cli.metrics.suite`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor, nn

from gan_cli.data import Mixture, Points
from gan_cli.metrics import quality
from gan_cli.metrics.measurement import Inapplicable, Measurement, measured_c2st, measured_one_nn, some
from gan_cli.noise import Noise
from gan_cli.sampling import generate_points, latents


@dataclass(frozen=True)
class PointData:
    """The input of the metrics: the data, both networks, and how many samples of which seed are drawn."""

    data: Points
    generator: nn.Module
    discriminator: nn.Module
    noise: Noise
    n: int
    seed: int
    batch_size: int
    kind: ClassVar[str] = "points"

    @cached_property
    def fake(self) -> Tensor:
        """The n samples, ``[n, d]``."""
        return generate_points(self.generator, latents(self.noise, self.n, self.seed), self.batch_size)

    @cached_property
    def real(self) -> Tensor:
        """n of the data's points; all, if there are fewer."""
        return self.data.points[some(len(self.data), self.n, self.seed)]

    @property
    def mixture(self) -> Mixture:
        if self.data.mixture is None:
            raise Inapplicable("needs points of a known mixture")
        return self.data.mixture

    def compared(self) -> tuple[Tensor, Tensor]:
        """Equally many real and generated points, float64: the modes of a mixture are narrow."""
        m = min(len(self.real), self.n)
        return self.real[:m].double(), self.fake[:m].double()


def modes(data: PointData) -> dict[str, Measurement]:
    if data.mixture.means.shape[1] == 1:
        raise Inapplicable("needs points in the plane")
    found, real = (quality.mode_scores(points, data.mixture) for points in (data.fake, data.real))
    details = {"modes": {"of": len(data.mixture.means)}}
    return {
        name: Measurement(value, data.n, space="points", real_data=real[name], details=details.get(name, {}))
        for name, value in found.items()
    }


def jsd(data: PointData) -> dict[str, Measurement]:
    if data.mixture.means.shape[1] != 1 or data.noise.z_dim != 1:
        raise Inapplicable("needs points and latents of one dimension")
    found = quality.divergence(data.mixture, data.discriminator, data.noise.prior)(data.generator)
    units = {"jsd": {"unit": "nats"}}
    return {
        name: Measurement(value, 0, space="densities", real_data=0.0, details=units.get(name, {}))
        for name, value in found.items()
    }


def c2st(data: PointData) -> dict[str, Measurement]:
    return measured_c2st(*data.compared(), data.seed, split="train", space="points")


def one_nn(data: PointData) -> dict[str, Measurement]:
    return measured_one_nn(*data.compared(), split="train", space="points")


METRICS: dict[str, Callable[[PointData], dict[str, Measurement]]] = {
    "modes": modes, "jsd": jsd, "c2st": c2st, "one_nn": one_nn,
}  # fmt: skip
