"""Points on a line and in the plane: the data, the theory's numbers, mode counts, pictures, and runs."""

import json
import math

import numpy as np
import pytest
import torch
import yaml
from helpers import CONFIGS
from PIL import Image
from scipy import integrate, stats
from torch import nn

from gan_cli import sampling
from gan_cli.commands import sample, train
from gan_cli.config.saved import open_run
from gan_cli.data import Mixture, Points, toys
from gan_cli.errors import UserError
from gan_cli.metrics import quality, theory
from gan_cli.metrics.modes import modes
from gan_cli.networks import toy
from gan_cli.noise import Noise, quantiles
from gan_cli.pictures.samples import drawing

PAIR = [[0.3, -1.0, 0.5], [0.7, 2.0, 1.0]]


class Affine(nn.Module):
    """z -> scale * z + shift."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.tensor(scale)), shift

    def forward(self, z):
        return self.scale * z + self.shift


class Best(nn.Module):
    """The logits of D* between N(0, 1) and N(mean, std^2): log p_data - log p_g, in closed form."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = nn.Parameter(torch.tensor(mean)), std

    def forward(self, x):
        x = x.squeeze(1)
        return -(x**2) / 2 + ((x - self.mean) / self.std) ** 2 / 2 + math.log(self.std)


def test_a_density_on_the_line_is_scipys_and_integrates_to_one():
    mixture = toys.gaussian1d(PAIR, n=10).mixture
    expected = lambda x: sum(w * stats.norm.pdf(x, m, s) for w, m, s in PAIR)  # noqa: E731
    x = torch.linspace(-4, 6, 50, dtype=torch.float64)
    np.testing.assert_allclose(mixture.density(x[:, None]), expected(x.numpy()), rtol=1e-6)
    total, _ = integrate.quad(lambda x: float(mixture.density(torch.tensor([[x]]))), -10, 10, points=[-1, 2])
    assert total == pytest.approx(1, abs=1e-6)


def test_a_density_in_the_plane_is_scipys():
    mixture = Mixture(torch.tensor([0.25, 0.75]), torch.tensor([[0.0, 1.0], [2.0, -1.0]]), torch.tensor([0.5, 2.0]))
    x = np.random.default_rng(0).normal(size=(20, 2))
    expected = 0.25 * stats.multivariate_normal([0, 1], 0.25 * np.eye(2)).pdf(x)
    expected += 0.75 * stats.multivariate_normal([2, -1], 4 * np.eye(2)).pdf(x)
    np.testing.assert_allclose(mixture.density(torch.tensor(x)), expected, rtol=1e-6)


def test_the_points_are_drawn_from_what_they_say():
    points = toys.gaussian1d(PAIR, n=20_000).points[:, 0].double().numpy()
    cdf = lambda x: sum(w * stats.norm.cdf(x, m, s) for w, m, s in PAIR)  # noqa: E731
    assert stats.kstest(points, cdf).pvalue > 0.001
    for dataset, centres, std in ((toys.ring8(10_000), 8, 0.01), (toys.grid25(10_000), 25, 0.05)):
        found, share = modes(dataset.points, dataset.mixture.means, std)
        assert found == centres == len(dataset.mixture.means)
        assert share == pytest.approx(1 - math.exp(-4.5), abs=0.004)  # what the protocol's ceiling is
    radius = toys.spiral(1000, std=0.0).points.norm(dim=1)
    assert radius.max() <= 1 and (radius**2).mean() == pytest.approx(0.5, abs=0.03)
    assert torch.equal(toys.ring8(100).points, toys.ring8(100).points)


@pytest.mark.parametrize("mixture", [[], [[1, 0]], [[0, 0, 1]], [[1, 0, -1]], [[1, 0, "a"]], "abc", [[1, math.inf, 1]]])
def test_a_mixture_that_is_none_gets_one_line(mixture):
    with pytest.raises(UserError, match="weight, mean, std"):
        toys.gaussian1d(mixture)


def test_points_want_float32_rows():
    with pytest.raises(ValueError, match="float32"):
        Points(torch.zeros(3, dtype=torch.float32))
    with pytest.raises(UserError, match="dataset.n=0"):
        toys.ring8(0)


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_quantiles_cut_the_prior_into_equal_parts(prior):
    z = quantiles(prior, 1000).squeeze(1)
    distribution = stats.norm() if prior == "normal" else stats.uniform(-math.sqrt(3), 2 * math.sqrt(3))
    np.testing.assert_allclose(distribution.cdf(z[1:-1].numpy()), np.arange(1, 1000) / 1000, atol=1e-6)
    assert z.isfinite().all()


def test_a_generators_density_is_that_of_the_change_of_variables():
    edges = torch.linspace(-4, 4, 201, dtype=torch.float64)
    masses, outside = theory.pushforward(Affine(-0.8, 0.5), "normal", edges)  # falling: N(0.5, 0.8^2)
    expected = np.diff(stats.norm.cdf(edges.numpy(), 0.5, 0.8))
    np.testing.assert_allclose(masses, expected, atol=3e-5)
    assert masses.sum() + outside == pytest.approx(1)


@pytest.mark.parametrize(("mean", "std"), [(1.0, 1.0), (0.5, 0.6), (3.0, 1.0)])
def test_the_theory_against_quadrature_for_two_gaussians(mean, std):
    p, q = stats.norm(0, 1).pdf, stats.norm(mean, std).pdf

    def integrand(x):
        m = (p(x) + q(x)) / 2
        return sum(f * math.log(f / m) for f in (p(x), q(x)) if f > 0) / 2

    jsd, _ = integrate.quad(integrand, -12, 12, points=[0, mean])
    found = theory.curves(toys.gaussian1d([[1, 0, 1]], n=10).mixture, Affine(std, mean), Best(mean, std), "normal")
    assert found.jsd == pytest.approx(jsd, abs=5e-4)
    inside = found.data + found.generated > 5e-4
    x = found.x.numpy()
    np.testing.assert_allclose(found.d_star[inside], (p(x) / (p(x) + q(x)))[inside], atol=0.03)
    np.testing.assert_allclose(found.logits.sigmoid(), p(x) / (p(x) + q(x)), atol=1e-5)
    if mean < 3:  # all of what is generated lies in the picture
        assert found.value == pytest.approx(-math.log(4) + 2 * jsd, abs=2e-3)  # Theorem 1
    support = abs(x) < stats.norm.ppf(0.995)
    assert found.d_error == pytest.approx(abs(p(x) / (p(x) + q(x)) - 0.5)[support].max(), abs=0.02)


def test_jensen_shannon_at_its_ends():
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert theory.jensen_shannon(one, one) == 0
    assert theory.jensen_shannon(one, other) == pytest.approx(math.log(2))


def test_mode_counts_by_hand():
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    samples = torch.tensor([[0.0, 0.29], [0.0, 0.31], [1.0, -0.2], [5.0, 5.0]])
    assert modes(samples, centres, 0.1) == (2, 0.5)


def test_mode_scores_by_the_generators_own_points():
    ring = toys.ring8(100).mixture
    scores = quality.mode_counts(ring, Noise("normal", 2))(Affine(0.0, ring.means[3]))
    assert scores == {"missed": 7.0, "modes": 1, "high_quality": 1.0}


def test_networks_keep_the_datas_scale():
    data = Points(torch.randn(1000, 2) * 3 + torch.tensor([10.0, -5.0]))
    generator = toy.Generator((2,), 2, waves=8, data_mean=data.facts["data_mean"], data_std=data.facts["data_std"])
    points = sampling.generate_points(generator, torch.randn(2000, 2))
    assert points.mean(dim=0).tolist() == pytest.approx([10, -5], abs=1)
    assert points.std().item() == pytest.approx(data.points.std().item(), rel=0.2)
    copy = toy.Generator((2,), 2, waves=8)
    copy.load_state_dict(generator.state_dict())
    torch.testing.assert_close(copy(torch.ones(1, 2)), generator(torch.ones(1, 2)))


def test_the_batch_mean_reaches_every_logit():
    torch.manual_seed(0)
    x, other = torch.randn(4, 2), torch.randn(4, 2)
    other[0] = x[0]
    plain, seeing = (toy.Discriminator((2,), waves=4, batch_mean=on) for on in (False, True))
    assert plain(x)[0].item() == pytest.approx(plain(other)[0].item(), abs=1e-6)
    assert abs(seeing(x)[0] - seeing(other)[0]) > 1e-4


def test_pictures_have_their_size_and_what_cannot_be_drawn_gets_one_line():
    line, ring = toys.gaussian1d(n=50), toys.ring8(50)
    discriminator = toy.Discriminator((1,))
    latents = torch.randn(20, 1)
    assert drawing(line, discriminator, "uniform", latents)(0, Affine(1.0, 0.0)).size == (770, 550)
    assert drawing(ring, discriminator, "normal", torch.randn(9, 2))(7, Affine(1.0, 0.0)).size == (660, 700)
    with pytest.raises(UserError, match="net.z_dim=1"):
        drawing(line, discriminator, "normal", torch.randn(9, 2))
    with pytest.raises(UserError, match="3 dimensions"):
        drawing(Points(torch.zeros(5, 3)), discriminator, "normal", latents)
    with pytest.raises(UserError, match="eval_every"):
        quality.scores(toys.spiral(50), discriminator, Noise("normal", 2))


def _compose(*overrides):
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    with initialize_config_module("gan_cli.configs", version_base="1.3"):
        return OmegaConf.to_container(compose("train", list(overrides)), resolve=True)


def test_figure_1_from_the_command_to_its_frames(tmp_path):
    overrides = ["dataset=gaussian1d", "steps=300", "sample_every=150", "eval_every=150", "device=cpu"]
    train.run(_compose(*overrides, "run_dir=x"), [], tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["jsd"] < 0.02 and rows[-1]["d_error"] < 0.1
    assert rows[-1]["value"] == pytest.approx(-math.log(4), abs=0.02)
    frames = sorted((tmp_path / "samples").glob("*.png"))
    assert [frame.name for frame in frames] == ["00000000.png", "00000150.png", "00000300.png"]
    for frame in frames:
        with Image.open(frame) as picture:
            assert picture.size == (770, 550)
    assert list(tmp_path.glob("training.*"))
    options = {"seed": 0, "weights": "ema", "batch_size": 64, "labels": None, "device": "cpu", "trust": []}
    options |= {"figure": "grid", "root": None, "scale": 1, "truncation": 1.0, "latents": 8}
    out = sample.run({"ckpt": str(tmp_path), "n": 100, "out": str(tmp_path / "x.npz"), **options})
    points = np.load(out)["samples"]
    assert points.shape == (100, 1) and points.dtype == np.float32
    picture = sample.run({"ckpt": str(tmp_path), "n": 100, "out": None, **options})
    assert picture.read_bytes() == frames[-1].read_bytes()
    with pytest.raises(UserError, match="leave figure out"):
        sample.run({"ckpt": str(tmp_path), "n": 4, "out": None, **options, "figure": "interpolation"})
    with pytest.raises(UserError, match="trained on points"):
        open_run(tmp_path).splits()
    with pytest.raises(UserError, match="points are written as"):
        sample.run({"ckpt": str(tmp_path), "n": 4, "out": str(tmp_path / "folder"), **options})


@pytest.mark.parametrize("name", ["gaussian1d", "ring8", "grid25", "spiral"])
def test_a_dataset_brings_its_recipe_and_an_experiment_overrides_it(name):
    config = _compose(f"dataset={name}")
    assert config["net"]["generator"]["_target_"] == "gan_cli.networks.toy.Generator"
    assert config["net"]["discriminator"]["batch_mean"] == (name != "gaussian1d")
    assert config["precision"] == "fp32"
    own = yaml.safe_load((CONFIGS / f"dataset/{name}.yaml").read_text())
    assert config["steps"] == own["steps"]
    assert _compose(f"dataset={name}", "net=mlp", "steps=3")["net"]["generator"]["_target_"].endswith("mlp.Generator")


def test_the_collapse_is_the_same_data_with_other_networks():
    config = _compose("experiment=collapse_ring8")
    assert config["dataset"] == _compose("dataset=ring8")["dataset"]
    assert config["net"]["discriminator"]["waves"] == 0 and config["penalty"]["_target_"] is None


@pytest.mark.parametrize("net", ["conv", "dcgan"])
def test_points_need_networks_for_points(tmp_path, net):
    with pytest.raises(UserError, match="net=toy"):
        train.run(_compose("dataset=ring8", f"net={net}", "device=cpu", "run_dir=x"), [], tmp_path)
