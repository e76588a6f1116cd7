"""Heads drawn by DiceBear and resvg: ``pip install 'gan-cli[faces]'``. A head is a function of its style and its seed.

``python -m gan_cli.data.drawing STYLE SIZE SEEDS N FIRST STEP`` writes the records of the seeds ``SEEDS``0 to
``SEEDS``N-1, every STEP-th from FIRST on. A record is the pixels, uint8 ``[3, SIZE, SIZE]``, then one byte for each
attribute.
"""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, cached_property
from importlib import metadata, resources
from typing import IO, Any

import numpy as np
from PIL import Image

from gan_cli.errors import UserError, did_you_mean

BACKGROUNDS = ("b6e3f4", "c0aede", "ffd5dc", "ffdfbf", "d1d4f9")
ABSENT = "none"
FINER = 2  # heads are drawn at this multiple of their size, then reduced
PACKAGES = ("dicebear-core", "dicebear-styles", "resvg-py")  # what a drawn head depends on
FEWEST = 2000  # heads of one process: for fewer the start of another takes longer than its work


class Style:
    """A style of DiceBear, by its ``name``. UserError if the packages are missing, or have no such style."""

    def __init__(self, name: str) -> None:
        try:
            import dicebear
            import resvg_py

            styles = {path.name.removesuffix(".json"): path for path in resources.files("dicebear_styles").iterdir()}
        except ImportError as error:
            raise UserError("dataset=drawn_faces draws its images itself: pip install 'gan-cli[faces]'") from error
        if name not in styles:
            raise UserError(f"no dataset.style {name!r} in dicebear-styles" + did_you_mean(name, styles))
        self.name, self.definition = name, json.loads(styles[name].read_text("utf-8"))
        self._avatar, self._style = dicebear.Avatar, dicebear.Style(self.definition)
        self._render = resvg_py.svg_to_bytes

    @property
    def licence(self) -> str:
        """Who made the art, and under which licence it may be passed on."""
        about: Mapping[str, Any] = self.definition["meta"]
        return f"{about['source']['name']} by {about['creator']['name']}, {about['license']['name']}"

    @cached_property
    def attributes(self) -> Mapping[str, tuple[str, ...]]:
        """The possible values of each attribute, under DiceBear's names: ``hairVariant``, ``skinColor``, …"""
        components, colours = self.definition["components"], self.definition.get("colors", {})
        found = {f"{name}Variant": sorted(part["variants"]) for name, part in components.items() if "variants" in part}
        found |= {f"{name}Color": [value.lstrip("#") for value in part["values"]] for name, part in colours.items()}
        found["backgroundColor"] = list(BACKGROUNDS)
        return {
            name: (*values, ABSENT) for name, values in found.items() if len(values) > 1 or self._may_be_absent(name)
        }

    def _may_be_absent(self, attribute: str) -> bool:
        """Whether an ``attribute`` is that of a component which only some heads have."""
        part = self.definition["components"].get(attribute.removesuffix("Variant"), {})
        return part.get("probability", 100) < 100

    def record(self, seed: str, size: int) -> bytes:
        """The head of ``seed``: the pixels ``[3, size, size]``, then the index of each attribute's value."""
        options = {"seed": seed, "size": FINER * size, "backgroundColor": list(BACKGROUNDS)}
        drawn = self._avatar(self._style, options).to_json()
        picture = Image.open(io.BytesIO(self._render(svg_string=drawn["svg"], skip_system_fonts=True))).convert("RGB")
        pixels = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
        return pixels.tobytes() + bytes(
            values.index(_value(drawn["options"].get(name))) for name, values in self.attributes.items()
        )


@cache
def style_of(name: str) -> Style:
    """:class:`Style`, made once in a process: DiceBear checks its definition, which takes a while."""
    return Style(name)


def _value(option: str | Sequence[str] | None) -> str:
    """The value of an attribute among the options of a drawn head, whose colours are lists of one."""
    if option is None:
        return ABSENT
    return (option if isinstance(option, str) else option[0]).lstrip("#")


def versions() -> str:
    """The versions of the packages that draw: other versions may draw other heads."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)


def records(style: Style, seeds: str, n: int, size: int, workers: int) -> Iterator[bytes]:
    """The records of the heads of ``seeds`` 0 to ``n`` - 1, in order. Process i modulo ``workers`` draws head i.

    Few heads are drawn by this process alone. A head whose process has ended is drawn by this process, too.
    """
    workers = max(1, min(workers, n // FEWEST))
    length = 3 * size * size + len(style.attributes)
    with ExitStack() as stack:
        words = [style.name, str(size), seeds, str(n)]
        pipes = [_started(stack, [*words, str(i), str(workers)]) for i in range(workers)] if workers > 1 else []
        for i in range(n):
            read = pipes[i % workers].read(length) if pipes else b""
            yield read if len(read) == length else style.record(f"{seeds}{i}", size)


def _started(stack: ExitStack, words: Sequence[str]) -> IO[bytes]:
    """The output of a new process of :func:`main` with these ``words``. The process ends with ``stack``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gan_cli.data.drawing", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is answered by the process that reads
    )  # fmt: skip
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout
    return stack.enter_context(process.stdout)


def main() -> None:
    name, size, seeds, n, first, step = sys.argv[1:]
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the reader may have gone
    style = Style(name)
    for i in range(int(first), int(n), int(step)):
        sys.stdout.buffer.write(style.record(f"{seeds}{i}", int(size)))


if __name__ == "__main__":
    main()
