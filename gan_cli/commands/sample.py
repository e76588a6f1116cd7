"""``gan-sample``: images, or points, from a checkpoint's generator."""

import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from gan_cli import sampling
from gan_cli.config.saved import SavedRun, open_run
from gan_cli.config.schema import SampleConfig
from gan_cli.config.selection import classes, seeds
from gan_cli.data import Dataset, to_unit
from gan_cli.errors import UserError
from gan_cli.metrics.extractor import Extractor, extractor_for
from gan_cli.pictures import figures
from gan_cli.pictures.animation import write_loop
from gan_cli.pictures.grids import check_grid, check_scale, enlarged, grid, to_pil, write_png
from gan_cli.pictures.output import checked_suffix, write_npz
from gan_cli.pictures.samples import drawing
from gan_cli.rundir import layout
from gan_cli.training import device as devices

log = logging.getLogger(__name__)

IMAGES_A_SAMPLE = {"grid": 1, "ranked": 1, "neighbours": 3, "interpolation": 2}  # images in the figure for each sample


def run(config: Mapping[str, Any]) -> Path:
    """Draw ``n`` images and write them as ``figure`` and ``out`` say. Return the path written."""
    saved = open_run(config["ckpt"], config["trust"])
    if saved.translates:
        raise UserError(f"{saved.path} translates images: type gan-translate ckpt={config['ckpt']} input=FOLDER")
    figure, scale = config["figure"], config["scale"]
    chosen = classes(config["labels"], saved.class_names, saved.path)
    name = "sample" if figure == "grid" else figure
    out = Path(os.path.expanduser(config["out"] or layout.run_folder(saved.path) / f"{name}.png"))
    suffix = checked_suffix(out, figure)
    points, still = len(saved.image_shape) == 1, figure != "grid" and suffix == ".png"
    if scale > 1 and (points or still or suffix == ".npz"):
        raise UserError("scale= enlarges images in grids, PNGs of their own and animations: leave it out here")
    device = devices.device(config["device"])
    generator = saved.generator(config["weights"]).to(device)
    if config["truncation"] != 1:
        _truncate(generator, saved, config["truncation"])
    if points:
        if figure != "grid":
            raise UserError(f"figure={figure} shows images, and this generator makes points: leave figure out")
        _write_points(saved, generator, out, suffix, config)
    elif figure == "interpolation" and still:
        _write_interpolation(saved, generator, out, chosen, config)
    elif figure == "interpolation":
        _write_loop(saved, generator, out, suffix, chosen, config)
    else:
        _write_images(saved, generator, out, suffix, chosen, config)
    return out


def _truncate(generator: nn.Module, saved: SavedRun, psi: float) -> None:
    """Truncate the w of ``generator`` towards their mean over 10,000 latents and, if it has classes, all of these."""
    truncate = getattr(generator, "truncate", None)
    if truncate is None:
        raise UserError("truncation= is for net=stylegan2, whose latents pass through a mapping: leave it out here")
    device = next(generator.parameters()).device
    z, classes = sampling.latents(saved.noise, 10_000, seed=0).to(device), len(saved.class_names)
    truncate(psi, z, torch.arange(len(z), device=device) % classes if classes else None)


def _latents(saved: SavedRun, n: int, config: Mapping[str, Any]) -> Tensor:
    """``n`` latents of the one ``seed``, or a latent of each seed in a list; a line if that is not the ``n`` asked."""
    of = seeds(config["seed"])
    if isinstance(of, int):
        return sampling.latents(saved.noise, n, of)
    if config["n"] not in (SampleConfig.n, len(of)):
        log.warning("n=%s is not used: there is one image for each of %d seeds", config["n"], len(of))
    return sampling.latents_of(saved.noise, of)


def _write_interpolation(
    saved: SavedRun, generator: nn.Module, out: Path, chosen: list[int], config: Mapping[str, Any]
) -> None:
    """``figure=interpolation``: rows of images, one path in each row, at least ``n`` images in total."""
    seed = seeds(config["seed"])
    if not isinstance(seed, int):
        raise UserError("figure=interpolation as a PNG takes one seed; a list of seeds makes a loop: out=FILE.webp")
    n = math.ceil(config["n"] / figures.PATH_STEPS)
    labels = sampling.class_rows(chosen, n) if chosen else None
    n = n if labels is None else len(labels)
    check_grid(n * figures.PATH_STEPS * IMAGES_A_SAMPLE["interpolation"], saved.image_shape)
    pairs = sampling.latents(saved.noise, 2 * n, seed)
    figures.write_interpolation(generator, pairs[::2], pairs[1::2], out, saved.noise.prior, labels)


def _write_loop(
    saved: SavedRun, generator: nn.Module, out: Path, suffix: str, chosen: list[int], config: Mapping[str, Any]
) -> None:
    """``figure=interpolation`` as an animation, or a folder of its frames: a panel for each of the ``chosen`` classes.

    The loop leads through ``latents`` latents of the one ``seed``, or through a latent of each seed in a list.
    """
    scale = config["scale"]
    _check_size(saved, max(1, len(chosen)), None, scale)
    corners = _latents(saved, config["latents"], config)
    if len(corners) < 2:
        raise UserError("a loop leads through two latents or more: give more seeds")
    blocks = figures.loop(generator, corners, config["frames"], saved.noise.prior, chosen, config["batch_size"])
    frames: Iterator[Tensor] = tqdm(
        blocks, total=len(corners) * config["frames"], desc="sampling", unit="frame", leave=False, disable=None
    )
    if suffix:
        write_loop((_picture(sampling.over_white(block), None, scale) for block in frames), out)
        return
    for i, block in enumerate(frames):
        write_png(_picture(block, None, scale), out / f"{i:06d}.png")


def _write_images(
    saved: SavedRun, generator: nn.Module, out: Path, suffix: str, chosen: list[int], config: Mapping[str, Any]
) -> None:
    """A grid, an array, a folder of PNGs, ``figure=ranked``, or ``figure=neighbours``."""
    figure, scale, of = config["figure"], config["scale"], seeds(config["seed"])
    labels, columns = None, None
    n = config["n"] if isinstance(of, int) else len(of) * max(1, len(chosen))
    if chosen:
        whole_rows = figure == "grid" and suffix == ".png"
        labels = sampling.class_rows(chosen, n)[: None if whole_rows else n]
        n = len(labels)
        columns = sampling.columns_of(labels) if figure == "grid" else None
    if figure == "neighbours":
        check_grid(n * IMAGES_A_SAMPLE[figure], saved.image_shape, columns)
    elif suffix != ".npz":
        _check_size(saved, n if suffix else 1, columns, scale)
    z = _latents(saved, n, config)
    if len(z) < n:  # the seeds once more for each class
        z = z.repeat(n // len(z), 1)
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
        images = torch.cat(list(blocks))
        if figure == "ranked":
            images = images[sampling.judge(saved.discriminator(), to_unit(images), labels).argsort(descending=True)]
        write_png(_picture(images, columns, scale), out)
    elif suffix == ".npz":
        write_npz(torch.cat(list(blocks)), out, labels)
    else:
        for i, image in enumerate(image for block in blocks for image in block):
            number = f"{i:06d}" if isinstance(of, int) else f"seed{of[i % len(of)]:04d}"
            of_class = "" if labels is None else f"-class{labels[i]}"
            write_png(to_pil(enlarged(image, scale)), out / f"{number}{of_class}.png")


def _check_size(saved: SavedRun, n: int, columns: int | None, scale: int) -> None:
    """UserError if :func:`_picture` of ``n`` images is larger than programs will open."""
    check_scale(saved.image_shape, scale)
    if n > 1:
        check_grid(n, saved.image_shape, columns, scale)


def _picture(images: Tensor, columns: int | None, scale: int) -> Image.Image:
    """uint8 images ``[N, C, H, W]`` as a grid; one image at its own size, without a border."""
    return to_pil(enlarged(images[0], scale)) if len(images) == 1 else grid(images, columns, scale)


def _extractor(train: Dataset, device: torch.device) -> Extractor | None:
    """The feature extractor for images like those of ``train``. If it is unavailable, None and a warning."""
    try:
        return extractor_for(train.image_shape, device, train.class_names)
    except UserError as error:
        log.warning("nearest in pixels only: %s", error)
        return None


def _write_points(saved: SavedRun, generator: nn.Module, out: Path, suffix: str, config: Mapping[str, Any]) -> None:
    """Write points: as ``.npz``, or as ``.png`` in the run's own picture, which may show D too."""
    if not suffix:
        raise UserError(f"out={out}: points are written as .png (a picture) or .npz (an array)")
    z = _latents(saved, config["n"], config)
    if suffix == ".npz":
        write_npz(sampling.generate_points(generator, z, config["batch_size"]), out)
    else:
        data = saved.dataset()
        draw = drawing(data, saved.discriminator(), saved.noise.prior, z)
        write_png(draw(saved.checkpoint.progress.step, generator), out)
