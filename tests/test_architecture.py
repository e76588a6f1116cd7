"""Which room may import which; how large anything may be; and what the wheel holds."""

import ast
import shutil
import statistics
import subprocess
import sys
import zipfile

import pytest
from helpers import CONFIGS, ROOT

PACKAGE = ROOT / "gan_cli"
VOCABULARY = ("data", "networks", "losses", "penalties", "augment", "optimizers", "noise", "sampling", "translating")

# What each room of gan_cli may import of the others, beside itself. One way down: cli and api, commands, config,
# training, pictures, metrics, rundir, the vocabulary, errors and files. An import that is not listed here is refused.
ALLOWED = {
    "errors": set(),
    "files": set(),
    "untrusted": set(),
    "noise": set(),
    "optimizers": set(),
    "losses": set(),
    "processes": {"errors"},
    "meeting": {"errors", "processes"},
    "penalties": {"processes"},
    "augment": set(),
    "networks": {"errors", "processes"},
    "sampling": {"noise"},
    "latents": set(),
    "directions": {"errors", "latents", "noise", "sampling"},
    "projection": {"latents"},
    "translating": {"sampling"},
    "data": {"errors", "files", "processes"},
    "rundir": {"directions", "errors", "files", "untrusted"},
    "metrics": {"data", "errors", "noise", "processes", "sampling", "translating"},
    "pictures": {
        "data", "directions", "errors", "files", "latents", "metrics", "noise", "rundir", "sampling", "translating",
    },
    "training": {
        "augment", "data", "diagnostics", "errors", "metrics", "noise", "penalties", "pictures", "processes", "rundir",
        "typed",
    },
    "config": {
        "augment", "data", "directions", "errors", "latents", "metrics", "noise", "pictures", "processes", "rundir",
        "sampling", "training", "translating", "untrusted",
    },
    "terminal": {"metrics"},
    "typed": set(),
    "diagnostics": {"metrics", "typed"},
    "reports": {"diagnostics", "files", "metrics", "rundir", "typed", "untrusted", "__init__"},
    "exports": {
        "directions", "errors", "latents", "noise", "reports", "sampling", "translating",
        "__init__",  # for the version
    },
    "commands": {
        "config", "data", "diagnostics", "errors", "exports", "files", "latents", "meeting", "metrics", "noise",
        "pictures", "processes", "projection", "reports", "rundir", "sampling", "terminal", "training", "translating",
        "typed",
        "__init__",  # for the version
    },
    "api": {
        "augment", "commands", "config", "data", "errors", "losses", "meeting", "noise", "processes", "rundir",
        "sampling", "training",
    },
    "cli": {"commands", "config", "errors", "reports", "rundir", "terminal", "__init__"},
    "__init__": {"api"},
    "__main__": {"cli", "errors"},
}  # fmt: skip
HYDRA_USERS = {
    "cli", "config.defaults", "config.explain", "config.hydra_fixes", "config.keys", "config.resolvers",
    "config.schema", "config.sweep", "config.targets", "config.validation",
}  # fmt: skip
WITHOUT_TORCH = {
    "__init__", "__main__", "cli", "commands.doctor", "commands.report", "config.cluster", "config.defaults",
    "config.explain", "diagnostics.doctor", "diagnostics.findings", "diagnostics.remedies", "diagnostics.seen",
    "config.hydra_fixes", "config.keys", "config.paths", "config.resolvers", "config.schema", "config.selection",
    "config.sweep", "config.validation", "config.words", "errors", "files", "metrics.catalogue", "metrics.mean_std",
    "reports.curves", "reports.facts", "reports.page", "reports.pictures", "reports.sweep", "reports.write",
    "rundir.layout", "rundir.records", "rundir.status", "terminal", "typed", "untrusted.safetensors_header",
}  # fmt: skip
PRINTING = {"__main__", "cli", "terminal", "commands"}
TREES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
    if "configs" not in path.parts
}


def _imports(tree):
    """The full names that a module imports, at its top or inside a function, but for type checkers alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(name):
    """The room of a full name within gan_cli: ``gan_cli.rundir.layout.LAST`` -> ``rundir``."""
    parts = name.split(".")
    inside = (PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file()
    return parts[1] if inside else "api" if parts[1] in ("train", "sample") else "__init__"


IMPORTS = {module: set(_imports(tree)) for module, tree in TREES.items()}


def test_imports_go_by_the_list_and_the_list_has_nothing_to_spare():
    used = {room: set() for room in ALLOWED}
    for module, names in IMPORTS.items():
        room = module.split(".")[0]
        used[room] |= {_room(name) for name in names if name.startswith("gan_cli.")} - {room}
    assert used == ALLOWED


def test_no_command_imports_another():
    commands = {module for module in TREES if module.startswith("commands.") and not module.endswith("__init__")}
    for module in commands:
        others = {f"gan_cli.{other}" for other in commands - {module}}
        assert not {name for name in IMPORTS[module] if name.startswith(tuple(others))}, module
        assert not {f"{name}" for name in IMPORTS[module] if name.startswith("gan_cli.commands")}, module


def test_hydra_is_known_to_the_command_line_and_the_configuration_alone():
    users = {m for m, names in IMPORTS.items() if {name.split(".")[0] for name in names} & {"hydra", "omegaconf"}}
    assert users == HYDRA_USERS


def test_the_answers_that_need_no_torch_import_none():
    for module in WITHOUT_TORCH:
        top = {name for node in TREES[module].body for name in _imports(ast.Module([node], []))
               if isinstance(node, ast.Import | ast.ImportFrom)}  # fmt: skip
        assert not {name for name in top if name.split(".")[0] in ("torch", "torchvision")}, module
        for name in top:
            inside = name.removeprefix("gan_cli.")
            known = any(inside == other or inside.startswith(f"{other}.") for other in WITHOUT_TORCH)
            package = any(other.startswith(f"{inside}.") for other in WITHOUT_TORCH)
            assert not name.startswith("gan_cli.") or known or package or inside == "__version__", (module, name)


def test_only_the_algorithm_calls_backward():
    for module, tree in TREES.items():
        calls = {n.func.attr for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
        assert ("backward" in calls) == (module == "training.algorithm"), module


def test_nothing_below_the_commands_prints():
    for module, tree in TREES.items():
        calls = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        assert "print" not in calls or module.split(".")[0] in PRINTING, module


def test_nothing_is_too_large_to_be_read_at_once():
    """No function over 80 lines, no module outside of the vocabulary over 250, half of the functions under 15."""
    lengths = []
    for module, tree in TREES.items():
        path = PACKAGE / f"{module.replace('.', '/')}.py"
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 250 or module.split(".")[0] in VOCABULARY, module
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Nonlocal)], module
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                lengths.append(node.end_lineno - node.lineno + 1)
                assert lengths[-1] <= 80, f"{module}.{node.name}"
    assert statistics.median(lengths) < 15
    assert len((PACKAGE / "training" / "algorithm.py").read_text().splitlines()) <= 80


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
