"""``gan-sample``: images, or points, from a checkpoint's generator."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from gan_cli import build, checkpoint, figures, hardware, images
from gan_cli.checkpoint import Checkpoint
from gan_cli.data import Dataset
from gan_cli.errors import UserError
from gan_cli.metrics.extractor import Extractor, extractor_for

log = logging.getLogger(__name__)

IMAGES_A_SAMPLE = {"grid": 1, "neighbours": 3, "interpolation": 2}  # in the picture
MODULE = {"ema": "ema", "raw": "generator"}
SIGNATURES = {".png": b"\x89PNG\r\n\x1a\n", ".npz": b"PK"}  # what such files begin with
# What a person may expect to be written, but not a folder's name.
UNWRITTEN = {
    *Image.registered_extensions().keys() - SIGNATURES.keys(),
    *(".csv", ".json", ".npy", ".pt", ".safetensors", ".txt", ".yaml", ".zip"),
}


def load_generator(opened: Checkpoint, weights: str = "ema", trust: Sequence[str] = ()) -> nn.Module:
    """The generator in a checkpoint, averaged (``ema``) or as last trained (``raw``), in eval mode, on the CPU.

    It is rebuilt from this package's own networks; code that the configuration names elsewhere is refused unless its
    package is in ``trust``.
    """
    try:
        net, shape = opened.config["net"], build.image_shape(opened.config["image_shape"], opened.path)
        build.check_trusted(net, opened.path, trust, "net")
        facts = {"image_shape": shape, "classes": build.saved_classes(opened.config, opened.path)}
        generator = build.generator(net, facts, opened.shapes_of(MODULE[weights]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{opened.path} doesn't describe a generator ({error}); give a checkpoint of gan-train"
        ) from error
    checkpoint.load_module(opened, MODULE[weights], generator)
    return generator.eval()


class Splits(NamedTuple):
    """What a run was trained on, and the data that it didn't see, where there are any."""

    train: Dataset
    validation: Dataset | None
    test: Dataset | None


def load_data(opened: Checkpoint, root: str | None = None, trust: Sequence[str] = ()) -> Splits:
    """The data of a checkpoint's run; from ``root`` if that is given.

    As with :func:`load_generator`, code that the configuration names elsewhere is refused. UserError as well where the
    images are not of the generator's shape.
    """
    node = opened.config.get("dataset")
    if not isinstance(node, Mapping):
        raise UserError(f"{opened.path} doesn't say what it was trained on; give a checkpoint of gan-train")
    build.check_trusted(node, opened.path, trust, "dataset")
    if root is not None:
        node = {**node, "root": os.path.abspath(os.path.expanduser(root))}
    train = build.dataset(node)
    if not isinstance(train, Dataset):
        raise UserError(
            f"{opened.path} was trained on points, and this is for images; gan-train eval_every=100 scores points as "
            "it trains"
        )
    splits = Splits(train, build.validation(node), build.held_out(node))
    drawn = list(opened.config["image_shape"])
    if list(splits.train.image_shape) != drawn:
        raise UserError(
            f"the generator draws images of {drawn}, the data are {list(splits.train.image_shape)}; give the folder of "
            "its own with root=PATH"
        )
    return splits


def run(config: Mapping[str, Any]) -> Path:
    """Draw ``n`` images and write them as ``figure`` and ``out`` say; gives the path written."""
    opened = checkpoint.read(config["ckpt"])
    figure = config["figure"]
    classes = _classes(config["labels"], opened)
    name = "sample" if figure == "grid" else figure
    out = Path(os.path.expanduser(config["out"] or checkpoint.run_folder(opened.path) / f"{name}.png"))
    suffix = _checked_suffix(out)
    if figure != "grid" and suffix != ".png":
        raise UserError(f"figure={figure} is a picture: out=FILE.png, or leave out away")
    device = hardware.device(config["device"])
    generator = load_generator(opened, config["weights"], config["trust"]).to(device)
    prior, z_dim = build.noise(opened.config["net"])
    if len(opened.config["image_shape"]) == 1:
        if figure != "grid":
            raise UserError(f"figure={figure} shows images, and this generator makes points: leave figure out")
        latents = images.latents(prior, config["n"], z_dim, config["seed"])
        return _write_points(opened, generator, latents, out, suffix, config)
    n = math.ceil(config["n"] / figures.PATH_STEPS) if figure == "interpolation" else config["n"]
    labels = None
    if classes:
        has_rows = figure == "interpolation" or (figure == "grid" and suffix == ".png")
        labels = images.class_rows(classes, n)[: None if has_rows else n]  # whole ones, of pictures that have any
        n = len(labels)
    columns = images.columns_of(labels) if figure == "grid" else None
    if suffix == ".png":
        drawn = n * figures.PATH_STEPS if figure == "interpolation" else n
        images.check_grid(drawn * IMAGES_A_SAMPLE[figure], opened.config["image_shape"], columns)
    if figure == "interpolation":
        pairs = images.latents(prior, 2 * n, z_dim, config["seed"])
        figures.write_interpolation(generator, pairs[::2], pairs[1::2], out, prior, labels)
        return out
    latents = images.latents(prior, n, z_dim, config["seed"])
    blocks = tqdm(
        images.generate(generator, latents, config["batch_size"], labels=labels),
        total=-(-len(latents) // images.block_size(config["batch_size"])),
        desc="sampling",
        leave=False,
        disable=None,
    )
    if figure == "neighbours":
        train = load_data(opened, config["root"], config["trust"]).train
        figures.write_neighbours(torch.cat(list(blocks)), train.images, out, _extractor(train, device))
    elif suffix == ".png":
        images.write_png(images.grid(torch.cat(list(blocks)), columns), out)
    elif suffix == ".npz":
        images.write_npz(torch.cat(list(blocks)), out, labels)
    else:
        for i, image in enumerate(image for block in blocks for image in block):
            of_class = "" if labels is None else f"-class{labels[i]}"
            images.write_png(images.to_pil(image), out / f"{i:06d}{of_class}.png")
    return out


def _classes(labels: Any, opened: Checkpoint) -> list[int]:
    """The classes asked for, each once: all of a conditional generator's for None and ``each``; none of another's."""
    known = build.saved_classes(opened.config, opened.path)
    if not known:
        if labels is not None:
            raise UserError(f"labels={labels}: the generator in {opened.path} is not conditional; leave labels out")
        return []
    if labels in (None, "each"):
        return list(range(known))
    asked = labels if isinstance(labels, list) else [labels]
    if not asked or not all(type(label) is int and 0 <= label < known for label in asked):
        raise UserError(f"labels={labels} should be classes from 0 to {known - 1}, as in labels=[0,1], or each")
    return list(dict.fromkeys(asked))


def _extractor(train: Dataset, device: torch.device) -> Extractor | None:
    """What takes the features of such images as ``train``'s; where it can't be had, None, and a warning."""
    try:
        return extractor_for(train.image_shape, device, train.class_names)
    except UserError as error:
        log.warning("nearest in pixels only: %s", error)
        return None


def _write_points(
    opened: Checkpoint, generator: nn.Module, latents: Tensor, out: Path, suffix: str, config: Mapping[str, Any]
) -> Path:
    """Points of ``latents`` as ``.npz``; as ``.png`` a picture like the run's own, which may show D too."""
    if suffix == ".npz":
        images.write_npz(images.generate_points(generator, latents, config["batch_size"]), out)
        return out
    if suffix != ".png":
        raise UserError(f"out={out}: points are written as .png (a picture) or .npz (an array)")
    node, net = opened.config.get("dataset"), opened.config["net"]
    if not isinstance(node, Mapping):
        raise UserError(f"{opened.path} doesn't say what it was trained on: out=FILE.npz needn't know")
    build.check_trusted(node, opened.path, config["trust"], "dataset")
    discriminator = build.discriminator(
        net, {"image_shape": opened.config["image_shape"]}, opened.shapes_of("discriminator")
    )
    checkpoint.load_module(opened, "discriminator", discriminator)
    draw = figures.drawing(build.dataset(node), discriminator, build.noise(net)[0], latents)
    images.write_png(draw(opened.progress.step, generator), out)
    return out


def _checked_suffix(out: Path) -> str:
    """``.png`` or ``.npz`` as ``out`` ends, another suffix or none for a folder.

    UserError if ``out`` can't be written, or is a file of another kind: a mistyped name mustn't cost a checkpoint.
    """
    suffix = "" if out.is_dir() else out.suffix.lower()
    if suffix in UNWRITTEN:
        raise UserError(f"out={out}: can't write {suffix}; use .png (a grid), .npz (an array), or a folder's name")
    if out.is_dir() or not out.exists():
        return suffix
    if suffix not in SIGNATURES:
        raise UserError(f"out={out} is a file, not a folder; choose another name")
    if out.is_file():  # opening a FIFO would wait for ever
        with out.open("rb") as file:
            if file.read(8).startswith(SIGNATURES[suffix]):
                return suffix
    raise UserError(f"out={out} exists and is not a {suffix} file; choose another name")
