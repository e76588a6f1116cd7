"""The pages: links and pictures exist, commands compose, example files are sound, lines wrap."""

import dataclasses
import re
import shlex

import pytest
from helpers import ROOT
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from gan_cli.config import schema
from gan_cli.config.validation import validate

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:python -m gan_cli |gan-)(train|sample|translate|eval|project|report|doctor|export)(?= )(.*)")
PLUGINS = ("hydra/", "hydra.launcher.", "hydra.sweeper.", "cluster")  # which may be missing here
NOT_COMPOSED = ("--help", "--version")  # what Hydra, or gan-cli, answers by itself
FILES = {
    name: text
    for page in ("docs/extend.md", "docs/use.md", "docs/run-folder.md")
    for name, text in re.findall(r"^```\w+\n# (\S+\.(?:py|yaml))\n(.*?)^```$", TEXTS[page], re.DOTALL | re.MULTILINE)
}


def _prose(text):
    """``text`` without its code blocks."""
    return BLOCK.sub("", text)


def _commands(text):
    """The command lines in ``text``, in blocks and in prose, each as (command, words)."""
    lines = [line for _, block in BLOCK.findall(text) for line in block.splitlines()]
    lines += [code for code in re.findall(r"`([^`]+)`", _prose(text)) if re.match(r"(python -m gan_cli|gan-)", code)]
    for line in lines:
        command = COMMAND.match(re.sub(r"^(\w+=\S* )+", "", line))  # without variables of the environment
        if command and not line.startswith("gan-train: "):
            yield command.group(1), tuple(shlex.split(command.group(2), comments=True))


def _composed_alike(words):
    """``words`` with one name for all run folders: commands that differ in these alone are composed once."""
    plain = [re.sub(r"^(ckpt|run)=[\w/.]+$", r"\1=RUN_DIR", word) for word in words]
    return tuple(word for word in plain if not re.match(r"^(run_dir|resume)=[\w/.]+$", word))


COMMANDS = sorted({(name, _composed_alike(words)) for text in TEXTS.values() for name, words in _commands(text)})


def _choices(overrides):
    """``overrides`` as runs of a sweep, as many as show each choice, and both ends of each range, once."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    swept = {i: list(o.sweep_string_iterator()) for i, o in enumerate(parsed) if o.is_sweep_override()}
    swept = {i: [v[0], v[-1]] if parsed[i].is_range_sweep() else v for i, v in swept.items()}
    for run in range(max(map(len, swept.values()), default=1)):
        now = {i: f"{parsed[i].get_key_element()}={values[run % len(values)]}" for i, values in swept.items()}
        yield [now.get(i, word) for i, word in enumerate(overrides)]


@pytest.fixture(scope="module")
def own_configs(tmp_path_factory):
    """The folder of the example files of the pages."""
    folder = tmp_path_factory.mktemp("pages")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def hydra_ready():
    with initialize_config_module("gan_cli.configs", version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


@pytest.mark.parametrize("page", TEXTS)
def test_links_and_pictures_exist(page):
    text = _prose(TEXTS[page])
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in _anchors(file.read_text(encoding="utf-8")), f"{page}: {target}"


def _anchors(text):
    """The anchors of the headings of a page, as code hosts make them."""
    headings = re.findall(r"^#+ (.*)$", _prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_pages_have_commands():
    assert len(COMMANDS) > 40
    assert {name for name, _ in COMMANDS} == set(schema.COMMANDS)


@pytest.mark.parametrize(
    ("command", "words"), COMMANDS, ids=lambda part: part if isinstance(part, str) else " ".join(part)
)
def test_a_command_composes(command, words, hydra_ready, own_configs):
    if words and words[0] in NOT_COMPOSED:
        return
    words = list(words)
    if "--cfg" in words:
        at = words.index("--cfg")
        del words[at : at + 2]
    if "--config-dir" in words:
        at = words.index("--config-dir")
        words[at : at + 2] = [f"hydra.searchpath=['file://{own_configs / words[at + 1]}']"]
    assert "-m" in words or not any(o.is_sweep_override() for o in OverridesParser.create().parse_overrides(words))
    for overrides in _choices([word for word in words if word != "-m" and not word.startswith(PLUGINS)]):
        config = compose(command, overrides)
        OmegaConf.resolve(config)
        validate(config, command)


def test_the_example_files_are_sound(own_configs, monkeypatch):
    assert len(FILES) > 10
    for name, text in FILES.items():
        if name.endswith(".py"):
            compile(text, name, "exec")
    monkeypatch.syspath_prepend(str(own_configs))
    from gan_cli.config.targets import check_options, target_of

    for name in FILES:
        if name.endswith(".yaml"):
            node = OmegaConf.to_container(OmegaConf.load(own_configs / name))
            if "defaults" in node:  # it names other files: a command of its page composes it
                choice = f"{(own_configs / name).parent.name}={(own_configs / name).stem}"
                assert any(choice in words for _, words in COMMANDS), name
                continue
            for part in [node] if "_target_" in node else node.values():
                assert callable(target_of(part, name))
                check_options(part, name)


def test_every_key_and_every_choice_stands_in_the_page_about_use():
    words = set(re.findall(r"[\w.]+", TEXTS["docs/use.md"]))
    for node in schema.COMMANDS.values():
        for field in dataclasses.fields(node):
            assert field.name in words or f"{field.name}.half_life" in words, field.name
    for group in (
        "dataset",
        "net",
        "loss",
        "penalty",
        "augment",
        "optimizer",
        "game",
        "sinks",
        "cluster",
        "experiment",
    ):
        for path in (ROOT / "configs" / group).glob("*.yaml"):
            assert path.stem in words, f"{group}={path.stem}"


@pytest.mark.parametrize("page", [*TEXTS, "CHANGELOG.md"])
def test_prose_wraps(page):
    for line in _prose((ROOT / page).read_text(encoding="utf-8")).splitlines():
        without_links = re.sub(r"\]\([^)]*\)", "]", line)
        assert line.startswith("|") or len(without_links) <= 120, f"{page}: {line}"


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 120
