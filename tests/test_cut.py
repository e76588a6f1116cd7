"""CUT: its objective against loops over patches, and its features. test_translation.py trains with it."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from gan_cli.losses import lsgan
from gan_cli.networks import patchgan, resnet_translator
from gan_cli.training.batches import Batch
from gan_cli.training.cut import CUT, patch_nce
from gan_cli.training.device import Compute
from gan_cli.training.games import Average
from gan_cli.training.terms import objective


def _game(shape=(1, 8, 8), source_channels=1, **options):
    torch.manual_seed(0)
    generator = resnet_translator.Generator(shape, source_channels, width=2, blocks=2)
    discriminator = patchgan.Discriminator(shape, width=2, n_layers=1, norm="instance")
    double = Compute(dtype=torch.float64)
    return CUT(generator, discriminator, lsgan, source_channels, shape, Average(half_life=0), double, **options)


def _batch(m=2, channels=2):
    random = torch.Generator().manual_seed(0)
    return Batch(torch.rand(m, channels, 8, 8, dtype=torch.float64, generator=random), None, 1)


def test_patch_nce_is_the_paper_s_cross_entropy():
    random = torch.Generator().manual_seed(0)
    queries, keys = nn.functional.normalize(torch.randn(2, 3, 5, 4, dtype=torch.float64, generator=random), dim=3)
    expected = []
    for query, key in zip(queries, keys, strict=True):
        losses = []
        for s in range(5):  # equation 3
            own = math.exp(query[s] @ key[s] / 0.07)
            others = sum(math.exp(query[s] @ key[n] / 0.07) for n in range(5) if n != s)
            losses.append(-math.log(own / (own + others)))
        expected.append(sum(losses) / 5)
    assert patch_nce(queries, keys, 0.07).tolist() == pytest.approx(expected, rel=1e-12)


def test_unrelated_patches_cost_the_logarithm_of_their_number():
    same = torch.ones(1, 6, 1, dtype=torch.float64)
    assert patch_nce(same, same, 0.07).item() == pytest.approx(math.log(6), rel=1e-12)
    apart = torch.eye(6, dtype=torch.float64)[None]
    assert patch_nce(apart, apart, 0.07).item() == pytest.approx(5 * math.exp(-1 / 0.07), rel=1e-4)


def test_the_generator_descends_the_three_terms_of_equation_5():
    game, batch = _game(nce=3.0, identity=0.5, patches=4), _batch()
    x, y = batch.real[:, :1], batch.real[:, 1:]
    fake = game.generate(batch)
    assert torch.allclose(fake[0], game.generator(x)) and torch.allclose(fake[1], game.generator(y))
    game.discriminator_terms(batch, fake)
    torch.manual_seed(1)
    found = objective(game.generator_terms(batch, fake))
    torch.manual_seed(1)
    expected = nn.functional.mse_loss(logits := game.discriminator(fake[0]), torch.ones_like(logits))
    for weight, kept, made in ((3.0, x, fake[0]), (0.5, y, fake[1])):
        layers = []
        pairs = list(zip(game.generator.features(made), game.generator.features(kept), strict=True))
        chosen = [torch.rand(2, maps[0, 0].numel()).argsort(dim=1)[:, :4] for maps, _ in pairs]
        for head, maps, places in zip(game.heads, pairs, chosen, strict=True):
            query, key = (
                torch.stack([nn.functional.normalize(head(image.flatten(1)[:, at].T), dim=1)
                             for image, at in zip(some, places, strict=True)])
                for some in maps
            )  # fmt: skip
            layers.append(patch_nce(query, key, 0.07).mean())
        expected = expected + weight * sum(layers) / len(layers)
    assert torch.allclose(found, expected, rtol=1e-12)


def test_the_keys_have_no_gradient():
    game, batch = _game(identity=0.0, patches=4), _batch()
    original = batch.real[:, :1].clone().requires_grad_()
    made = torch.rand(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    by_original, by_made = torch.autograd.grad(game.contrast(original, made).sum(), [original, made], allow_unused=True)
    assert by_original is None and by_made.abs().sum() > 0


def test_the_features_are_those_on_the_generator_s_own_way():
    with torch.device("meta"):
        published = resnet_translator.Generator((3, 256, 256))
        features = published.features(torch.zeros(1, 3, 256, 256))
    shapes = [(3, 256), (128, 128), (256, 64), (256, 64), (256, 64)]  # pixels, halvings, the blocks 1 and 5
    assert [(maps.shape[1], maps.shape[2]) for maps in features] == shapes
    assert published.feature_maps == [maps for maps, _ in shapes]
    generator, image = resnet_translator.Generator((1, 8, 8), width=2, blocks=5), torch.rand(1, 1, 8, 8)
    after = nn.Sequential(*list(generator)[generator._seen[-1] + 1 :])
    assert torch.allclose(after(generator.features(image)[-1]), generator(image))


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda: CUT(nn.Identity(), nn.Identity(), lsgan, 1, (1, 8, 8)), "use net=resnet_translator"),
        (partial(_game, (3, 8, 8)), "use game=cyclegan game.identity=0"),
        (partial(_game, patches=1), "patches=1 should be 2 or more"),
        (partial(_game, temperature=0.0), "temperature=0.0 above 0"),
    ],
)
def test_what_does_not_fit_says_what_to_type(build, line):
    with pytest.raises(ValueError, match=line):
        build()
