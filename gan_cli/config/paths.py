"""The paths in a configuration of ``gan-train``."""

import os
from typing import Any

PLACES = ("root", "a", "b")  # the keys of a dataset that name where its images lie


def absolute(config: dict[str, Any], cwd: str) -> dict[str, Any]:
    """``config`` with absolute paths, from the folder ``cwd`` where the command was typed.

    A run can thus be resumed from another folder, and ``hydra.job.chdir`` changes nothing.
    """

    def placed(path: Any) -> Any:
        if isinstance(path, list):
            return [placed(one) for one in path]
        return os.path.abspath(os.path.join(cwd, os.path.expanduser(path))) if isinstance(path, str) else path

    found = {**config, "init": placed(config["init"])}
    if config["resume"] != "auto":
        found["resume"] = placed(config["resume"])
    if isinstance(config["dataset"], dict):
        roots = {name: placed(config["dataset"][name]) for name in PLACES if name in config["dataset"]}
        found["dataset"] = {**config["dataset"], **roots}
        labels = config["dataset"].get("labels")
        if isinstance(labels, str) and os.path.isfile(placed(labels)):  # else it is a name below the root
            found["dataset"]["labels"] = placed(labels)
    return found
