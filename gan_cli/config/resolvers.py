"""What stands for a value in a YAML file of ``configs/``: ``${run_folder:…}``, ``${shorthand:…}``, ``${tuned:…}``,
``${r1_gamma:…}``.
"""

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from gan_cli.errors import UserError
from gan_cli.rundir.layout import file_to_resume


def run_folder(run_dir: str, resume: str | None) -> str:
    """The folder of a run: the resumed folder, else ``run_dir``. Resolved before Hydra makes any folder."""
    if resume is None or resume == "auto" or file_to_resume(resume):
        return os.path.expanduser(run_dir)
    folder = Path(os.path.expanduser(resume))
    if not any(folder.glob("checkpoints/*.safetensors")):
        raise UserError(
            f"can't resume {resume}: it holds no checkpoint; give a run folder or a checkpoint file, or resume=auto "
            "with run_dir=PATH"
        )
    return str(folder)


def shorthand(name: str, default: Any, *, _parent_: Any, _root_: Any) -> Any:
    """``${shorthand:lr,0.1}`` in an optimizer's file: ``optimizer.lr`` for its network, or the default if that is null.

    Datasets, experiments and the command line may set ``optimizer.lr``. The last of these settings applies.
    """
    value = _of_network(f"optimizer.{name}", _parent_, _root_)
    if isinstance(value, ListConfig):  # torch refuses betas=[0,0.99], one of which is no float
        value = OmegaConf.create([float(number) if type(number) is int else number for number in value])
    return default if value is None else value


def tuned(name: str, default: Any, *, _parent_: Any, _root_: Any) -> Any:
    """``${tuned:lr,0.1}``: as :func:`shorthand`, but ``net.recipe.lr`` has priority over the default.

    Used by the optimizers that the recipes were tuned with.
    """
    value = _of_network(f"net.recipe.{name}", _parent_, _root_)
    return shorthand(name, default if value is None else value, _parent_=_parent_, _root_=_root_)


def r1_gamma(size: Any, batch_size: int) -> float:
    """``${r1_gamma:${dataset.size},${batch_size}}``: R1's gamma by the number of pixels and the batch.

    ``0.0002 H W / batch_size``, the heuristic of StyleGAN2-ADA (Karras et al. 2020, arXiv 2006.06676, appendix C).
    UserError if the size is not set.
    """
    sides = [size, size] if isinstance(size, int) else list(size or [])
    if len(sides) != 2:
        raise UserError("penalty.gamma goes by dataset.size here, which is not set: set either")
    return 0.0002 * sides[0] * sides[1] / batch_size


def _of_network(key: str, optimizer: Any, root: Any) -> Any:
    """The value at ``key`` for the network of ``optimizer``; None if unset. UserError if only one network has one."""
    value = OmegaConf.select(root, key)
    if not isinstance(value, DictConfig):
        return value
    if set(value) != {"generator", "discriminator"}:
        name = key.rpartition(".")[2]
        raise UserError(
            f"{key} should be one for both networks, or {{generator: …, discriminator: …}}; "
            f"for one network alone say optimizer.generator.{name}=…"
        )
    return value["discriminator" if optimizer is OmegaConf.select(root, "optimizer.discriminator") else "generator"]
