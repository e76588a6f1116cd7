"""Goodfellow et al. 2014, sections 3 and 4, in numbers: p_data, p_g, D and their theory, for data of one dimension."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from gan_cli.data import Mixture
from gan_cli.noise import quantiles
from gan_cli.sampling import generate_points

BINS = 600
INTERVALS = 4000  # of the latent


class Curves(NamedTuple):
    """The curves of Figure 1 over equal bins of the line: the bins' middles ``x``, probabilities, logits: float64 [B].

    ``data`` and ``generated`` are the probabilities of the bins. ``outside`` is the generated probability outside all
    bins.
    """

    x: Tensor
    data: Tensor
    generated: Tensor
    outside: float
    logits: Tensor

    @property
    def width(self) -> float:
        """The width of a bin: a bin's probability divided by its width is a density."""
        return float(self.x[1] - self.x[0])

    @property
    def d_star(self) -> Tensor:
        """The best discriminator for this generator, D*(x) = p_data(x) / (p_data(x) + p_g(x)): Proposition 1."""
        return optimal_discriminator(self.data, self.generated)

    @property
    def jsd(self) -> float:
        """The Jensen-Shannon divergence of p_data and p_g, in nats."""
        zero, outside = self.data.new_zeros(1), self.data.new_tensor([self.outside])
        return jensen_shannon(torch.cat([self.data, zero]), torch.cat([self.generated, outside]))

    @property
    def value(self) -> float:
        """V(D, G) of equation 1, as a sum over the bins."""
        return float((self.data * logsigmoid(self.logits) + self.generated * logsigmoid(-self.logits)).sum())

    @property
    def d_error(self) -> float:
        """The largest |D(x) - 1/2| on the data's support, that is, on the fewest bins that contain 99% of the data."""
        density, order = self.data.sort(descending=True)
        support = order[density.cumsum(0) - density < 0.99]
        return float((self.logits[support].sigmoid() - 0.5).abs().max())


def optimal_discriminator(p_data: Tensor, p_g: Tensor) -> Tensor:
    """D*(x) = p_data(x) / (p_data(x) + p_g(x)); NaN where both are 0. Goodfellow et al. 2014, equation 2.

    The inputs are densities, or the probabilities of equal bins.
    """
    return p_data / (p_data + p_g)


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    """JSD(p, q) in nats, of probabilities ``[B]`` of sum 1: from 0 (p = q) to log 2.

    With D at D*, V(D, G) = -log 4 + 2 JSD(p_data, p_g): Goodfellow et al. 2014, Theorem 1.
    """
    m = (p + q) / 2
    return float((torch.xlogy(p, p) + torch.xlogy(q, q) - 2 * torch.xlogy(m, m)).sum() / 2)


def pushforward(generator: nn.Module, prior: str, edges: Tensor) -> tuple[Tensor, Tensor]:
    """The distribution of a generator's output, for a latent and an output of one dimension: the probabilities of the
    bins between ``edges``, float64 ``[B]``, and the probability outside all bins.

    The method is the change of variables. The latent's line is cut into intervals of equal probability. Each interval's
    probability is spread evenly between the outputs at its two ends. Nothing is sampled, so the result has no noise.
    """
    x = generate_points(generator, quantiles(prior, INTERVALS), batch_size=INTERVALS).double().squeeze(1)
    low, high = torch.minimum(x[:-1], x[1:]), torch.maximum(x[:-1], x[1:])
    below = ((edges[:, None] - low) / (high - low).clamp_min(1e-12)).clamp_(0, 1).mean(dim=1)
    masses = below.diff()
    return masses, (1 - masses.sum()).clamp_min(0)


def span(mixture: Mixture) -> tuple[float, float]:
    """The part of the line in Figure 1: the means of the mixture and four stds on either side."""
    means = mixture.means.squeeze(1)
    return float((means - 4 * mixture.stds).min()), float((means + 4 * mixture.stds).max())


@torch.inference_mode()
def curves(mixture: Mixture, generator: nn.Module, discriminator: nn.Module, prior: str) -> Curves:
    """The curves of Figure 1 for two networks, whose points and latents have one dimension."""
    edges = torch.linspace(*span(mixture), BINS + 1, dtype=torch.float64)
    x = (edges[1:] + edges[:-1]) / 2
    data = mixture.density(x[:, None])
    generated, outside = pushforward(generator, prior, edges)
    weight, was_training = next(discriminator.parameters()), discriminator.training
    logits = discriminator.eval()(x[:, None].to(weight)).double().cpu()
    discriminator.train(was_training)
    return Curves(x, data / data.sum(), generated, float(outside), logits)
