"""The pages: one HTML file each, with its style, its script and its pictures inside. Nothing is fetched.

Text of a run folder is escaped by the template. Its numbers travel as JSON in a block that no browser runs. A content
security policy names the digests of the page's own scripts: no other script can run, and nothing can be loaded.
"""

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

PLACE = resources.files("gan_cli.reports")
NONE = "\u2013"  # what stands for no value


class Assets(NamedTuple):
    """The scripts and styles of a page, by their files, and what its policy allows beside them."""

    scripts: tuple[str, ...] = ("uplot/uPlot.iife.min.js", "theme.js", "report.js")
    styles: tuple[str, ...] = ("uplot/uPlot.min.css", "report.css")
    policy: str = ""


REPORT = Assets()
PLAY = Assets(("theme.js", "runtime.js", "play.js"), ("report.css", "play.css"), "; worker-src blob:")


def rendered(template: str, data: Mapping[str, Any], assets: Assets = REPORT, **values: Any) -> str:
    """The page of ``template``. ``data`` is handed to the page's script, ``values`` to the template."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _text(f"templates/{name}")), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"number": number, "duration": duration}
    scripts = {PurePosixPath(name).stem: _text(f"assets/{name}") for name in assets.scripts}
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts.values()]
    sources = " ".join(f"'sha256-{digest}'" for digest in digests)
    return environment.get_template(template).render(
        data=data,
        styles=[Markup(_text(f"assets/{name}")) for name in assets.styles],
        scripts={name: Markup(script) for name, script in scripts.items()},
        licence=_text("assets/uplot/LICENSE"),
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {sources}{assets.policy}",
        **values,
    )


def _text(name: str) -> str:
    return PLACE.joinpath(name).read_text(encoding="utf-8")


def number(value: Any) -> str:
    """A number for a reader: four significant digits, whole numbers as they are; a dash for none."""
    if value is None:
        return NONE
    if isinstance(value, int) or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def duration(seconds: float) -> str:
    """``3,725`` -> ``1 h 2 min``."""
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if hours < 2 else f"{int(hours)} h {int(minutes) % 60} min"
