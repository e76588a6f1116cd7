"""Which module may import which; and what the wheel holds."""

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import CONFIGS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gan_cli"
TORCH_ONLY = ("networks", "losses", "penalties", "augment", "noise", "ema", "optimizers")
HYDRA_USERS = {"cli", "build", "schema"}


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = {".".join(p.relative_to(PACKAGE).with_suffix("").parts): set(_imports(p)) for p in PACKAGE.rglob("*.py")}


def _uses(imports, *packages):
    return {name for name in imports if name.split(".")[0] in packages}


def test_only_cli_build_and_schema_know_hydra():
    assert {module for module, imports in MODULES.items() if _uses(imports, "hydra", "omegaconf")} == HYDRA_USERS


def test_the_parts_know_torch_and_their_own_family_only():
    for module, imports in MODULES.items():
        family = module.split(".")[0]
        if family in TORCH_ONLY:
            assert {name for name in _uses(imports, "gan_cli") if not name.startswith(f"gan_cli.{family}")} == set(), (
                module
            )
        if family == "data":
            inside = ("gan_cli.data", "gan_cli.errors", "gan_cli.files")
            assert {name for name in _uses(imports, "gan_cli") if not name.startswith(inside)} == set(), module


def test_data_flows_one_way():
    below = {
        "loop": {"train", "sample", "evaluate", "build", "cli", "schema"},
        "build": {"loop", "train", "sample", "evaluate", "cli", "schema"},
    }
    for module, above in below.items():
        used = {name.split(".")[1] for name in _uses(MODULES[module], "gan_cli") if "." in name}
        assert not used & above, module


def test_the_answers_that_need_no_torch_import_none():
    for module in ("cli", "schema", "errors", "files"):
        assert not _uses(
            MODULES[module] - {"gan_cli.train", "gan_cli.sample", "gan_cli.evaluate", "gan_cli.sweep"},
            "torch",
            "torchvision",
        )


def test_only_the_loop_calls_backward():
    for path in PACKAGE.rglob("*.py"):
        calls = {n.func.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)
                 and isinstance(n.func, ast.Attribute)}  # fmt: skip
        assert ("backward" in calls) == (path.name == "loop.py"), path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    for name in ("gan_cli", "configs", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        source / "dist",
        source,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = (source / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_yaml_the_data_and_the_classifier(wheel):
    names = set(wheel.namelist())
    yaml = {f"gan_cli/configs/{path.relative_to(CONFIGS).as_posix()}" for path in CONFIGS.rglob("*.yaml")}
    data = {f"gan_cli/data/files/mnist/{path.name}" for path in (PACKAGE / "data/files/mnist").iterdir()}
    assert len(data) == 5  # four IDX files and their licence
    assert yaml | data | {"gan_cli/metrics/mnist_classifier.safetensors"} <= names
    entry_points = next(name for name in names if name.endswith("entry_points.txt"))
    assert "gan-train = gan_cli.cli:train" in wheel.read(entry_points).decode()
