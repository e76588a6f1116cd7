"""The metrics against NumPy and SciPy by brute force, closed forms, and values worked out by hand."""

import functools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from scipy.spatial.distance import cdist

from gan_cli.data import resized
from gan_cli.data.idx import STACKS, stacked_mnist
from gan_cli.metrics import distances, quality
from gan_cli.metrics.extractor import digit_extractor, extractor_for
from gan_cli.metrics.inception_score import inception_score
from gan_cli.metrics.kid import kernel_distance, squared_mmd
from gan_cli.metrics.memorisation import copying
from gan_cli.metrics.modes import class_shares, label_modes, label_shares, modes
from gan_cli.metrics.parzen import SIGMAS, log_likelihoods, parzen_window
from gan_cli.metrics.precision_recall import density_coverage, precision_recall
from gan_cli.metrics.two_sample import classifier_two_sample_test, nearest_neighbour_test
from gan_cli.noise import Noise


def _normal(n, d, seed, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


REAL, FAKE = _normal(70, 4, 0), _normal(50, 4, 1, shift=0.4)


@pytest.fixture(params=[2**24, 200])
def _in_blocks(request, monkeypatch):
    """Everything in one block, and a few rows at a time."""
    monkeypatch.setattr(distances, "BLOCK", request.param)


def _kth(points, k):
    """The distance to the k-th nearest other point, by sorting."""
    return np.sort(cdist(points, points), axis=1)[:, k]  # column 0 is the point itself


@pytest.mark.usefixtures("_in_blocks")
def test_distances_are_scipys():
    found = torch.cat(list(distances.squared_distances(REAL, FAKE)))
    assert found.numpy() == pytest.approx(cdist(REAL, FAKE) ** 2, abs=1e-12)
    values, which = distances.nearest(REAL, FAKE)
    assert values.numpy() == pytest.approx(cdist(REAL, FAKE).min(axis=1))
    assert which.tolist() == cdist(REAL, FAKE).argmin(axis=1).tolist()


def test_the_nearest_of_more_points_than_are_looked_at_in_one_go():
    points = torch.randint(0, 256, (20_000, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    values, which = distances.nearest(points[19_990:], points[:19_995])
    assert values[:5].numpy() == pytest.approx(0, abs=0.1)
    assert torch.equal(points[which[:5]], points[19_990:19_995])
    assert values.numpy() == pytest.approx(cdist(points[19_990:], points[:19_995]).min(axis=1), abs=0.1)


@pytest.mark.usefixtures("_in_blocks")
def test_precision_and_recall_by_brute_force():
    between = cdist(FAKE, REAL)
    precision = (between <= _kth(REAL, 3)[None, :]).any(axis=1).mean()
    recall = (between <= _kth(FAKE, 3)[:, None]).any(axis=0).mean()
    assert 0.1 < precision < 1
    assert 0.1 < recall < 1
    assert precision_recall(REAL, FAKE, k=3) == pytest.approx((precision, recall))


@pytest.mark.usefixtures("_in_blocks")
def test_density_and_coverage_by_brute_force():
    inside = cdist(FAKE, REAL) <= _kth(REAL, 5)[None, :]
    expected = inside.sum() / (5 * len(FAKE)), inside.any(axis=0).mean()
    assert density_coverage(REAL, FAKE, k=5) == pytest.approx(expected)


def test_density_and_coverage_by_hand():
    real = torch.tensor([[0.0], [1.0], [3.0]])  # radii at k = 1: 1, 1, 2
    fake = torch.tensor([[0.5], [1.5], [9.0], [10.0]])  # in the balls of 0 and 1; of 1 and 3; of none; of none
    assert density_coverage(real, fake, k=1) == (pytest.approx(4 / 4), 1.0)
    assert density_coverage(real, fake[:1], k=1) == (pytest.approx(2.0), pytest.approx(2 / 3))
    assert precision_recall(real, fake, k=1) == (pytest.approx(2 / 4), pytest.approx(3 / 3 * 2 / 3))


def test_coverage_of_the_same_distribution_is_what_theory_says():
    n, k = 2000, 5
    found = [density_coverage(_normal(n, 8, 2 * s), _normal(n, 8, 2 * s + 1), k) for s in range(3)]
    density, coverage = np.mean(found, axis=0)
    # Naeem et al. 2020, Lemma 2: 1 - ((N-1) … (N-k)) / ((M+N-1) … (M+N-k))
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert coverage == pytest.approx(expected, abs=0.01)
    assert density == pytest.approx(1, abs=0.05)


def test_the_squared_mmd_by_double_sums():
    x, y = REAL.numpy(), FAKE.numpy()
    kernel = lambda a, b: (a @ b / 4 + 1) ** 3  # noqa: E731
    within_x = np.mean([kernel(x[i], x[j]) for i in range(70) for j in range(70) if i != j])
    within_y = np.mean([kernel(y[i], y[j]) for i in range(50) for j in range(50) if i != j])
    between = np.mean([kernel(a, b) for a in x for b in y])
    assert squared_mmd(REAL, FAKE) == pytest.approx(within_x + within_y - 2 * between, rel=1e-9)


def test_the_kernel_distance_is_zero_within_its_error_only_for_equal_distributions():
    same, std = kernel_distance(_normal(2000, 6, 0), _normal(2000, 6, 1), subsets=50, subset_size=200)
    assert abs(same) < 3 * std / math.sqrt(2000 / 200)  # as many independent subsets
    different, std = kernel_distance(_normal(2000, 6, 0), _normal(2000, 6, 1, shift=1.0), subsets=50, subset_size=200)
    assert different > 5 * std
    # E k(x, y) = E (s + 1)^3 in closed form: for one dimension x, y ~ N(0, 1), y' ~ N(a, 1), a = 1.
    # E (xx')^3 + 3 E (xx')^2 + 3 E xx' + 1: 4 for two of x; 4 + 3 for x and y; 16 + 12 + 3 + 1 for two of y.
    one = kernel_distance(_normal(20_000, 1, 0), _normal(20_000, 1, 1, shift=1.0), subsets=20, subset_size=1000)
    assert one[0] == pytest.approx(4 + 32 - 2 * 7, rel=0.1)


def test_the_inception_score():
    sure = torch.eye(10).repeat(20, 1)
    assert inception_score(sure, splits=10) == (pytest.approx(10), pytest.approx(0, abs=1e-9))
    unsure = torch.full((100, 10), 0.1)
    assert inception_score(unsure)[0] == pytest.approx(1)
    p = torch.rand(60, 5, generator=torch.Generator().manual_seed(0)).double().softmax(dim=1)
    parts = [
        np.exp(scipy.stats.entropy(part, part.mean(axis=0), axis=1).mean()) for part in p.numpy().reshape(3, 20, 5)
    ]
    expected = np.mean(parts), np.std(parts, ddof=1)
    assert inception_score(p, splits=3) == pytest.approx(expected, rel=1e-12)


@pytest.mark.usefixtures("_in_blocks")
def test_the_parzen_likelihood_is_scipys():
    samples, points = torch.rand(40, 6, dtype=torch.float64), torch.rand(30, 6, dtype=torch.float64)
    sigmas = torch.tensor([0.1, 0.7], dtype=torch.float64)
    found = log_likelihoods(points, samples, sigmas)
    for i, sigma in enumerate(sigmas.tolist()):
        terms = [scipy.stats.multivariate_normal(c, sigma**2).logpdf(points) for c in samples.numpy()]
        expected = scipy.special.logsumexp(terms, axis=0) - math.log(40)
        assert found[:, i].numpy() == pytest.approx(expected, rel=1e-10)
    single = log_likelihoods(points.float(), samples.float(), sigmas)
    assert single.numpy() == pytest.approx(found.numpy(), abs=1e-3)


def test_parzens_sigma_is_the_best_on_the_validation_points_and_its_error_that_of_the_mean():
    rng = torch.Generator().manual_seed(0)
    samples, validation, test = (torch.rand(n, 3, generator=rng, dtype=torch.float64) for n in (50, 20, 30))
    mean, error, sigma = parzen_window(samples, validation, test)
    by_sigma = {
        s: log_likelihoods(validation, samples, SIGMAS[i : i + 1]).mean() for i, s in enumerate(SIGMAS.tolist())
    }
    assert sigma == max(by_sigma, key=by_sigma.get)
    assert np.logspace(-1, 0, 10) == pytest.approx(SIGMAS.numpy())
    kde = scipy.stats.gaussian_kde(samples.T.numpy(), bw_method=1)
    kde.covariance = np.eye(3) * sigma**2
    kde.cho_cov, kde.log_det = np.eye(3) * sigma, 3 * math.log(2 * math.pi * sigma**2)
    values = kde.logpdf(test.T.numpy())
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(values.std() / math.sqrt(30))


def test_the_classifier_two_sample_test():
    same = classifier_two_sample_test(_normal(2000, 5, 0), _normal(2000, 5, 1))
    assert same.n_test == 2000
    assert same.margin == pytest.approx(1.96 * math.sqrt(1 / (4 * 2000)))
    assert abs(same.accuracy - 0.5) <= same.margin
    assert same.p_value == pytest.approx(scipy.stats.norm.sf(same.accuracy, 0.5, math.sqrt(1 / (4 * 2000))))
    apart = classifier_two_sample_test(_normal(500, 5, 0), _normal(700, 5, 1, shift=4.0))
    assert (apart.accuracy > 0.99, apart.p_value < 1e-6, apart.n_test) == (True, True, 500)
    # Gaussians at distance a: no classifier is right more often than Phi(a / 2), and a good one comes near.
    near = classifier_two_sample_test(_normal(10_000, 4, 0), _normal(10_000, 4, 1, shift=0.5))
    assert near.accuracy == pytest.approx(scipy.stats.norm.cdf(0.5), abs=0.02)
    again = classifier_two_sample_test(_normal(500, 5, 0), _normal(700, 5, 1, shift=4.0))
    assert again == apart


@pytest.mark.usefixtures("_in_blocks")
def test_the_nearest_neighbour_test_by_brute_force():
    real, fake = REAL[:50], FAKE
    between = cdist(torch.cat([real, fake]), torch.cat([real, fake]))
    np.fill_diagonal(between, np.inf)
    right = (between.argmin(axis=1) < 50) == (np.arange(100) < 50)
    found = nearest_neighbour_test(real, fake)
    assert found == pytest.approx((right.mean(), right[:50].mean(), right[50:].mean()))
    assert nearest_neighbour_test(real, real + 100) == (1, 1, 1)
    assert nearest_neighbour_test(real, real + 1e-6) == (0, 0, 0)  # each sits on a real one: memorised
    with pytest.raises(ValueError, match="same size"):
        nearest_neighbour_test(REAL, FAKE)


def test_copying_is_the_mann_whitney_statistic():
    train, held_out, fake = _normal(300, 3, 0), _normal(100, 3, 1), _normal(80, 3, 2, shift=0.2)
    of_held_out, of_fake = cdist(held_out, train).min(axis=1), cdist(fake, train).min(axis=1)
    expected = scipy.stats.mannwhitneyu(of_held_out, of_fake).statistic / (100 * 80)
    assert copying(train, held_out, fake) == pytest.approx(expected)
    assert copying(train, held_out, train[:50]) == 1
    assert copying(train, held_out, held_out) == 0.5  # ties count half
    assert copying(train, held_out, fake + 50) == 0


def test_modes_by_labels():
    labels, p = torch.tensor([0, 0, 1, 3]), label_shares(torch.tensor([0, 1, 2, 3, 3]), 4)
    assert p.tolist() == [0.2, 0.2, 0.2, 0.4]
    assert label_modes(labels, p) == (3, pytest.approx(scipy.stats.entropy([0.5, 0.25, 0, 0.25], p)))
    assert label_modes(torch.tensor([0, 1, 2, 3, 3]), p) == (4, pytest.approx(0))
    assert label_modes(labels, label_shares(torch.tensor([1, 2, 3]), 4)) == (3, math.inf)


def test_stacks_that_are_data_hit_all_1000_modes_and_the_floor_of_the_divergence():
    stacks = stacked_mnist(n=26_000)
    shares = class_shares(stacks)
    digits = np.array([[int(digit) for digit in name] for name in STACKS])
    of_one = np.bincount(digits[stacks.labels].ravel(), minlength=10) / (3 * 26_000)
    np.testing.assert_allclose(shares, of_one[digits].prod(axis=1))
    found, divergence = label_modes(stacks.labels, shares)
    counts = np.bincount(stacks.labels, minlength=1000)
    assert (found, divergence) == (1000, pytest.approx(scipy.stats.entropy(counts / 26_000, shares)))
    floor, spread = 999 / (2 * 26_000), math.sqrt(2 * 999) / (2 * 26_000)  # half a chi-squared of 999 over n
    assert divergence == pytest.approx(floor, abs=4 * spread)


@torch.inference_mode()
def test_each_channel_of_a_stack_is_named_as_a_digit():
    stacks = stacked_mnist(split="test", n=100)
    extractor = extractor_for((3, 28, 28), torch.device("cpu"), stacks.class_names)
    features = extractor.features(stacks.images)
    one = digit_extractor(torch.device("cpu"))
    of_channels = [one.features(stacks.images[:, [c]]) for c in range(3)]
    torch.testing.assert_close(features, torch.cat(of_channels, dim=1))
    r, g, b = (one.classify(of_channel) for of_channel in of_channels)
    combined = r[:, :, None, None] + g[:, None, :, None] + b[:, None, None]
    torch.testing.assert_close(extractor.classify(features), combined.flatten(1))
    for size in (28, 32):
        assert (extractor.labels(resized(stacks.images, size)) == stacks.labels).sum() >= 95


def test_the_score_of_stacks_while_training_is_their_divergence(monkeypatch):
    monkeypatch.setattr(quality, "stack_modes", functools.partial(quality.stack_modes, n=300))
    stacks = stacked_mnist(n=500)

    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.image = torch.nn.Parameter(stacks.network_input(stacks.images[:1]))

        def forward(self, z):
            return self.image.expand(len(z), -1, -1, -1)

    evaluate = quality.scores(stacks, Constant(), Noise("normal", 2))
    expected = -class_shares(stacks)[stacks.labels[0]].log().item()
    assert evaluate(Constant()) == {"class_kl": pytest.approx(expected), "classes_hit": 1}


def test_modes_by_centres():
    centres = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    samples = torch.tensor([[0.29, 0.0], [0.0, -0.29], [0.31, 0.0], [2.0, 0.1]])
    assert modes(samples, centres, sigma=0.1) == (2, 0.75)
    perfect = _normal(20_000, 2, 0) * 0.1 + centres.repeat(20_000 // 3 + 1, 1)[:20_000]
    hit, quality = modes(perfect, centres, sigma=0.1)
    assert (hit, quality) == (3, pytest.approx(1 - math.exp(-4.5), abs=0.003))
