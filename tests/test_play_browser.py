"""The page of gan-export in a real browser. The tests need Playwright, of ``gan-cli[dev-browser]``, and a Chromium."""

import numpy as np
import pytest
import torch
from helpers import save_modules
from test_export import lively, tracing
from test_report_browser import CUT, WIDTHS, browser, opened  # noqa: F401  (fixtures)

import gan_cli
from gan_cli import sampling
from gan_cli.commands import export
from gan_cli.networks import conv, dcgan, stylegan2
from gan_cli.noise import Noise
from gan_cli.rundir.checkpoint import Progress

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: gan-cli[dev-browser]")
pytestmark = [pytest.mark.slow, tracing]
RUNS = {
    "conv": (conv, {"width": 4}, (1, 28, 28), ["zero", "<one>"]),
    "dcgan": (dcgan, {"width": 8}, (3, 32, 32), []),
    "stylegan2": (stylegan2, {"width": 8, "max_width": 16}, (3, 32, 32), []),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Runs of untrained generators with varied images, and the page of each."""
    found = {}
    for name, (family, options, shape, names) in RUNS.items():
        torch.manual_seed(0)
        generator = family.Generator(shape, 8, **options, classes=len(names))
        lively(generator, sampling.latents(Noise("normal", 8), 16, 0), *([torch.arange(16) % 2] if names else []))
        net = {side: {"_target_": f"gan_cli.networks.{name}.{side.title()}"} for side in ("generator", "discriminator")}
        net["generator"] |= options
        config = {"net": {**net, "z_dim": 8, "prior": "normal"}, "image_shape": list(shape), "class_names": names}
        folder = tmp_path_factory.mktemp(name)
        save_modules(folder / "checkpoints", Progress(7, 70, 1.5), config, {"generator": generator, "ema": generator})
        path = folder / "play.html"
        words = {"weights": "ema", "dtype": None, "opset": None, "backward": False, "trust": []}
        export.run({"ckpt": folder, "out": str(path), **words})
        found[name] = path
    return found


def ready(page):
    """Wait until all samples are drawn."""
    page.locator("#samples button:not([data-drawn])").first.wait_for(state="detached", timeout=60_000)


def picture(page):
    return page.evaluate("[...document.getElementById('picture').getContext('2d').getImageData(0, 0, 8, 8).data]")


@pytest.mark.parametrize("name", RUNS)
def test_the_page_draws_what_gan_sample_draws(opened, pages, name):  # noqa: F811
    page = opened(pages[name])
    labels = [0, 1, 0] if RUNS[name][3] else None
    expected = gan_cli.sample(pages[name].parent, 3, seed=5, labels=labels).permute(0, 2, 3, 1).numpy()
    assert expected.std() > 10
    for i, z in enumerate(sampling.latents(Noise("normal", 8), 3, 5)):
        given = [z.tolist(), labels[i] if labels else None]
        found = page.evaluate("async ([z, label]) => [...await player.image(z, label)]", given)
        rgb = np.array(found).reshape(*expected.shape[1:3], 4)[..., :3]
        assert np.abs(rgb - expected[i].astype(int)).max() <= 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits(opened, pages, width, scheme):  # noqa: F811
    page = opened(pages["conv"], width, scheme)
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate(CUT) == []
    assert page.locator("#classes button").all_inner_texts() == ["all", "zero", "<one>"]


def test_all_of_it_works_from_the_keyboard(opened, pages):  # noqa: F811
    page = opened(pages["conv"])
    ready(page)
    told = page.locator("#told")
    assert told.inner_text() == "sample 1, class zero"
    page.locator("#samples button").first.focus()
    for key in ("ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    told.get_by_text("sample 3, class zero").wait_for()
    assert page.locator("#samples button").nth(2).get_attribute("aria-label") == "sample 3, end B"
    page.locator("#mix").focus()
    page.keyboard.press("Home")
    told.get_by_text("sample 1, class zero").wait_for()
    before = picture(page)
    page.keyboard.press("ArrowRight")
    told.get_by_text("1% of the way from sample 1 to sample 3, class zero").wait_for()
    assert picture(page) != before
    slider = page.locator("#directions input").first
    slider.focus()
    page.keyboard.press("End")
    assert page.locator("#directions output").first.inner_text() == "3.0"
    page.keyboard.press("0")
    assert slider.input_value() == "0"
    page.locator("#classes button").nth(2).focus()
    page.keyboard.press("Enter")
    told.get_by_text("<one>").wait_for()
    page.keyboard.press("n")
    assert page.locator("#seed").input_value() != "0"
    with page.expect_download() as saved:
        page.keyboard.press("s")
    assert saved.value.suggested_filename == "picture.png"


def test_truncation_to_nothing_makes_all_samples_of_a_class_alike(opened, pages):  # noqa: F811
    for name in RUNS:
        page = opened(pages[name])
        page.locator("#truncation").focus()
        page.keyboard.press("Home")
        page.locator("#samples button:not([data-drawn='0'])").first.wait_for(state="detached", timeout=60_000)
        drawn = "[...document.querySelectorAll('#samples canvas')].map(c => c.toDataURL())"
        assert len(set(page.evaluate(drawn))) == max(1, len(RUNS[name][3])), name


def test_without_workers_the_page_computes_by_itself(browser, pages, tmp_path):  # noqa: F811
    """A policy that forbids workers stands for a browser that has none for files."""
    path = tmp_path / "alone.html"
    path.write_text(pages["conv"].read_text().replace("; worker-src blob:", "; worker-src 'none'"))
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=20_000)
    ready(page)
    page.close()
