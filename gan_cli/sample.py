"""``gan-sample``: images from a checkpoint's generator."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from gan_cli import build, checkpoint, images
from gan_cli.checkpoint import Checkpoint
from gan_cli.errors import UserError

MODULE = {"ema": "ema", "raw": "generator"}
UNWRITTEN = {*Image.registered_extensions(), ".npy", ".pt"}  # what a person may expect, but not a folder's name


def load_generator(opened: Checkpoint, weights: str = "ema", trust: Sequence[str] = ()) -> nn.Module:
    """The generator in a checkpoint, averaged (``ema``) or as last trained (``raw``), in eval mode, on the CPU.

    It is rebuilt from this package's own networks; code that the configuration names elsewhere is refused unless its
    package is in ``trust``.
    """
    try:
        net = opened.config["net"]
        facts = {"image_shape": tuple(opened.config["image_shape"])}
        build.check_trusted(net, opened.path, trust, "net")
        generator = build.generator(net, facts)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{opened.path} doesn't describe a generator ({error}); give a checkpoint of gan-train"
        ) from error
    checkpoint.load_module(opened, MODULE[weights], generator)
    return generator.eval()


def run(config: Mapping[str, Any]) -> Path:
    """Draw ``n`` images and write them as ``out`` says; gives the path written."""
    opened = checkpoint.read(config["ckpt"])
    if config["labels"] is not None:
        raise UserError(
            f"labels={config['labels']}: the generator in {opened.path} is not conditional; leave labels out"
        )
    device = build.device(config["device"])
    generator = load_generator(opened, config["weights"], config["trust"]).to(device)
    prior, z_dim = build.noise(opened.config["net"])
    latents = images.latents(prior, config["n"], z_dim, config["seed"])
    out = Path(config["out"]).expanduser() if config["out"] else _default_out(opened.path)
    suffix = "" if out.is_dir() else out.suffix.lower()
    if suffix in UNWRITTEN - {".png"}:
        raise UserError(f"out={out}: can't write {suffix}; use .png (a grid), .npz (an array), or a folder's name")
    blocks = tqdm(
        images.generate(generator, latents, config["batch_size"]),
        total=-(-len(latents) // images.block_size(config["batch_size"])),
        desc="sampling",
        leave=False,
        disable=None,
    )
    if suffix == ".png":
        images.write_png(images.grid(torch.cat(list(blocks))), out)
    elif suffix == ".npz":
        images.write_npz(torch.cat(list(blocks)), out)
    else:
        for i, image in enumerate(image for block in blocks for image in block):
            images.write_png(images.to_pil(image), out / f"{i:06d}.png")
    return out


def _default_out(path: Path) -> Path:
    """``sample.png`` in the run folder of the checkpoint ``path``; beside it where it lies elsewhere."""
    return (path.parent.parent if path.parent.name == "checkpoints" else path.parent) / "sample.png"
