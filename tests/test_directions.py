"""Directions in the latents: against singular vectors, against plain principal components, and in their file."""

import math

import pytest
import torch
from helpers import save_modules
from torch import nn

from gan_cli import directions, sampling
from gan_cli.config.saved import open_run
from gan_cli.directions import factorised, find, principal
from gan_cli.errors import UserError
from gan_cli.networks import conv, cs231n, dcgan, maxout, mlp, r3gan, resnet, stylegan2
from gan_cli.noise import Noise
from gan_cli.rundir.checkpoint import Progress


def _matrix(rows, columns):
    return torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _assert_same_lines(found, expected):
    """Both hold the same unit vectors, up to their signs."""
    cosines = (found.double() * expected.double()).sum(dim=1).abs()
    torch.testing.assert_close(cosines, torch.ones_like(cosines), rtol=0, atol=1e-4)


def test_sefa_finds_the_right_singular_vectors():
    matrix = _matrix(30, 7)
    found = factorised(matrix)
    _assert_same_lines(found, torch.linalg.svd(matrix)[2])
    assert (found.gather(1, found.abs().argmax(dim=1, keepdim=True)) > 0).all()
    moved = (matrix @ found.T).norm(dim=0)
    assert (moved.diff() <= 0).all()
    assert moved[0] >= (matrix @ nn.functional.normalize(_matrix(7, 1000), dim=0)).norm(dim=0).max()
    scaled = factorised(torch.diag(torch.tensor([1.0, 3.0, 2.0])))
    assert torch.equal(scaled, torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.float64))


def test_principal_components_are_regressed_back_to_the_latents():
    """Of the latents themselves they are numpy's; of ``A z``, with whitened z, they are the singular vectors of A."""
    spread = _matrix(500, 6) * torch.tensor([1.0, 5, 3, 2, 4, 0.5])
    around = spread - spread.mean(dim=0)
    _assert_same_lines(principal(spread, spread), torch.linalg.svd(around, full_matrices=False)[2])
    white = torch.linalg.qr(around)[0]
    matrix = _matrix(9, 6)
    _assert_same_lines(principal(white @ matrix.T, white), torch.linalg.svd(matrix)[2][:6])
    flat = torch.cat([around[:, :2], torch.zeros(500, 4)], dim=1)
    assert len(principal(flat, around)) == 2  # features of two dimensions have two components


SHAPE = (1, 28, 28)
NARROW = {
    "conv": (conv.Generator, {"width": 4}, lambda g: g.project[0].weight),
    "dcgan": (dcgan.Generator, {"width": 4}, lambda g: g[1].weight.flatten(1).T),
    "mlp": (mlp.Generator, {"widths": (8, 9)}, lambda g: g[0].weight[:, :5]),
    "maxout": (maxout.Generator, {"width": 9}, lambda g: g.layers[0].weight),
    "cs231n": (cs231n.Generator, {}, lambda g: g[0].weight / math.sqrt(3)),
    "cs231n_dc": (cs231n.ConvGenerator, {}, lambda g: g[0].weight / math.sqrt(3)),
    "resnet": (resnet.Generator, {"width": 4}, lambda g: g[0].weight),
    "r3gan": (r3gan.Generator, {"width": 16}, lambda g: g.scales.weight[:, :5]),
}


@pytest.mark.parametrize(
    ("name", "classes"),
    [*((name, 0) for name in NARROW), *((name, 3) for name in NARROW if name not in ("maxout", "cs231n", "cs231n_dc"))],
)
def test_the_first_layer_of_each_network_is_found(name, classes):
    torch.manual_seed(0)
    network, options, weight = NARROW[name]
    generator = network(SHAPE, 5, **options, **({"classes": classes} if classes else {})).eval()
    found = find(generator, Noise("normal", 5), classes)
    assert (found.space, found.method, found.vectors.shape) == ("z", "SeFa", (5, 5))
    _assert_same_lines(found.vectors, torch.linalg.svd(weight(generator).detach())[2])
    torch.testing.assert_close(found.deviations, torch.ones(5), rtol=0.1, atol=0)
    assert not generator.training and not any(layer._forward_hooks for layer in generator.modules())


def test_of_stylegan2_they_are_those_of_w():
    torch.manual_seed(0)
    generator = stylegan2.Generator(SHAPE, 6, width=4, max_width=8, classes=2).eval()
    w = generator.mapped(torch.randn(1, 6), torch.tensor([1]))[0].detach()
    layers = generator._modulated()
    jacobian = torch.autograd.functional.jacobian(lambda w: torch.cat(stylegan2.styles(layers, w[None]), dim=1)[0], w)
    torch.testing.assert_close(generator.affine(), jacobian)
    found = find(generator, Noise("normal", 6), 2)
    assert (found.space, found.method) == ("w", "SeFa")
    _assert_same_lines(found.vectors, torch.linalg.svd(jacobian)[2])
    z = sampling.latents(Noise("normal", 6), directions.SAMPLES, 0)
    spread = generator.mapped(z, torch.arange(len(z)) % 2) @ found.vectors.T
    torch.testing.assert_close(found.deviations, spread.std(dim=0).detach(), rtol=1e-4, atol=1e-5)


def test_a_first_layer_that_is_not_linear_gives_principal_components(monkeypatch):
    monkeypatch.setattr(directions, "SAMPLES", 300)

    class Bent(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.image = nn.Linear(3, 8, bias=False), nn.Linear(8, 64)

        def forward(self, z):
            scaled = z.tanh() * torch.tensor([1.0, 9.0, 4.0])
            return self.image(self.layer(scaled)).view(-1, 1, 8, 8)

    generator = Bent()
    with torch.no_grad():
        generator.layer.weight.copy_(torch.eye(8, 3))
    found = find(generator, Noise("normal", 3))
    assert found.method == "GANSpace"
    expected = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert ((found.vectors * expected).sum(dim=1) > 0.99).all()


def test_a_generator_that_takes_no_notice_of_its_latent_has_no_directions():
    generator = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 64), nn.Unflatten(1, (1, 8, 8)))
    nn.init.zeros_(generator[0].weight)
    with pytest.raises(UserError, match="no image depends on its latent"):
        find(generator, Noise("normal", 3))


def test_latents_move_along_the_directions():
    vectors, deviations = torch.eye(3)[:2], torch.tensor([2.0, 5.0])
    along = directions.Directions(vectors, deviations, "z", "SeFa").along(torch.zeros(4, 3), torch.tensor([-1.0, 0, 3]))
    assert along.shape == (4, 2, 3, 3)
    assert torch.equal(along[2, 1], torch.tensor([[0.0, -5, 0], [0, 0, 0], [0, 15, 0]]))


@pytest.fixture
def saved(tmp_path):
    """A function: seed -> the run whose untrained generator has these weights."""

    def of(seed):
        torch.manual_seed(seed)
        generator = mlp.Generator((1, 8, 8), 4, widths=(8,))
        net = {"generator": {"_target_": "gan_cli.networks.mlp.Generator", "widths": [8]}, "z_dim": 4}
        config = {"net": {**net, "prior": "normal"}, "image_shape": [1, 8, 8]}
        save_modules(tmp_path / "checkpoints", Progress(7), config, {"generator": generator, "ema": generator})
        return open_run(tmp_path)

    return of


def test_they_are_kept_with_the_checkpoint_that_they_are_of(saved, tmp_path, monkeypatch):
    asked, known = [], directions.find
    monkeypatch.setattr(directions, "find", lambda *a: asked.append(a) or known(*a))
    path, run = tmp_path / "directions.safetensors", saved(0)
    first, again = run.directions(), run.directions()
    assert len(asked) == 1 and torch.equal(first.vectors, again.vectors) and first[2:] == again[2:]
    run.directions("raw")
    assert len(asked) == 2
    other = saved(1)
    assert not torch.allclose(other.directions().vectors, first.vectors)
    assert len(asked) == 3
    whole = path.read_bytes()
    for content in (whole[:-4], b"", b"x" * 200, whole[:-4] + b"\x00\x00\xc0\x7f"):  # the last is a NaN
        path.write_bytes(content)
        assert other.directions().vectors.isfinite().all() and path.read_bytes() == whole
    assert len(asked) == 7


def test_a_folder_that_takes_no_file_takes_none(saved, monkeypatch):
    def refuse(*_):
        raise OSError(30, "read-only")

    monkeypatch.setattr("gan_cli.rundir.directions.write_atomic", refuse)
    assert len(saved(0).directions().vectors) == 4
