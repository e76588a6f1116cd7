"""Augmentations against closed forms, SciPy and finite differences."""

import math

import numpy as np
import pytest
import torch
from helpers import CONFIGS
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy import ndimage

from gan_cli import augment
from gan_cli.augment import ADA, DiffAugment, InstanceNoise
from gan_cli.penalties import r1

WORDS = ["flip", "brightness", "saturation", "contrast", "translation", "cutout"]


def _ada(p, **options):
    ada = ADA(**options)
    ada.p.fill_(p)
    return ada


def _seeded(function, seed=0):
    """``function`` with the same random numbers at each call."""

    def run(images):
        torch.manual_seed(seed)
        return function(images)

    return run


def _images(*shape, dtype=torch.float32):
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "module", [*(DiffAugment([word]) for word in WORDS), _ada(1.0), _ada(0.5), InstanceNoise(0.3)], ids=str
)
def test_it_is_differentiable_in_the_images_twice(module, channels):
    images = _images(2, channels, 4, 3 + channels // 3, dtype=torch.float64).requires_grad_()  # 4x3, 4x4
    function = _seeded(module)
    assert function(images).shape == images.shape
    assert torch.autograd.gradcheck(function, images, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, images, fast_mode=True)


@pytest.mark.parametrize("module", [DiffAugment(), _ada(1.0)], ids=str)
def test_r1_through_it_is_that_of_its_jacobian(module):
    # D(x) = w . A x + const, where A is the augmentation, so that its gradient is A' w.
    images, w = _images(2, 3, 6, 6), torch.randn(3 * 36, requires_grad=True)
    function = _seeded(module)
    found = r1(lambda x: function(x).flatten(1) @ w, images, images)
    jacobian = torch.autograd.functional.jacobian(function, images)
    matrices = [jacobian[i, :, :, :, i].reshape(108, 108) for i in range(2)]
    expected = torch.stack([(a.T @ w).square().sum() / 2 for a in matrices])
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), w)
    torch.testing.assert_close(gradient, sum(a @ a.T @ w for a in matrices).detach())


def test_colours_of_diffaugment():
    images = _images(500, 3, 4, 4)
    added = augment.brightness(images) - images
    assert added.flatten(1).std(dim=1).max() < 1e-6
    assert -0.5 <= added.min() < -0.45 and 0.45 < added.max() <= 0.5
    means = images.mean(dim=(1, 2, 3), keepdim=True)
    factors = (augment.contrast(images) - means) / (images - means)
    assert factors.flatten(1).median(dim=1).values.sub(1).abs().max() <= 0.5
    torch.testing.assert_close(augment.contrast(images).mean(dim=(1, 2, 3), keepdim=True), means)
    grey = images.mean(dim=1, keepdim=True)
    vivid = augment.saturation(images)
    torch.testing.assert_close(vivid.mean(dim=1, keepdim=True), grey)
    ratio = (vivid - grey).flatten(1).norm(dim=1) / (images - grey).flatten(1).norm(dim=1)
    assert ratio.min() < 0.1 and 1.9 < ratio.max() <= 2
    assert torch.equal(augment.saturation(images[:, :1]), images[:, :1])


def test_translation_shifts_by_whole_pixels_and_brings_in_zeros():
    shape = (16, 24)  # at most 2 down, 3 across
    images = _images(300, 2, *shape)
    seen = set()
    for before, after in zip(images, augment.translation(images), strict=True):
        padded = torch.nn.functional.pad(before, (3, 3, 2, 2))
        shifts = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-3, 4)
            if torch.equal(after, padded[:, 2 - dy : 18 - dy, 3 - dx : 27 - dx])
        ]
        assert len(shifts) == 1
        seen.add(shifts[0])
    assert len(seen) == 5 * 7


def test_cutout_leaves_out_a_rectangle_of_half_the_sides():
    images = torch.ones(2000, 1, 8, 10)
    holes = augment.cutout(images)[:, 0] == 0
    rows, columns = holes.any(dim=2).sum(dim=1), holes.any(dim=1).sum(dim=1)
    assert torch.equal(holes.sum(dim=(1, 2)), rows * columns)
    assert rows.max() == 4 and columns.max() == 5
    # The middle lies anywhere: of 9 rows (10 columns) so much of 4 (5) is left on average.
    left = lambda places, length, size: np.mean(  # noqa: E731
        [len(range(max(0, m - length // 2), min(size, m - length // 2 + length))) for m in range(places)]
    )
    assert rows.double().mean().item() == pytest.approx(left(9, 4, 8), abs=0.1)
    assert columns.double().mean().item() == pytest.approx(left(10, 5, 10), abs=0.1)


def test_a_quarter_is_flipped_so_that_d_sees_which_way_the_data_face():
    images = _images(1, 1, 2, 2).expand(2000, -1, -1, -1)
    result = augment.flip(images)
    flipped = (result == images.flip(-1)).flatten(1).all(dim=1)
    assert torch.equal(result[~flipped], images[~flipped])
    assert flipped.double().mean().item() == pytest.approx(0.25, abs=0.04)


def test_the_words_of_a_policy():
    images = _images(4, 3, 8, 8)
    spelled_out = DiffAugment(["brightness", "saturation", "contrast", "cutout"])
    assert torch.equal(_seeded(DiffAugment(["color", "cutout"]))(images), _seeded(spelled_out)(images))
    for policy in (["colour"], "color,cutout"):
        with pytest.raises(ValueError, match=r"no operation 'colo.*': policy is a list of flip, brightness, .*cutout"):
            DiffAugment(policy)


def test_instance_noise_falls_to_nothing_in_a_straight_line():
    noise, images = InstanceNoise(0.5, images=1000), torch.zeros(4, 1, 50, 50)
    for seen in range(0, 1200, 100):
        assert noise(images).std().item() == pytest.approx(0.5 * max(0, 1 - seen / 1000), rel=0.05)
        noise.observe(torch.zeros(100))
    assert noise.state_dict() == {"seen": torch.tensor(1200)}
    for options in ({"std": -1}, {"std": math.inf}, {"images": 0}):
        with pytest.raises(ValueError, match="should be"):
            InstanceNoise(**options)


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (4, 3, 8, 8), (4, 3, 6, 8)])
def test_ada_of_p_0_changes_no_bit(shape):
    images = _images(*shape)
    assert torch.equal(ADA()(images), images)


def test_ada_moves_p_by_what_the_paper_says():
    ada = ADA(target=0.5, interval=2, speed=1000)
    p = [ada.p.item() for _ in range(6) if ada.observe(torch.ones(10)) is None]
    assert p == pytest.approx([0, 0.02, 0.02, 0.04, 0.04, 0.06])
    for logits in (torch.ones(10), torch.tensor([1.0, -1.0])):  # r_t = 10 / 12, above the target
        ada.observe(logits)
    assert ada.p.item() == pytest.approx(0.072)
    for _ in range(2):
        ada.observe(torch.tensor([1.0, -1.0] * 10))
    assert ada.p.item() == pytest.approx(0.032)
    for _ in range(4):
        ada.observe(-torch.ones(20))
    assert ada.p.item() == 0
    for _ in range(200):
        ada.observe(torch.ones(100))
    assert ada.p.item() == 1
    for options in ({"target": 2}, {"interval": 0}, {"speed": 0}):
        with pytest.raises(ValueError, match="should be"):
            ADA(**options)


@pytest.mark.parametrize(("examples", "speed"), [(100, 25_000), (2_000, 500_000), (60_000, 500_000)])
def test_p_of_ada_rises_sooner_for_fewer_images(examples, speed):
    ada = ADA(interval=1, examples=examples)
    ada.observe(torch.ones(100))
    assert ada.p.item() == pytest.approx(100 / speed)


@pytest.mark.parametrize("make", [lambda: ADA(interval=3, speed=300), lambda: InstanceNoise(images=400)])
def test_one_that_is_loaded_goes_on_as_the_other(make):
    images, one, other = _images(8, 1, 8, 8), make(), make()
    for _ in range(10):
        one.observe(torch.ones(8))
    other.load_state_dict(one.state_dict())
    for module in (one, other):
        module.observe(torch.ones(8))
    assert torch.equal(_seeded(one)(images), _seeded(other)(images))
    assert not torch.equal(_seeded(one)(images), _seeded(one, seed=1)(images))


def _maps(monkeypatch, images, p=1.0):
    """What ADA makes of ``images``, the grids it looks them up at, in pixels, and the affine maps ``[N, 2, 3]``."""
    grids, look_up = [], augment._LookUp.apply
    monkeypatch.setattr(augment._LookUp, "apply", lambda x, grid: grids.append(grid) or look_up(x, grid))
    moved = _ada(p)._moved(images)
    height, width = images.shape[2:]
    pixels = grids[0].double() * torch.tensor([width / 2, height / 2])  # from the centre
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    design = torch.stack([x.flatten(), y.flatten(), torch.ones(height * width)], dim=1).double()
    fitted = torch.linalg.lstsq(design.expand(len(images), -1, -1), pixels.flatten(1, 2)).solution
    torch.testing.assert_close(design @ fitted, pixels.flatten(1, 2), atol=1e-4, rtol=1e-4)  # affine indeed
    return moved, pixels, fitted.mT


def test_ada_looks_pixels_up_as_scipy_does(monkeypatch):
    images = _images(6, 1, 7, 10)
    moved, pixels, _ = _maps(monkeypatch, images)
    for before, after, (x, y) in zip(images[:, 0], moved[:, 0], pixels.permute(0, 3, 1, 2).numpy(), strict=True):
        expected = ndimage.map_coordinates(before.numpy(), [y + 3, x + 4.5], order=1, mode="reflect")
        np.testing.assert_allclose(after.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("p", [1.0, 0.4])
def test_ada_draws_maps_as_the_paper_does(monkeypatch, p):
    torch.manual_seed(0)
    n = 4000
    *_, maps = _maps(monkeypatch, torch.zeros(n, 1, 8, 8), p)
    linear = maps[:, :, :2]
    determinant = torch.linalg.det(linear)
    assert (determinant < 0).double().mean().item() == pytest.approx(p / 2, abs=0.03)  # x-flips
    scale = determinant.abs().log2() / 2
    assert scale.square().mean().item() == pytest.approx(p * 0.2**2, rel=0.15)
    larger, smaller = torch.linalg.svdvals(linear).unbind(dim=1)
    assert ((larger / smaller).log2() / 2).square().mean().item() == pytest.approx(p * 0.2**2, rel=0.15)
    # Without a flip or stretching, a map is a rotation and a scale, of an angle that is no quarter with probability p.
    rigid = (determinant > 0) & ((larger / smaller).log2().abs() < 1e-5)
    angle = torch.atan2(linear[rigid, 1, 0], linear[rigid, 0, 0])
    turned = (angle / (math.pi / 2) - (angle / (math.pi / 2)).round()).abs() > 1e-4
    if p < 1:
        assert turned.double().mean().item() == pytest.approx(p, abs=0.05)
        stays = (maps - torch.eye(3)[:2]).abs().amax(dim=(1, 2)) < 1e-4
        nothing = (1 - p / 2) * (1 - p * 3 / 4) * (1 - p * (1 - 1 / 16)) * (1 - p) ** 4
        assert stays.double().mean().item() == pytest.approx(nothing, abs=0.02)  # the whole shifts: 1/16, of 8 pixels


def test_ada_recolours_as_the_paper_does():
    torch.manual_seed(0)
    images = _images(2000, 3, 4, 4)
    after = _ada(1.0)._recoloured(images)
    design = torch.cat([images.flatten(2), torch.ones(2000, 1, 16)], dim=1).mT.double()
    fitted = torch.linalg.lstsq(design, after.flatten(2).mT.double()).solution.mT
    torch.testing.assert_close(design @ fitted.mT, after.flatten(2).mT.double(), atol=1e-4, rtol=1e-4)
    matrix, offset = fitted[:, :, :3], fitted[:, :, 3]
    ones = torch.ones(3, dtype=torch.float64)
    luma = (matrix @ ones).mean(dim=1)
    torch.testing.assert_close(matrix @ ones, luma[:, None] * ones, atol=1e-4, rtol=1e-3)  # grey stays grey
    torch.testing.assert_close(offset, (offset.mean(dim=1))[:, None] * ones, atol=1e-4, rtol=1e-3)
    assert (luma < 0).double().mean().item() == pytest.approx(0.5, abs=0.04)
    assert luma.abs().log2().std().item() == pytest.approx(0.5, rel=0.06)
    assert (offset.mean(dim=1) / luma).std().item() == pytest.approx(0.2, rel=0.06)
    # At right angles to grey: a rotation by an even angle, and a scale.
    basis = torch.tensor([[1, -1, 0], [1, 1, -2]]).double() / torch.tensor([[2], [6]]).sqrt()
    plane = basis @ matrix @ basis.T
    chroma = torch.linalg.det(plane).sqrt()
    eye = torch.eye(2, dtype=torch.float64)
    unit = plane / chroma[:, None, None]
    torch.testing.assert_close(unit @ unit.mT, eye.expand(2000, 2, 2), atol=1e-3, rtol=1e-3)
    assert (chroma / luma.abs()).log2().std().item() == pytest.approx(1, rel=0.06)
    assert unit[:, 0, 0].mean().abs() < 0.05 and unit[:, 0, 1].mean().abs() < 0.05


def test_ada_tells_mirrored_images_apart_while_p_is_below_1():
    image = torch.zeros(1, 1, 8, 8)
    image[..., 1:3] = 1  # a line at the left
    torch.manual_seed(0)
    mean = _ada(0.6)(image.expand(3000, -1, -1, -1)).mean(dim=0)
    assert (mean * image[0]).sum() > 1.2 * (mean * image[0].flip(-1)).sum()


def test_autocast_takes_no_digit_from_ada():
    images, ada = _images(4, 3, 16, 16), _ada(1.0)
    expected = _seeded(ada)(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(_seeded(ada)(images), expected)


@pytest.mark.parametrize("path", sorted((CONFIGS / "augment").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_configurations_make_augmentations(path):
    node = OmegaConf.load(path)
    if node["_target_"] is None:
        assert path.stem == "none"
        return
    module = instantiate(node, **({"examples": 10} if path.stem == "auto" else {}), _convert_="all")
    assert isinstance(module, augment.Augment)
    assert module(_images(2, 1, 8, 8)).shape == (2, 1, 8, 8)


@pytest.mark.parametrize("augment", [DiffAugment(["color"]), ADA()])
def test_transparency_is_moved_but_never_recoloured(augment):
    if isinstance(augment, ADA):
        augment.p.fill_(1.0)
        augment._moved = lambda images: images
    images = torch.rand(6, 4, 8, 8) * 2 - 1
    changed = augment(images)
    assert torch.equal(changed[:, 3], images[:, 3])
    assert not torch.equal(changed[:, :3], images[:, :3])


def test_what_is_done_to_images_is_told():
    told = "augmented by flip; augment=none for letters and whatever is never mirrored"
    assert DiffAugment(["flip"]).about == told
    assert DiffAugment(["color", "cutout"]).about == "augmented by color, cutout"
    assert DiffAugment([]).about == ""
