"""Two-sample tests: how well samples can be told from real data. A perfect generator gets the accuracy 1/2."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_cli.metrics.distances import squared_distances, without_self

WIDTH, STEPS, BATCH = 64, 1000, 256


class TwoSampleTest(NamedTuple):
    """Held-out accuracy, its margin around 1/2 by chance (1.96 standard deviations), p-value, number of test rows."""

    accuracy: float
    margin: float
    p_value: float
    n_test: int


def classifier_two_sample_test(real: Tensor, fake: Tensor, seed: int = 0) -> TwoSampleTest:
    """C2ST: the held-out accuracy of a small network trained to tell real from fake rows, ``[N, D]`` and ``[M, D]``.

    Lopez-Paz & Oquab 2017 (arXiv 1610.06545), sections 3 and 3.1. Both sets are cut to the same size. Half of each set
    trains an MLP with one hidden layer of 64 ReLUs (Adam, 1,000 steps of 256); the other halves test it. If both
    distributions are equal, the accuracy follows N(1/2, 1 / (4 n_test)). The p-value is one-sided. At accuracy 1 the
    network recognises every row.
    """
    rng = torch.Generator().manual_seed(seed)
    n = min(len(real), len(fake)) // 2
    parts = [x[torch.randperm(len(x), generator=rng)[: 2 * n].to(x.device)].float() for x in (real, fake)]
    train, test = (torch.cat([part[half] for part in parts]) for half in (slice(n), slice(n, None)))
    scale, centre = torch.std_mean(train, dim=0, correction=0)
    train, test = ((x - centre) / scale.clamp(min=1e-6) for x in (train, test))
    is_real = torch.arange(2 * n, device=train.device) < n  # for the rows of train and those of test
    network = _trained(train, is_real.float(), rng, seed)
    with torch.no_grad():
        accuracy = ((network(test)[:, 0] > 0) == is_real).double().mean().item()
    deviation = 0.5 / math.sqrt(2 * n)
    p_value = math.erfc((accuracy - 0.5) / deviation / math.sqrt(2)) / 2
    return TwoSampleTest(accuracy, 1.96 * deviation, p_value, 2 * n)


def _trained(x: Tensor, y: Tensor, rng: torch.Generator, seed: int) -> nn.Module:
    """A network whose logit says whether a row of x ``[N, D]`` has y = 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(x.shape[1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)).to(x.device)
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    for _ in range(STEPS):
        batch = torch.randint(len(x), (BATCH,), generator=rng).to(x.device)
        loss = nn.functional.binary_cross_entropy_with_logits(network(x[batch])[:, 0], y[batch])
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()
    return network


class NearestNeighbourTest(NamedTuple):
    """The leave-one-out accuracy over all rows, over the real rows, and over the fake rows."""

    accuracy: float
    real: float
    fake: float


def nearest_neighbour_test(real: Tensor, fake: Tensor) -> NearestNeighbourTest:
    """1-NN: how often a row's nearest neighbour in both sets together is from the row's own set; ``[N, D]`` each.

    Xu et al. 2018 (arXiv 1806.07755), section 2. Near 1/2, both sets look like one distribution. At 1, they are apart,
    or the samples have collapsed. Below 1/2, samples lie on real rows: they are memorised. If the samples have
    collapsed, the accuracy over real rows is below that over fake rows.
    """
    if len(real) != len(fake):
        raise ValueError(f"both sets need the same size, not {len(real)} and {len(fake)}")
    both = torch.cat([real, fake])
    nearest: list[Tensor] = []
    start = 0
    for block in squared_distances(both, both):
        nearest.append(without_self(block, start).argmin(dim=1))
        start += len(block)
    said_real = torch.cat(nearest) < len(real)
    of_real, of_fake = said_real[: len(real)].double().mean().item(), 1 - said_real[len(real) :].double().mean().item()
    return NearestNeighbourTest((of_real + of_fake) / 2, of_real, of_fake)
