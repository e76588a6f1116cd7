"""Games of translation: networks, losses, the pool, the schedule, and runs from their data to their pictures."""

import copy
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from helpers import invoke, save_checkpoint
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from gan_cli import cli
from gan_cli.config.saved import open_run
from gan_cli.config.validation import check_decay
from gan_cli.errors import UserError
from gan_cli.losses import lsgan, nonsaturating
from gan_cli.networks import patchgan, resnet_translator, unet
from gan_cli.rundir.records import read_metrics
from gan_cli.training.batches import Batch
from gan_cli.training.games import Average
from gan_cli.training.plan import lr_factor
from gan_cli.training.pool import Pool
from gan_cli.training.terms import objective
from gan_cli.training.translation import CycleGAN, Pix2Pix
from gan_cli.translating import sides_for, translate, translate_whole

OFF = Average(half_life=0)


def _count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def _opened(path):
    """The image in a file, which is closed again."""
    with Image.open(path) as image:
        image.load()
        return image


# Networks


def test_the_networks_have_the_published_numbers_of_parameters():
    """In millions, as junyanz/pytorch-CycleGAN-and-pix2pix prints them."""
    with torch.device("meta"):
        published = {
            54.414: unet.Generator((3, 256, 256)),
            41.829: unet.Generator((3, 128, 128)),
            2.769: patchgan.Discriminator((3, 256, 256), 3),
            11.378: resnet_translator.Generator((3, 256, 256)),
            7.838: resnet_translator.Generator((3, 128, 128)),
            2.765: patchgan.Discriminator((3, 256, 256), norm="instance"),
        }
    for millions, network in published.items():
        assert round(_count(network) / 1e6, 3) == millions


@pytest.mark.parametrize(("n_layers", "field"), [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142), (5, 286)])
def test_a_logit_sees_a_patch_of_the_published_size(n_layers, field):
    torch.manual_seed(0)
    network = patchgan.Discriminator((1, 320, 320), width=1, n_layers=n_layers, norm="none").double()
    images = torch.rand(1, 1, 320, 320, dtype=torch.float64, requires_grad=True)
    logits = network(images)
    (gradient,) = torch.autograd.grad(logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2], images)
    rows = (gradient[0, 0] != 0).any(dim=1).nonzero()
    assert rows.max() - rows.min() + 1 == field


def test_the_patchgan_of_256_pixels_gives_30_by_30_logits():
    assert patchgan.Discriminator((3, 256, 256), 3, width=2)(torch.zeros(1, 6, 256, 256)).shape == (1, 1, 30, 30)


@pytest.mark.parametrize("options", [{}, {"upsampling": "resize"}, {"antialias": True}, {"norm": "none"}])
@pytest.mark.parametrize("network", [unet, resnet_translator])
def test_a_translator_takes_other_sizes_and_channels(network, options):
    generator = network.Generator((3, 16, 24), 1, width=4, **options)
    for size in ((16, 24), (32, 48)):
        made = generator(torch.rand(2, 1, *size))
        assert made.shape == (2, 3, *size) and made.abs().max() <= 1


def test_the_u_net_is_as_deep_as_its_size_and_its_skips_arrive():
    assert [len(unet.Generator((3, side, side), width=2).down) for side in (4, 32, 256, 96)] == [2, 5, 8, 5]
    torch.manual_seed(0)
    generator = unet.Generator((1, 8, 8), width=4, norm="none", dropout=0).double()
    image = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        reference, x, skips = None, image, []
        for down in generator.down:  # by the paper's words, with no list of pairs
            x = down(x)
            skips = [x, *skips]
        for level, up in enumerate(generator.up):
            x = up(x if level == 0 else torch.cat([skips[level], x], dim=1))
            reference = x
        assert torch.equal(generator(image), reference)
    dropped = [sum(isinstance(part, nn.Dropout) for part in up) for up in unet.Generator((3, 256, 256), width=2).up]
    assert dropped == [1, 1, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda: unet.Generator((3, 10, 8)), r"unet needs sides divisible by 4, not 10x8: add dataset.size=\[8,8\]|=8"),
        (lambda: resnet_translator.Generator((3, 10, 8)), "resnet_translator needs sides"),
        (lambda: patchgan.Discriminator((3, 16, 16)), "add net.discriminator.n_layers=2"),
        (lambda: patchgan.Discriminator((3, 16, 16), n_layers=6), "n_layers=6 should be from 0 to 5"),
        (lambda: unet.Generator((3, 8, 8), norm="spectral"), "no norm 'spectral'"),
        (lambda: unet.Generator((3, 8, 8), upsampling="x"), "no upsampling 'x'"),
        (lambda: unet.Generator((3, 8, 8), dropout=1.0), "dropout=1.0 should be from 0 up and below 1"),
    ],
)
def test_an_impossible_network_says_what_to_type(build, line):
    with pytest.raises(ValueError, match=line):
        build()


def test_weights_begin_as_published():
    torch.manual_seed(0)
    network = unet.Generator((3, 64, 64), width=16)
    convolutions = torch.cat([p.flatten() for n, p in network.named_parameters() if p.dim() == 4])
    assert abs(convolutions.std() - 0.02) < 2e-4 and abs(convolutions.mean()) < 2e-4
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert abs(torch.cat([m.weight for m in norms]).mean() - 1) < 0.01 and not torch.cat([m.bias for m in norms]).any()
    assert not network.up[-1][1].bias.any()


# Losses


class _Times(nn.Module):
    """``x -> factor * x``, on as many channels as ``channels``."""

    def __init__(self, factor, channels=None):
        super().__init__()
        self.factor, self.channels = nn.Parameter(torch.tensor(float(factor))), channels

    def forward(self, x):
        return self.factor * x[:, : self.channels]


class _Mean(nn.Module):
    """The mean over the channels as a map of logits, ``[N, 1, H, W]``, plus a bias."""

    def __init__(self, bias=0.0):
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(self, x):
        return x.mean(dim=1, keepdim=True) + self.bias


def _batch(m=3, channels=2, side=2, seed=0):
    return Batch(torch.rand(m, channels, side, side, generator=torch.Generator().manual_seed(seed)), None, 1)


def test_pix2pix_descends_the_losses_of_the_paper():
    batch, bce = _batch(), nn.BCEWithLogitsLoss()
    game = Pix2Pix(_Times(0.5), _Mean(0.1), partial(nonsaturating, half=True), source_channels=1, average=OFF)
    source, target = batch.real[:, :1], batch.real[:, 1:]
    fake = game.generate(batch)
    assert torch.equal(fake, 0.5 * source)
    real_logits = (source + target) / 2 + 0.1  # D sees the source beside both
    fake_logits = (source + fake) / 2 + 0.1
    d_loss = (bce(real_logits, torch.ones(3, 1, 2, 2)) + bce(fake_logits, torch.zeros(3, 1, 2, 2))) / 2
    assert torch.allclose(objective(game.discriminator_terms(batch, fake)), d_loss)
    g_loss = bce(fake_logits, torch.ones(3, 1, 2, 2)) + 100 * (fake - target).abs().mean()
    assert torch.allclose(objective(game.generator_terms(batch, fake)), g_loss)
    (gradient,) = torch.autograd.grad(
        objective(game.discriminator_terms(batch, fake)), [game.generator.factor], allow_unused=True
    )
    assert gradient is None  # D's terms do not reach G


def test_without_the_adversarial_term_pix2pix_is_a_regression():
    batch = _batch()
    game = Pix2Pix(_Times(0.5), _Mean(), nonsaturating, source_channels=1, average=OFF, adversarial=0, l1=1)
    fake = game.generate(batch)
    game.discriminator_terms(batch, fake)
    assert set(game.generator_terms(batch, fake)) == {"l1"}


@pytest.mark.parametrize("identity", [0.5, 0.0])
def test_cyclegan_descends_the_losses_of_the_paper(identity):
    batch, mse = _batch(), nn.MSELoss()
    game = CycleGAN(
        _Times(0.5), _Mean(0.1), lambda: (_Times(3.0), _Mean(0.2)), lsgan, 1, (1, 2, 2), OFF, identity=identity, pool=0
    )
    x, y = batch.real[:, :1], batch.real[:, 1:]
    fake = game.generate(batch)
    assert torch.allclose(fake.target, 0.5 * x) and torch.allclose(fake.source, 3 * y)
    zeros, ones = torch.zeros_like(x), torch.ones_like(x)
    d_loss = (mse(y + 0.1, ones) + mse(0.5 * x + 0.1, zeros)) / 2 + (mse(x + 0.2, ones) + mse(3 * y + 0.2, zeros)) / 2
    assert torch.allclose(objective(game.discriminator_terms(batch, fake)), d_loss)
    g_loss = mse(0.5 * x + 0.1, ones) + mse(3 * y + 0.2, ones)
    g_loss = g_loss + 10 * ((3 * 0.5 * x - x).abs().mean() + (0.5 * 3 * y - y).abs().mean())
    g_loss = g_loss + 10 * identity * ((0.5 * y - y).abs().mean() + (3 * x - x).abs().mean())
    assert torch.allclose(objective(game.generator_terms(batch, fake)), g_loss)


def test_one_pass_gives_what_two_give_where_images_do_not_mix():
    torch.manual_seed(0)
    networks = (
        resnet_translator.Generator((1, 8, 8), width=2, blocks=1),
        patchgan.Discriminator((1, 8, 8), n_layers=1, width=2, norm="instance"),
    )
    game = CycleGAN(*networks, lambda: copy.deepcopy(networks), lsgan, 1, (1, 8, 8), OFF)
    one, other = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    assert not any(game._apart.values())
    for made, image in zip(game.apply_to("generator", one, other), (one, other), strict=True):
        assert torch.allclose(made, game.generator(image), atol=1e-6)
    mixing = Pix2Pix(
        unet.Generator((1, 8, 8), width=2), patchgan.Discriminator((1, 8, 8), 1, n_layers=1, width=2), nonsaturating, 1
    )
    assert all(mixing._apart.values())


def test_identity_needs_the_same_channels():
    with pytest.raises(ValueError, match="game.identity=0"):
        CycleGAN(_Times(1), _Mean(), lambda: (_Times(1), _Mean()), lsgan, 1, (3, 2, 2))


def test_in_a_world_of_two_pixels_l1_finds_the_median_and_the_adversarial_term_does_not():
    """The target is 1 three times of ten, else -1, whatever the source. The best constant under L1 is the median, -1.

    Under the adversarial term alone a fixed D that knows the world rewards a value that the data have.
    """
    target = torch.tensor([1.0] * 3 + [-1.0] * 7).view(10, 1, 1, 1).expand(10, 1, 1, 2)
    batch = Batch(torch.cat([torch.ones_like(target), target], dim=1), None, 1)

    class Right(nn.Module):
        """The logit of a D that has seen that the value 1 is real, whatever its frequency: it is highest at 1."""

        def forward(self, x):
            return -((x[:, 1:] - 1) ** 2)

    found = {}
    for name, weights in {
        "l1": {"l1": 1.0, "adversarial": 0.0},
        "adversarial": {"l1": 0.0, "adversarial": 1.0},
    }.items():
        game = Pix2Pix(_Times(0.2), Right(), nonsaturating, 1, OFF, **weights)
        optimizer = torch.optim.SGD(game.generator.parameters(), lr=0.05)
        for _ in range(400):
            fake = game.generate(batch)
            game.discriminator_terms(batch, fake)
            optimizer.zero_grad()
            objective(game.generator_terms(batch, fake)).backward()
            optimizer.step()
        found[name] = game.generator.factor.item()
    assert abs(found["l1"] - -1) < 0.06  # the mean would be -0.4
    assert abs(found["adversarial"] - 1) < 0.06


# The pool


def _reference_pool(fakes, chances, shares, size):
    """The pool in words: fill it; then with probability 1/2 show an old image and keep the new one in its place."""
    held, shown = [], []
    for fake, chance, share in zip(fakes, chances, shares, strict=True):
        if len(held) < size:
            held.append(fake)
            shown.append(fake)
        elif chance < 0.5:
            shown.append(held[int(share * size)])
            held[int(share * size)] = fake
        else:
            shown.append(fake)
    return held, shown


def test_the_pool_does_what_the_words_say_and_comes_back_from_its_state():
    torch.manual_seed(1)
    pool, values, chances, shares, shown = Pool(5, (1, 1, 1)), list(range(60)), [], [], []
    for block in torch.arange(60.0).view(-1, 4):
        state = torch.get_rng_state()
        draws = torch.rand(4, 2)
        chances += draws[:, 0].tolist()
        shares += draws[:, 1].tolist()
        torch.set_rng_state(state)
        shown += pool(block.view(4, 1, 1, 1)).flatten().tolist()
    held, expected = _reference_pool(values, chances, shares, 5)
    assert shown == expected and pool.images.flatten().tolist() == held
    again = Pool(5, (1, 1, 1))
    again.load_state_dict(pool.state_dict())
    torch.manual_seed(2)
    first = pool(torch.arange(4.0).view(4, 1, 1, 1))
    torch.manual_seed(2)
    assert torch.equal(again(torch.arange(4.0).view(4, 1, 1, 1)), first)
    with pytest.raises(ValueError, match="pool=-1"):
        Pool(-1, (1, 1, 1))


# The schedule


def test_the_rates_are_constant_and_then_fall_linearly_to_zero():
    """At the start of an epoch of 10 images, as published: 1 for 4 epochs, then 1 - (epoch - 4) / 4."""
    factors = [lr_factor(10 * epoch, (40, 80)) for epoch in range(10)]
    assert factors == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0]
    assert lr_factor(10, [0, 40]) == 0.75


@pytest.mark.parametrize("value", ["never", -1, 0, [1], [2, 1], [1, "x"], True, [0, float("inf")]])
def test_an_impossible_schedule_gets_one_line(value):
    with pytest.raises(UserError, match="lr_decay_after="):
        check_decay(value)


def test_possible_schedules():
    for value in (None, 1, 2.5, [0, 1], [10, 20.0]):
        check_decay(value)


# Translating


def test_a_translation_depends_on_its_image_alone_and_changes_nothing():
    torch.manual_seed(0)
    generator = unet.Generator((3, 16, 16), width=4)
    generator(torch.rand(8, 3, 16, 16))  # moves the running statistics
    before = copy.deepcopy(generator.state_dict())
    sources = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    state = torch.get_rng_state()
    for mode in ("train_stats", "eval"):
        whole = translate(generator, sources, mode, seed=3)
        assert torch.equal(torch.cat([translate(generator, one[None], mode, seed=3) for one in sources]), whole)
    assert torch.equal(torch.get_rng_state(), state) and generator.training
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(module.track_running_stats and module.training for module in norms)


def test_the_modes_are_those_of_training_and_of_testing():
    torch.manual_seed(0)
    generator = unet.Generator((3, 16, 16), width=4)
    for _ in range(3):
        generator(torch.rand(8, 3, 16, 16))
    source = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    image = source.float() / 127.5 - 1
    with torch.no_grad():
        torch.manual_seed(5)
        trained = copy.deepcopy(generator).train()(image)
        tested = copy.deepcopy(generator).eval()(image)
    for mode, expected in {"train_stats": trained, "eval": tested}.items():
        made = translate(generator, source, mode, seed=5)
        assert (made.float() - (expected + 1) * 127.5).abs().max() < 0.51, mode
    assert not torch.equal(translate(generator, source, "train_stats", seed=6), translate(generator, source, seed=5))


# Runs


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Folders a and b of 12 pictures of the same names, 16x16: discs, and the same discs in other colours."""
    root = tmp_path_factory.mktemp("drawn")
    rows, columns = np.mgrid[:16, :16]
    rng = np.random.default_rng(0)
    for i in range(12):
        y, x, r = rng.uniform(4, 12, 3)
        disc = ((rows - y) ** 2 + (columns - x) ** 2 < r)[..., None]
        for name, colours in {"a": ((255, 0, 0), (255, 255, 255)), "b": ((0, 0, 255), (0, 0, 0))}.items():
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(np.where(disc, *colours).astype(np.uint8)).save(root / name / f"{i:02d}.png")
    return root


def _words(drawn, dataset):
    return [
        f"dataset={dataset}", f"dataset.a={drawn}/a", f"dataset.b={drawn}/b", "dataset.size=16", "dataset.load_size=18",
        "dataset.flip=true", "dataset.holdout=0.3", "net.generator.width=4", "net.discriminator.width=4",
        "net.discriminator.n_layers=1", "batch_size=2", "log_every=2", "sample_every=4", "checkpoint_every=3",
        "eval_every=4", "device=cpu", "ema.half_life=100", "lr_decay_after=[8,40]",
    ]  # fmt: skip


@pytest.mark.parametrize("game", ["cyclegan", "cut", pytest.param("pix2pix", marks=pytest.mark.slow)])
def test_a_run_resumes_bit_for_bit_and_shows_held_out_images(game, drawn, call, tmp_path):
    words = [*_words(drawn, "pairs" if game == "pix2pix" else "unpaired"), f"game={game}"]
    if game != "pix2pix":
        words += ["net.generator.blocks=1", *(["game.pool=3"] if game == "cyclegan" else [])]
    whole = call("gan-train", *words, "steps=11", "run_dir=whole")
    assert whole.returncode == 0, whole.stderr
    assert call("gan-train", *words, "steps=5", "run_dir=parts").returncode == 0
    assert call("gan-train", "resume=parts", "steps=11").returncode == 0
    one, other = (load_file(tmp_path / f"{run}/checkpoints/last.safetensors") for run in ("whole", "parts"))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    if game == "cyclegan":
        assert int(one["pool.held"]) == 3 and one["backward_pool.images"].abs().sum() > 0
        assert {name.split(".")[0] for name in one} >= {"backward_generator", "backward_discriminator", "backward_ema"}
    rows = read_metrics(tmp_path / "whole")
    scored = [row for row in rows if "mae" in row]
    assert [row["step"] for row in scored] == [4, 8, 11]
    assert all({"psnr", "ssim", "frechet"} <= row.keys() for row in scored)  # pairs are known by their names
    assert ("cycle_error" in scored[0]) == (game == "cyclegan")
    grids = sorted((tmp_path / "whole/samples").glob("*.png"))
    assert len(grids) == 4
    first, last = (np.asarray(_opened(path).convert("RGB")) for path in (grids[0], grids[-1]))
    source, output, target = (slice(2 + 66 * column, 66 + 66 * column) for column in range(3))
    assert (first[2:66, source] == last[2:66, source]).all() and (first[2:66, target] == last[2:66, target]).all()
    assert (first[2:66, output] != last[2:66, output]).any()


@pytest.mark.slow
def test_pix2pix_learns_other_colours(drawn, call, tmp_path):
    words = [word for word in _words(drawn, "pairs") if not word.startswith(("ema", "eval_every", "lr_decay"))]
    words += ["optimizer.lr=0.005", "net.generator.norm=none", "net.generator.dropout=0", "dataset.load_size=null"]
    done = call("gan-train", *words, "eval_every=150", "steps=150", "run_dir=run", "sample_every=150", "log_every=50")
    assert done.returncode == 0, done.stderr
    assert read_metrics(tmp_path / "run")[-1]["mae"] < 0.1  # untouched, the sources are at about .7


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["dataset=pairs", "dataset.a={0}/a", "dataset.b={0}/b", "net=conv"],
         "images of two domains, and this net's generator draws: "),
        (["net=unet"], "one kind, and this net's generator translates: dataset=mnist"),
        (["dataset=pairs", "dataset.a={0}/a", "dataset.b={0}/b", "game=adversarial"],
         "and this game's generator draws"),
        (["game=pix2pix"], "and this game's generator translates"),
        (["dataset=pairs", "dataset.a={0}/a", "dataset.b={0}/b", "penalty=r1"], "takes no penalty: add penalty=none"),
        (["dataset=pairs", "dataset.a={0}/a", "dataset.b={0}/b", "augment=flip"], "takes no augment: add augment=none"),
        (["dataset=pairs", "dataset.a={0}/a", "dataset.b={0}/b", "conditional=true"], "conditional=true needs labels"),
        (["dataset=pairs", "dataset.a={0}/a", "dataset.b={0}/b", "dataset.size=50"], "needs sides divisible by 4"),
        (["dataset=unpaired", "dataset.a={0}/a", "dataset.b={0}/b", "dataset.size=32", "dataset.channels=[1,3]"],
         "add game.identity=0"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_gets_one_line(words, line, drawn, call):
    done = call("gan-train", *(word.format(drawn) for word in words), "steps=1", "run_dir=x")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert line in done.stderr


# gan-translate


@pytest.fixture(scope="module")
def runs(drawn, tmp_path_factory):
    """The run folders of a pix2pix and a CycleGAN run of two steps, at 16x16."""
    folder = tmp_path_factory.mktemp("runs")
    for dataset, more in {"pairs": [], "unpaired": ["net.generator.blocks=1"]}.items():
        words = [*_words(drawn, dataset), *more, "steps=2", f"run_dir={folder}/{dataset}"]
        assert invoke(cli.train, words).returncode == 0
    return folder


@pytest.fixture
def translated(runs, call):
    """``gan-translate`` of the run ``pairs``, or of another one."""
    return lambda *words, run="pairs": call("gan-translate", f"ckpt={runs / run}", *words)


def test_a_folder_keeps_names_sizes_and_transparency(translated, runs, tmp_path):
    clear = Image.new("RGBA", (40, 20), (200, 10, 10, 255))
    clear.putalpha(Image.linear_gradient("L").resize((40, 20)))
    (tmp_path / "in/deep").mkdir(parents=True)
    clear.save(tmp_path / "in/clear.png")
    Image.new("L", (16, 16), 9).save(tmp_path / "in/deep/grey.jpg")
    Image.new("RGB", (33, 21)).save(tmp_path / "in/deep/grey.png")
    (tmp_path / "in/broken.png").write_bytes(b"no")
    done = translated("input=in", "out=out")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out\n"
    made = {path.relative_to(tmp_path / "out").as_posix(): _opened(path) for path in (tmp_path / "out").rglob("*.*")}
    shapes = {name: (image.mode, image.size) for name, image in made.items()}
    assert shapes == {
        "clear.png": ("RGBA", (40, 20)), "deep/grey.png": ("RGB", (16, 16)), "deep/grey.png.png": ("RGB", (33, 21)),
    }  # fmt: skip
    assert np.array_equal(made["clear.png"].getchannel("A"), clear.getchannel("A"))
    again = translated("input=in", "out=out")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1) and "clear.png is there already" in again.stderr
    saved = open_run(runs / "pairs")
    source = torch.full((1, 3, 16, 16), 9, dtype=torch.uint8)
    expected = translate(saved.generator(), source, "eval")[0].permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(made["deep/grey.png"]), expected)


def test_one_image_at_its_own_resolution_and_at_the_network_s(translated, tmp_path):
    Image.new("RGB", (50, 35), (1, 200, 30)).save(tmp_path / "x.png")
    for size, sides in {"original": (50, 35), "network": (16, 16), "fit": (50, 35)}.items():
        done = translated("input=x.png", f"out={size}.png", f"size={size}")
        assert done.returncode == 0, done.stderr
        assert _opened(tmp_path / f"{size}.png").size == sides
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(tmp_path / "x.png", "/deep/x.png")
    assert translated("input=in.zip", "out=unpacked").returncode == 0
    assert (tmp_path / "unpacked/deep/x.png").is_file()


def test_the_figure_shows_the_held_out_pairs_of_the_run(translated, tmp_path, runs):
    done = translated("figure=pairs", "n=2", "out=pairs.png", "mode=train_stats")
    assert done.returncode == 0, done.stderr
    assert _opened(tmp_path / "pairs.png").size == (3 * 66 + 2, 2 * 66 + 2)
    back = translated("figure=pairs", "n=2", "out=back.png", "backward=true", run="unpaired")
    assert back.returncode == 0, back.stderr
    forth, turned = (np.asarray(_opened(tmp_path / name)) for name in ("pairs.png", "back.png"))
    assert np.array_equal(forth[2:66, 2:66], turned[2:66, 134:198])  # the sources of one are the targets of the other


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["input=none.png"], "input=none.png: no such file or folder"),
        ([], "input is needed"),
        (["input=empty"], "no image files in input=empty"),
        (["input=notes.png", "out=o"], "nothing of input=notes.png can be read: notes.png (not an image)"),
        (["input=empty", "figure=pairs"], "leave input out"),
        (["figure=pairs", "out=x"], "figure=pairs is a picture, out=FILE.png"),
        (["input=notes.png", "backward=true"], "in one direction alone"),
        (["input=notes.png", "mode=test"], "no mode 'test'"),
    ],
)
def test_what_can_t_be_translated_gets_one_line(words, line, translated, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.png").write_text("notes")
    done = translated(*words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert line in done.stderr


def test_each_command_names_the_other(runs, call, tmp_path):
    save_checkpoint(tmp_path / "noise")
    assert "type gan-sample ckpt=noise" in call("gan-translate", "ckpt=noise", "input=x").stderr
    assert "type gan-translate ckpt=" in call("gan-sample", f"ckpt={runs}/pairs").stderr


def test_tiles_cover_an_image_and_leave_no_seam():
    class Shift(nn.Module):
        """Adds 10 levels; its sides must be multiples of 4."""

        factor = 4

        def __init__(self):
            super().__init__()
            self.by = nn.Parameter(torch.tensor(10 / 127.5))

        def forward(self, x):
            assert x.shape[-1] % 4 == x.shape[-2] % 4 == 0
            return x + self.by

    image = torch.randint(0, 240, (3, 75, 131), generator=torch.Generator().manual_seed(0)).byte()
    made = translate_whole(Shift(), image, "eval", largest=32 * 32, overlap=8)
    assert torch.equal(made, image + 10)
    assert torch.equal(translate_whole(Shift(), image, "eval"), image + 10)
    convolution = nn.Conv2d(3, 1, 3, padding=1)
    with torch.no_grad():
        apart = translate_whole(convolution, image, "eval", largest=40 * 40, overlap=16).float()
        whole = translate_whole(convolution, image, "eval").float()
    assert (apart - whole).abs().max() <= 13  # at a tile's border a convolution sees zeros, at a small weight
    assert (apart - whole).abs().mean() < 0.5


def test_an_image_of_another_shape_is_translated_with_as_many_pixels():
    assert sides_for((16, 16), (64, 64), 64) == (64, 64)
    assert sides_for((200, 800), (64, 64), 16) == (32, 128)
    assert sides_for((1000, 10), (64, 64), 4) == (640, 8)
