"""``gan-sample``: images, or points, from a checkpoint's generator."""

import io
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from gan_cli import sampling
from gan_cli.config.saved import SavedRun, open_run
from gan_cli.data import Dataset
from gan_cli.errors import UserError
from gan_cli.files import write_atomic
from gan_cli.metrics.extractor import Extractor, extractor_for
from gan_cli.pictures import figures
from gan_cli.pictures.grids import check_grid, grid, to_pil, write_png
from gan_cli.pictures.samples import drawing
from gan_cli.rundir import layout
from gan_cli.training import device as devices

log = logging.getLogger(__name__)

IMAGES_A_SAMPLE = {"grid": 1, "neighbours": 3, "interpolation": 2}  # images in the figure for each sample
SIGNATURES = {".png": b"\x89PNG\r\n\x1a\n", ".npz": b"PK"}  # the first bytes of such files
# Suffixes of formats that are not supported. They are refused as names of folders.
UNWRITTEN = {
    *Image.registered_extensions().keys() - SIGNATURES.keys(),
    *(".csv", ".json", ".npy", ".pt", ".safetensors", ".txt", ".yaml", ".zip"),
}


def run(config: Mapping[str, Any]) -> Path:
    """Draw ``n`` images and write them as ``figure`` and ``out`` say. Return the path written."""
    saved = open_run(config["ckpt"], config["trust"])
    figure = config["figure"]
    classes = _classes(config["labels"], saved)
    name = "sample" if figure == "grid" else figure
    out = Path(os.path.expanduser(config["out"] or layout.run_folder(saved.path) / f"{name}.png"))
    suffix = _checked_suffix(out)
    if figure != "grid" and suffix != ".png":
        raise UserError(f"figure={figure} is a picture: out=FILE.png, or leave out away")
    device = devices.device(config["device"])
    generator = saved.generator(config["weights"]).to(device)
    if len(saved.image_shape) == 1:
        if figure != "grid":
            raise UserError(f"figure={figure} shows images, and this generator makes points: leave figure out")
        _write_points(saved, generator, out, suffix, config)
    elif figure == "interpolation":
        _write_interpolation(saved, generator, out, classes, config)
    else:
        _write_images(saved, generator, out, suffix, classes, config)
    return out


def _write_interpolation(
    saved: SavedRun, generator: nn.Module, out: Path, classes: list[int], config: Mapping[str, Any]
) -> None:
    """``figure=interpolation``: rows of images, one path in each row, at least ``n`` images in total."""
    n = math.ceil(config["n"] / figures.PATH_STEPS)
    labels = sampling.class_rows(classes, n) if classes else None
    n = n if labels is None else len(labels)
    check_grid(n * figures.PATH_STEPS * IMAGES_A_SAMPLE["interpolation"], saved.image_shape)
    pairs = sampling.latents(saved.noise, 2 * n, config["seed"])
    figures.write_interpolation(generator, pairs[::2], pairs[1::2], out, saved.noise.prior, labels)


def _write_images(
    saved: SavedRun, generator: nn.Module, out: Path, suffix: str, classes: list[int], config: Mapping[str, Any]
) -> None:
    """A grid, an array, a folder of PNGs, or ``figure=neighbours``."""
    figure, labels, columns, n = config["figure"], None, None, config["n"]
    if classes:
        whole_rows = figure == "grid" and suffix == ".png"
        labels = sampling.class_rows(classes, n)[: None if whole_rows else n]
        n = len(labels)
        columns = sampling.columns_of(labels) if figure == "grid" else None
    if suffix == ".png":
        check_grid(n * IMAGES_A_SAMPLE[figure], saved.image_shape, columns)
    z = sampling.latents(saved.noise, n, config["seed"])
    blocks = tqdm(
        sampling.generate(generator, z, config["batch_size"], labels=labels),
        total=-(-n // sampling.block_size(config["batch_size"])),
        desc="sampling",
        leave=False,
        disable=None,
    )
    if figure == "neighbours":
        train = saved.splits(config["root"]).train
        extractor = _extractor(train, devices.device(config["device"]))
        figures.write_neighbours(torch.cat(list(blocks)), train.images, out, extractor)
    elif suffix == ".png":
        write_png(grid(torch.cat(list(blocks)), columns), out)
    elif suffix == ".npz":
        write_npz(torch.cat(list(blocks)), out, labels)
    else:
        for i, image in enumerate(image for block in blocks for image in block):
            of_class = "" if labels is None else f"-class{labels[i]}"
            write_png(to_pil(image), out / f"{i:06d}{of_class}.png")


def _classes(labels: Any, saved: SavedRun) -> list[int]:
    """The requested classes, each once. None and ``each`` mean all classes; an unconditional generator has none."""
    known = len(saved.class_names)
    if not known:
        if labels is not None:
            raise UserError(f"labels={labels}: the generator in {saved.path} is not conditional; leave labels out")
        return []
    if labels in (None, "each"):
        return list(range(known))
    asked = labels if isinstance(labels, list) else [labels]
    if not asked or not all(type(label) is int and 0 <= label < known for label in asked):
        raise UserError(f"labels={labels} should be classes from 0 to {known - 1}, as in labels=[0,1], or each")
    return list(dict.fromkeys(asked))


def _extractor(train: Dataset, device: torch.device) -> Extractor | None:
    """The feature extractor for images like those of ``train``. If it is unavailable, None and a warning."""
    try:
        return extractor_for(train.image_shape, device, train.class_names)
    except UserError as error:
        log.warning("nearest in pixels only: %s", error)
        return None


def _write_points(saved: SavedRun, generator: nn.Module, out: Path, suffix: str, config: Mapping[str, Any]) -> None:
    """Write points: as ``.npz``, or as ``.png`` in the run's own picture, which may show D too."""
    z = sampling.latents(saved.noise, config["n"], config["seed"])
    if suffix == ".npz":
        write_npz(sampling.generate_points(generator, z, config["batch_size"]), out)
    elif suffix == ".png":
        data = saved.dataset()
        draw = drawing(data, saved.discriminator(), saved.noise.prior, z)
        write_png(draw(saved.checkpoint.progress.step, generator), out)
    else:
        raise UserError(f"out={out}: points are written as .png (a picture) or .npz (an array)")


def write_npz(samples: Tensor, path: Path, labels: Tensor | None = None) -> None:
    """Write samples to ``path`` as a compressed ``.npz``, atomically.

    uint8 images ``[N, C, H, W]`` are stored as NHWC under the key ``images``, their classes, if any, under ``labels``.
    Points ``[N, d]`` are stored under the key ``samples``.
    """
    buffer = io.BytesIO()
    if samples.dim() == 2:
        np.savez_compressed(buffer, samples=samples.numpy())
    else:
        classes = {} if labels is None else {"labels": labels.numpy()}
        pixels = samples.permute(0, 2, 3, 1).contiguous().numpy()
        np.savez_compressed(buffer, allow_pickle=False, images=pixels, **classes)
    write_atomic(path, buffer.getvalue())


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
    if out.is_file():  # to open a FIFO would block forever
        with out.open("rb") as file:
            if file.read(8).startswith(SIGNATURES[suffix]):
                return suffix
    raise UserError(f"out={out} exists and is not a {suffix} file; choose another name")
