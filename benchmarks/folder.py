"""A folder of images, from the first start to its minibatches: python benchmarks/folder.py [N]

Makes N (20,000) JPEG files of 178x218 in a temporary folder; each line below is then a process of its own:
first start (decodes them at 64x64), second start (maps what the first one kept), minibatches of 64 in random order.
Prints seconds, images/s, and the process's memory: its peak, and what was its own before and after. Pages of a mapped
file count in the peak, but are the system's to take back, and the same for every process that maps it.
"""

import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

BATCHES, BATCH_SIZE = 2000, 64


def make_files(top: Path, n: int) -> None:
    """``n`` files of 256 different smooth pictures, in folders of 1,000."""
    rng, contents = np.random.default_rng(0), []
    for _ in range(256):
        picture = Image.fromarray(rng.integers(0, 256, (14, 11, 3), dtype=np.uint8))
        content = io.BytesIO()
        picture.resize((178, 218), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
        contents.append(content.getvalue())
    for i in range(n):
        path = top / f"{i // 1000:03}" / f"{i:06}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(contents[i % len(contents)])


def start(root: str) -> tuple[float, int]:
    """Seconds and images of a start."""
    from gan_cli.data.folder import folder

    began = time.perf_counter()
    n = len(folder(root, size=64))
    return time.perf_counter() - began, n


def minibatches(root: str) -> tuple[float, int]:
    """Seconds and images of minibatches in random order, after a start that isn't counted."""
    from gan_cli.data import Sampler
    from gan_cli.data.folder import folder

    images = folder(root, size=64).images
    sampler = Sampler(len(images), seed=0)
    began = time.perf_counter()
    for _ in range(BATCHES):
        images[sampler.draw(BATCH_SIZE)]
    return time.perf_counter() - began, BATCHES * BATCH_SIZE


def measured(phase: Callable[[str], tuple[float, int]], root: str) -> str:
    """What ``phase`` took, as a line."""
    import torch  # noqa: F401  # not what is measured

    before = _own_memory()
    seconds, n = phase(root)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    memory = f"peak {peak:5,.0f} MB, own {before:,.0f} -> {_own_memory():,.0f} MB"
    return f"{seconds:7.2f} s {n / seconds:12,.0f} images/s   {memory}"


def _own_memory() -> float:
    """MB that are no file's pages; nan where the system doesn't tell."""
    try:
        status = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary, "images")
        root.mkdir()
        os.environ["GAN_CLI_CACHE"] = str(Path(temporary, "cache"))
        make_files(root, n)
        for name, phase in (("first start", start), ("second start", start), ("minibatches", minibatches)):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                print(f"{name:13}", process.submit(measured, phase, str(root)).result(), flush=True)


if __name__ == "__main__":
    main()
