"""The configuration of plain ``gan-train``, which a run's own is compared with."""

from collections.abc import Mapping
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict, read_write


def defaults() -> dict[str, Any]:
    """What ``gan-train`` alone comes to, as a run would save it. It is known within a command only; elsewhere {}."""
    if not GlobalHydra.instance().is_initialized():
        return {}
    composed = GlobalHydra.instance().config_loader().load_configuration("train", [], RunMode.RUN)
    with read_write(composed), open_dict(composed):
        del composed["hydra"]
    plain: dict[str, Any] = OmegaConf.to_container(composed, resolve=True)  # type: ignore[assignment]
    return settled(plain)


def settled(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` without resolved keys: the shorthands ``optimizer.lr`` and ``.betas``, the networks' recipe.

    ``cluster``, which is no part of a run, is left out as well.
    """
    result = {name: value for name, value in config.items() if name != "cluster"}
    for group, taken_in in (("optimizer", ("lr", "betas")), ("net", ("recipe",))):
        if isinstance(result.get(group), Mapping):
            result[group] = {name: value for name, value in result[group].items() if name not in taken_in}
    return result
