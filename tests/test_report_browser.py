"""The pages in a real browser. The tests need Playwright (``pip install 'gan-cli[dev-browser]'``) and a Chromium."""

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from gan_cli.reports import sweep, write

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: gan-cli[dev-browser]")
pytestmark = pytest.mark.slow
WIDTHS = (390, 1440)
OWN = ("file:", "data:", "blob:")  # addresses that lead nowhere
HOSTILE = "</script><img src=x onerror=\"document.title='pwned'\">"
CUT = """[...document.querySelectorAll('h1,h2,h3,p,figcaption,label,button')]
  .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline').map(e => e.textContent)"""
ROWS = [
    {"step": 10 * i, "loss_d": 1 + 1 / i, "loss_g": 0.5 + i / 100, "d_real": 0.6, "d_fake": 0.4, "frechet": 50.0 / i}
    for i in range(1, 101)
]


def _chromium():
    """The system's Chromium, else Playwright's own, else None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        options = {"executable_path": path} if (path := _chromium()) else {}
        if os.geteuid() == 0:
            options["args"] = ["--no-sandbox"]  # Chromium refuses its sandbox to root
        try:
            found = playwright.chromium.launch(**options)
        except sync_api.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of two runs with hostile words, and their pages."""
    top = tmp_path_factory.mktemp("runs")
    for name in ("a", "b"):
        (top / name / "samples").mkdir(parents=True)
        (top / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        state = {"overrides": {"net": HOSTILE}, "status": "complete", "step": 1000, "words": [f"net={HOSTILE}"]}
        (top / name / "status.json").write_text(json.dumps(state))
        for i in range(5):
            Image.new("RGB", (300, 200), (50 * i, 90, 90)).save(top / name / f"samples/{250 * i:08d}.png")
        write.report_run(top / name, top / name / "report.html", {"k": 1})
    write.report_runs(top, sweep.find(top), None, top / "report.html")
    return top


@pytest.fixture
def opened(browser):
    """Open a file in a new page: ``opened(path, width=390)``. Requests beyond the file and errors fail the test."""
    contexts, wrong = [], []

    def open_page(path, width=1440, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url[:5] in ("file:", "data:", "blob:") else wrong.append(request.url),
        )
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=10_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.mark.parametrize("name", ["a/report.html", "report.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_fits_and_nothing_hostile_runs(opened, folder, name, width, scheme):
    page = opened(folder / name, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.title() != "pwned" and page.locator("img[onerror]").count() == 0
    assert "onerror=" in page.inner_text("body")
    boxes = page.locator(".uplot canvas")
    assert boxes.count() > 0 and all(box.bounding_box()["width"] <= width for box in boxes.all())
    assert page.evaluate(CUT) == []


def test_the_slider_the_keys_and_the_film(opened, folder):
    page = opened(folder / "a/report.html")
    step = page.locator("#step")
    assert step.inner_text() == "1,000" and page.locator("#frame").get_attribute("alt") == "Samples at step 1000"
    last = page.locator("#frame").get_attribute("src")
    for key, shown in (
        ("ArrowLeft", "750"),
        ("Home", "0"),
        ("ArrowLeft", "0"),
        ("ArrowRight", "250"),
        ("End", "1,000"),
    ):
        page.keyboard.press(key)
        assert step.inner_text() == shown, key
    page.locator("#time").focus()
    page.keyboard.press("ArrowLeft")
    assert step.inner_text() == "750" and page.locator("#frame").get_attribute("src") != last
    page.locator("#time").fill("1")
    assert step.inner_text() == "250"
    page.locator("h1").click()
    page.keyboard.press("Space")
    assert page.locator("#play").inner_text() == "pause"
    sync_api.expect(page.locator("#play")).to_have_text("play", timeout=5000)
    assert step.inner_text() == "1,000"


def _legend(page):
    """What the legend of the first chart shows: the step and the values under the mouse."""
    return page.locator(".chart").first.locator(".u-legend .u-value").all_inner_texts()


def test_the_curves_have_the_records_values_zoom_and_smooth(opened, folder):
    page = opened(folder / "a/report.html")
    chart = page.locator(".chart", has_text="Losses").first
    assert "discriminator from 2 to 1.01; generator from 0.51 to 1.5" in chart.get_attribute("aria-label")
    over = chart.locator(".u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 20)
    assert _legend(page) == ["1000", "1.01", "1.5"]
    page.mouse.move(box["x"] + 10, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20, steps=5)
    page.mouse.up()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 20)
    assert 200 <= int(_legend(page)[0]) <= 300
    page.locator("#log").check()  # keeps the zoom
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 21)
    assert 200 <= int(_legend(page)[0]) <= 300
    page.locator("#reset").click()
    page.locator("#smooth").fill("0.9")
    over = page.locator(".chart", has_text="Losses").first.locator(".u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 20)
    mean, mass = 0.0, 0.0
    for row in ROWS:
        mean, mass = 0.9 * mean + 0.1 * row["loss_g"], 0.9 * mass + 0.1
    assert float(_legend(page)[2]) == pytest.approx(mean / mass, rel=1e-3)


def test_a_table_is_sorted_and_leads_to_the_pages(opened, folder):
    page = opened(folder / "report.html")
    rows = page.locator("table.sortable tbody tr td:first-child")
    assert rows.all_inner_texts() == ["a", "b"]
    head = page.locator("table.sortable th").first
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").click()
    assert rows.all_inner_texts() == ["b", "a"] and head.get_attribute("aria-sort") == "descending"
    page.locator("#metric").select_option("frechet")
    label = page.locator(".chart").get_attribute("aria-label")
    assert label == "frechet, step 10 to 1000: a from 50 to 0.5; b from 50 to 0.5"
    page.locator("table.sortable a", has_text="a").click()
    assert page.title() == "a"


def test_the_page_of_a_run_that_goes_on_loads_again_and_keeps_its_place(opened, folder, monkeypatch):
    monkeypatch.setattr("gan_cli.rundir.layout.at_work", lambda _: True)
    run_dir, path = folder / "a", folder / "watched.html"
    state = json.loads((run_dir / "status.json").read_text())
    (run_dir / "status.json").write_text(json.dumps({**state, "status": "running"}))
    write.report_run(run_dir, path, refresh=3)
    (run_dir / "status.json").write_text(json.dumps(state))
    page = opened(path, scheme="light")
    assert "The page follows the run." in page.inner_text("body")
    page.locator("#time").fill("1")
    page.locator("#log").check()
    page.locator("#smooth").fill("0.5")
    page.locator("#theme").click()
    write.report_run(run_dir, path)  # complete: the page is loaded once more
    sync_api.expect(page.locator("body")).not_to_contain_text("The page follows the run.", timeout=8000)
    assert "step=250" in page.url and "smooth=0.5" in page.url and "log=true" in page.url and "theme=dark" in page.url
    assert page.locator("#step").inner_text() == "250" and page.locator("#log").is_checked()
    assert page.locator("#smooth").input_value() == "0.5"
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_axe_finds_no_serious_violation(opened, folder):
    """``AXE`` names axe.min.js, of npm's package axe-core, which is not shipped."""
    if not (axe := os.environ.get("AXE")):
        pytest.skip("set AXE to the file axe.min.js of npm's axe-core")
    for name in ("a/report.html", "report.html"):
        for scheme in ("light", "dark"):
            page = opened(folder / name, 390, scheme)
            page.evaluate(Path(axe).read_text(encoding="utf-8"))  # the page's policy holds for its own scripts
            found = page.evaluate("axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes[0].html]))")
            assert [one for one in found if one[0] in ("serious", "critical")] == []
