"""The pages: one HTML file each, with its style, its script and its pictures inside. Nothing is fetched.

Text of a run folder is escaped by the template. Its numbers travel as JSON in a block that no browser runs. A content
security policy names the digests of the page's own scripts: no other script can run, and nothing can be loaded.
"""

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

PLACE = resources.files("gan_cli.reports")
SCRIPTS = ("assets/uplot/uPlot.iife.min.js", "assets/report.js")
NONE = "\u2013"  # what stands for no value
STYLES = ("assets/uplot/uPlot.min.css", "assets/report.css")


def rendered(template: str, data: Mapping[str, Any], **values: Any) -> str:
    """The page of ``template``. ``data`` is handed to the page's script, ``values`` to the template."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _text(f"templates/{name}")), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"number": number, "duration": duration}
    scripts = [_text(name) for name in SCRIPTS]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    return environment.get_template(template).render(
        data=data,
        styles=[Markup(_text(name)) for name in STYLES],
        scripts=[Markup(script) for script in scripts],
        licence=_text("assets/uplot/LICENSE"),
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {_sources(digests)}",
        **values,
    )


def _sources(digests: list[str]) -> str:
    return " ".join(f"'sha256-{digest}'" for digest in digests)


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
