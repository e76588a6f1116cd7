"""Resume a run: the keys that may change, and the resulting configuration."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gan_cli.config.defaults import settled
from gan_cli.config.paths import PLACES
from gan_cli.config.saved import SavedRun
from gan_cli.config.trust import check_resolved, check_trusted
from gan_cli.config.validation import checked
from gan_cli.errors import UserError

GROUPS = ("dataset", "game", "net", "loss", "penalty", "augment", "optimizer", "sinks", "own_metrics")
# The keys that may change on a resume: length, place and intervals. All other keys must stay the same. The places
# of the data may change as well, if they lead to the same data (SavedRun.check_files).
MOVES = frozenset(f"dataset.{name}" for name in PLACES)
MAY_CHANGE = frozenset(
    {
        "steps", "max_seconds", "device", "deterministic", "compile", "graphs", "threads", "log_every", "sample_every",
        "checkpoint_every", "samples", "eval_every", "keep", "accumulate", "on_nonfinite", "on_write_error",
        "on_collapse", "sinks", "own_metrics", "resume", "trust", "plan",
    }
)  # fmt: skip

# Defaults for keys that older checkpoints lack.
BEFORE: Mapping[str, Any] = {
    "conditional": False,
    "augment": {"_target_": None},
    "update": "alternating",
    "game": {"_target_": "gan_cli.training.games.Adversarial"},
    "deterministic": False,
    "init": None,
    "freeze_d": 0,
    "accumulate": 1,
    "own_metrics": {},
    "graphs": "off",
    "schedule": {
        "images": None,
        "lr": None,
        "penalty": None,
        "half_life": None,
        "beta2": None,
        "augment_p": None,
    },
}
# The default of the penalties' precision, which older checkpoints lack.
PENALTY_BEFORE: Mapping[str, Any] = {"precision": "auto"}
# Defaults of the dataset ``folder`` for options that older checkpoints lack.
FOLDER_BEFORE: Mapping[str, Any] = {"fit": "crop", "range": "auto", "labels": None, "holdout": None}


def resumed(config: Mapping[str, Any], saved: SavedRun, overridden: Sequence[str]) -> dict[str, Any]:
    """The configuration of the ``saved`` run with the command line's changes. UserError for a forbidden change.

    ``overridden`` names the keys that the command line set, in full: ``dataset.root``. The file's configuration is
    checked and trusted here, once for all later uses.
    """
    was = settled(saved.checkpoint.config)
    if missing := [name for name in ("net", "loss", "optimizer") if name not in was]:
        raise UserError(
            f"{saved.path} says nothing of its {missing[0]}; if it was made from Python, go on there: "
            "gan_cli.train(…, resume=True)"
        )
    if isinstance(was.get("dataset"), Mapping) and was["dataset"].get("_target_") == "gan_cli.data.folder.folder":
        was["dataset"] = {**FOLDER_BEFORE, **was["dataset"]}
    if isinstance(was.get("penalty"), Mapping) and was["penalty"].get("_target_"):
        was["penalty"] = {**PENALTY_BEFORE, **was["penalty"]}
    merged = {name: was.get(name, BEFORE.get(name, value)) for name, value in config.items()}
    if isinstance(merged["dataset"], Mapping) and any(key.startswith(("dataset", "experiment")) for key in overridden):
        merged["dataset"] = _moved(merged["dataset"], config["dataset"])
    typed = {re.split("[./@]", key)[0] for key in overridden if key not in MOVES}
    for name in config if "experiment" in typed else typed:
        if name in MAY_CHANGE:
            merged[name] = config[name]
        elif name in config and name != "run_dir" and config[name] != merged[name]:
            raise UserError(
                f"{name} can't change when a run is resumed; leave it out, or start a new run (these may change: "
                f"{', '.join(sorted({*MAY_CHANGE, *MOVES} - {'resume', 'trust'}))})"
            )
    if config["threads"] == "auto":
        merged["threads"] = was.get("threads", "auto")  # rounding depends on it
    check_resolved(merged, saved.path)
    merged = settled(checked(merged, "train"))
    for group in GROUPS:
        check_trusted(merged[group], saved.path, config["trust"], group)
    return merged


def _moved(dataset: Mapping[str, Any], typed: Any) -> dict[str, Any]:
    """A run's ``dataset`` with the places of the ``typed`` one, as far as both have them."""
    moved = {name: typed[name] for name in PLACES if isinstance(typed, Mapping) and name in typed and name in dataset}
    return {**dataset, **moved}
