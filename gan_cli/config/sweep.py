"""The runs of a sweep: their folders, named after their overrides; combinations that can't be composed; the plan."""

import copy
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import partial

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from gan_cli.config.explain import explain
from gan_cli.errors import UserError

PLACE = frozenset({"run_dir", "resume", "trust", "cluster"})
MISTAKE = "mistake"  # the key of a configuration that could not be composed: the line that says why
LONGEST = 160  # characters of a folder's name; a file system takes 255 bytes


def prepare(config: DictConfig, loader: ConfigLoader) -> dict[str, dict[str, str]]:
    """Prepare ``loader`` for the runs of the sweep that ``config`` describes. The planned runs, by their folders.

    A sweeper that chooses values as it goes, such as Optuna's, has no plan. UserError for a sweep over the place.
    """
    sweeper = config.hydra.sweeper
    words = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    words += OmegaConf.to_container(config.hydra.overrides.task, resolve=False)  # type: ignore[arg-type]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(words)
    swept = frozenset(override.key_or_group for override in parsed if override.is_sweep_override())
    if refused := sorted(key for key in swept if root(key) in PLACE):
        raise UserError(f"{refused[0]} holds for the whole sweep: give one value")
    loader.load_sweep_config = partial(_composed, loader, swept)  # type: ignore[method-assign]
    if not sweeper._target_.endswith(f".{BasicSweeper.__name__}"):
        return {}
    (combinations,) = BasicSweeper.split_arguments(parsed, None)
    return {folder_name(run, swept): by_key(run) for run in combinations}


def _composed(
    loader: ConfigLoader, swept: frozenset[str], master_config: DictConfig, sweep_overrides: list[str]
) -> DictConfig:
    """The configuration of one run. If it can't be composed, it holds the line that says why, and that run fails."""
    try:
        config = type(loader).load_sweep_config(loader, master_config, sweep_overrides)
    except Exception as error:
        if (line := explain(error, "train")) is None:
            raise
        config = copy.deepcopy(master_config)
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        with read_write(config), open_dict(config), read_write(config.hydra):
            config.hydra.overrides.task = sweep_overrides
            config[MISTAKE] = line.encode()  # a str with ${ would be an interpolation
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.sweep.subdir = folder_name(sweep_overrides, swept)
    return config


def by_key(words: Iterable[str]) -> dict[str, str]:
    """Overrides as a mapping: ``["k=2", "+loss.x=1"]`` -> ``{"k": "2", "loss.x": "1"}``."""
    pairs = (word.lstrip("+~").partition("=") for word in words)
    return {key: value for key, _, value in pairs}


def root(key: str) -> str:
    """The top-level key or group of ``key``: ``optimizer`` of ``optimizer.lr`` and of ``optimizer/generator``."""
    return re.split(r"[./@]", key)[0]


def folder_name(words: Sequence[str], swept: frozenset[str] = frozenset()) -> str:
    """The folder of a run in its sweep: ``["loss=hinge", "seed=1"]`` -> ``loss-hinge+seed-1``.

    The name follows from the overrides alone, in any order. Keys that may change on a resume are left out, unless they
    are ``swept``. A hash stands for what a name can't hold. The name needs no quotes, in a shell or in an override.
    """
    from gan_cli.config.resume import MAY_CHANGE  # imported late: it loads torch

    def distinguishes(word: str) -> bool:
        (key,) = by_key([word])
        return key in swept or root(key) not in PLACE | MAY_CHANGE

    chosen = sorted(filter(distinguishes, words))
    name = "+".join(word.replace("=", "-", 1) for word in chosen) or "defaults"
    # Lower case alone, as some file systems take A and a for the same letter.
    if len(name) <= LONGEST and all(re.fullmatch(r"[a-z][a-z0-9_.]*=[a-z0-9_.-]*", word) for word in chosen):
        return name
    digest = hashlib.sha256("\0".join(chosen).encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9_.+-]+', '_', name.lstrip('+~'))[: LONGEST - 13]}-{digest}"
