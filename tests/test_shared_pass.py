"""A penalty shares the loss's pass through D: its gradients in float64 against torch's, each pass taken alone."""

from functools import partial

import pytest
import torch
from torch.nn.functional import conv2d

from gan_cli import losses, penalties
from gan_cli.augment import DiffAugment
from gan_cli.networks import conv, convolution, dcgan, layers, mlp, r3gan, stylegan2
from gan_cli.training.batches import Batch
from gan_cli.training.device import Compute
from gan_cli.training.games import Adversarial, Penalty
from gan_cli.training.terms import objective

SHAPE, CLASSES, INTERVAL = (3, 8, 8), 4, 3
NETWORKS = {
    "mlp": (mlp, {"widths": [8]}),
    "conv": (conv, {"width": 4}),
    "dcgan": (dcgan, {"width": 4, "norm": "layer"}),
    "r3gan": (r3gan, {"width": 8, "max_width": 16, "group_width": 4}),
    "stylegan2": (stylegan2, {"width": 4, "max_width": 8}),
}


def _game(network, penalty, augment=None, classes=CLASSES, **options):
    module, widths = NETWORKS[network]
    torch.manual_seed(0)
    generator = module.Generator(SHAPE, 4, classes=classes).double()
    discriminator = module.Discriminator(SHAPE, classes=classes, **widths).double()
    return Adversarial(
        generator,
        discriminator,
        losses.relativistic,
        penalty=Penalty(penalty, INTERVAL),
        augment=augment,
        **options,
        compute=Compute(dtype=torch.float64),
    )


def _batch(number):
    torch.manual_seed(1)
    real, fake = torch.rand(2, 4, *SHAPE, dtype=torch.float64) * 2 - 1
    return Batch(real, torch.arange(4) % CLASSES, number), fake


def _apart(game, batch, fake, gammas):
    """D's gradients as the papers' formulas say: torch's convolutions, and passes of the penalty's own."""
    discriminator, given = game.discriminator, batch.given

    def logits(real, fake):
        torch.manual_seed(2)
        return [discriminator(game.augment(x) if game.augment else x, *given) for x in (real, fake)]

    loss = game._loss(*logits(batch.real, fake))[0].mean()
    points = [batch.real.clone().requires_grad_(), fake.clone().requires_grad_()]
    for point, judged, gamma in zip(points, logits(*points), gammas, strict=True):
        if gamma:
            (slope,) = torch.autograd.grad(judged.sum(), point, create_graph=True)
            loss = loss + INTERVAL * gamma / 2 * slope.square().sum(dim=(1, 2, 3)).mean()
    return torch.autograd.grad(loss, list(discriminator.parameters()))


@pytest.mark.parametrize(
    ("network", "augmented", "penalty", "shares"),
    [
        *((network, True, penalties.r1r2, (1, 1)) for network in NETWORKS),
        ("conv", False, penalties.r1, (1, 0)),
        ("conv", True, penalties.r2, (0, 1)),
    ],
)
def test_the_gradients_of_loss_and_penalty_are_those_of_passes_apart(network, augmented, penalty, shares, monkeypatch):
    augment = DiffAugment(["flip", "color", "translation"]) if augmented else None
    game = _game(network, partial(penalty, gamma=0.7), augment)
    batch, fake = _batch(2 * INTERVAL)
    torch.manual_seed(2)
    objective(game.discriminator_terms(batch, fake)).backward()
    found = [weight.grad for weight in game.discriminator.parameters()]

    def plain(x, weight, bias=None, geometry=convolution.PLAIN):
        return conv2d(x, weight, bias, geometry.stride, geometry.padding, 1, geometry.groups)

    monkeypatch.setattr(convolution, "convolve", plain)
    monkeypatch.setattr(stylegan2, "convolve", plain)
    monkeypatch.setattr(layers._Filtered, "apply", layers._filtered)
    reference = _apart(game, batch, fake, [0.7 * share for share in shares])
    scale = max(float(gradient.abs().max()) for gradient in reference)
    for gradient, expected in zip(found, reference, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12 * scale)


class _Counted(torch.nn.Module):
    """A discriminator that counts its passes."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.passes = 0

    def forward(self, images):
        self.passes += 1
        return (images.square().mean(dim=(2, 3)) * self.weight).sum(dim=1)


def test_a_discriminator_with_a_group_judges_real_and_fake_in_one_pass():
    game = _game("conv", penalties.r1)
    sizes = []
    game.discriminator.register_forward_pre_hook(lambda _, arguments: sizes.append([len(a) for a in arguments]))
    for number in (1, INTERVAL):
        batch, fake = _batch(number)
        game.discriminator_terms(batch, fake)
        game.generator_terms(batch, fake)
    assert sizes == [[8, 8], [4, 4]] * 2


def _own(discriminator, real, fake):
    """A penalty of a user's own, as docs/extend.md describes it, at points of its own."""
    middle = ((real + fake) / 2).detach().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(middle).sum(), middle, create_graph=True)
    return slope.square().sum(dim=(1, 2, 3))


@pytest.mark.parametrize(
    ("penalty", "passes"),
    [
        (penalties.r1, 2), (penalties.r1r2, 2), (penalties.LeCam(), 2), (penalties.gradient_penalty, 3),
        (penalties.dragan, 3), (_own, 3), (partial(penalties.r1, gamma=2.0), 2),
        (lambda d, x, y: penalties.r1(d, x.clone(), y), 3),
    ],
)  # fmt: skip
def test_only_a_penalty_that_looks_elsewhere_has_a_pass_of_its_own(penalty, passes):
    discriminator = _Counted()
    game = Adversarial(torch.nn.Identity(), discriminator, losses.nonsaturating, penalty=Penalty(penalty, INTERVAL))
    for number in range(1, INTERVAL + 1):
        discriminator.passes = 0
        torch.manual_seed(0)
        real, fake = torch.rand(2, 4, 3, 2, 2)
        terms = game.discriminator_terms(Batch(real, None, number), fake)
        assert ("penalty" in terms) == (number == INTERVAL)
        assert discriminator.passes == (passes if number == INTERVAL else 2)
        assert not real.requires_grad and not fake.requires_grad
    objective(terms).backward()
    assert discriminator.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("bf16", "precision", "expected"),
    [(True, "auto", torch.bfloat16), (True, "fp32", torch.float32), (False, "auto", torch.float32),
     (False, "bf16", torch.bfloat16)],
)  # fmt: skip
def test_d_runs_in_the_penaltys_precision_where_the_penalty_is_due(bf16, precision, expected):
    seen = []

    class Linear(torch.nn.Linear):
        def forward(self, images):
            seen.append(super().forward(images.flatten(1)).squeeze(1))
            return seen[-1]

    game = Adversarial(
        torch.nn.Identity(), Linear(12, 1), losses.nonsaturating, compute=Compute(bf16=bf16),
        penalty=Penalty(penalties.r1r2, 2, precision=precision),
    )  # fmt: skip
    real, fake = torch.rand(2, 4, 3, 2, 2)
    unpenalised = torch.bfloat16 if bf16 else torch.float32
    for number, dtype in ((1, unpenalised), (2, expected)):
        terms = game.discriminator_terms(Batch(real, None, number), fake)
        assert {logits.dtype for logits in seen} == {dtype}
        assert all(term.values.dtype == torch.float32 for term in terms.values())
        seen.clear()
