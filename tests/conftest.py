"""Fixtures that several test modules share: a small dataset, and two ways to call the commands."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import COMMANDS, invoke

from gan_cli.data import Dataset

gc.disable()  # imports make a million objects that stay: to look for garbage among them takes a quarter of the time


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """A cache of the tests' own, for the commands that they call as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_CLI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def own_cache(tmp_path_factory, monkeypatch):
    """An empty cache for one test: it has no entries of other tests, whose removal would be told."""
    monkeypatch.setenv("GAN_CLI_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """100 random 8x8 grey images."""
    rng = torch.Generator().manual_seed(0)
    return Dataset(torch.randint(0, 256, (100, 1, 8, 8), dtype=torch.uint8, generator=rng))


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """Write files, ``{name: text}``, into the working folder of a test. Their modules can be imported."""

    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))

    return write


@pytest.fixture
def command(tmp_path):
    """Run an installed command in a folder of its own: ``command("gan-train", "k=2")``."""

    def run(name: str, *arguments: str, cwd: Path = tmp_path, **options) -> subprocess.CompletedProcess:
        executable = Path(sys.executable).parent / name
        return subprocess.run([executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, **options)

    return run


@pytest.fixture
def call(tmp_path):
    """The same in this process, which spares the start of another: ``call("gan-train", "k=2")``."""

    def run(name: str, *arguments: str, cwd: Path = tmp_path):
        before = Path.cwd()
        os.chdir(cwd)
        try:
            return invoke(COMMANDS[name], arguments, name)
        finally:
            os.chdir(before)

    return run
