"""``gan-sample``: images, or points, from a checkpoint's generator."""

import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from gan_cli import sampling
from gan_cli.config.latents import Source, truncate
from gan_cli.config.saved import SavedRun, open_run
from gan_cli.config.selection import classes, seeds
from gan_cli.data import Dataset, to_unit
from gan_cli.errors import UserError
from gan_cli.latents import Mapped, Styled
from gan_cli.metrics.extractor import Extractor, extractor_for
from gan_cli.noise import truncated
from gan_cli.pictures import figures, latent_space
from gan_cli.pictures.animation import write_loop
from gan_cli.pictures.grids import check_grid, check_scale, enlarged, grid, to_pil, write_png
from gan_cli.pictures.output import checked_suffix, write_npz
from gan_cli.pictures.samples import drawing
from gan_cli.rundir import layout
from gan_cli.training import device as devices

log = logging.getLogger(__name__)


class Job(NamedTuple):
    """What is drawn, by which generator, of which latents, and where to; ``suffix`` is "" for a folder."""

    saved: SavedRun
    generator: nn.Module
    source: Source
    out: Path
    suffix: str
    config: Mapping[str, Any]


def run(config: Mapping[str, Any]) -> Path:
    """Draw ``n`` images and write them as ``figure`` and ``out`` say. Return the path written."""
    saved, figure = open_run(config["ckpt"], config["trust"]), config["figure"]
    if saved.translates:
        raise UserError(f"{saved.path} translates images: type gan-translate ckpt={config['ckpt']} input=FOLDER")
    chosen = classes(config["labels"], saved.class_names, saved.path)
    name = {"grid": "sample.png", "walk": "walk.webp"}.get(figure, f"{figure}.png")
    out = Path(os.path.expanduser(config["out"] or layout.run_folder(saved.path) / name))
    suffix = checked_suffix(out, figure)
    points = len(saved.image_shape) == 1
    if config["scale"] > 1 and (points or (figure != "grid" and suffix == ".png") or suffix == ".npz"):
        raise UserError("scale= enlarges images in grids, PNGs of their own and animations: leave it out here")
    if points and figure != "grid":
        raise UserError(f"figure={figure} shows images, and this generator makes points: leave figure out")
    generator = saved.generator(config["weights"]).to(devices.device(config["device"]))
    source = Source(saved, config, chosen, isinstance(generator, Mapped))
    job = Job(saved, generator, source, out, suffix, config)
    if config["truncation"] != 1:
        truncate(generator, source, config["truncation"])
    draw = _write_points if points else FIGURES[figure]
    draw(job)
    return out


def _write_interpolation(job: Job) -> None:
    """``figure=interpolation``: rows of images, one path in each row, at least ``n`` images in total; or a loop."""
    if job.suffix != ".png":
        return _write_loop(job)
    saved, chosen = job.saved, job.source.chosen
    if not isinstance(seeds(job.config["seed"]), int):
        raise UserError("figure=interpolation as a PNG takes one seed; a list of seeds makes a loop: out=FILE.webp")
    n = math.ceil(job.config["n"] / figures.PATH_STEPS)
    labels = sampling.class_rows(chosen, n) if chosen else None
    n = n if labels is None else len(labels)
    check_grid(2 * n * figures.PATH_STEPS, saved.image_shape)  # each path is shown twice
    z = job.source.first(2 * n, least=2, space="z").values
    start, end = z[: len(z) // 2 * 2].unflatten(0, (-1, 2)).unbind(1)
    labels = None if labels is None else labels[: len(start)]
    figures.write_interpolation(job.generator, start, end, job.out, saved.noise.prior, labels)


def _write_loop(job: Job) -> None:
    """An animation, or a folder of its frames, with a panel for each of the chosen classes.

    The loop leads through ``latents`` latents of the one ``seed``, through those of a file, or through a latent of each
    seed in a list.
    """
    config, scale = job.config, job.config["scale"]
    walks = config["figure"] == "walk"
    corners = job.source.corners(space=None if walks else "z")
    chosen = [] if corners.space == "w" else job.source.chosen
    _check_size(job.saved, max(1, len(chosen)), None, scale)
    make = latent_space.walk if walks else latent_space.loop
    prior = job.saved.noise.prior
    blocks = make(job.generator, corners, config["frames"], prior, chosen, config["batch_size"])
    total = len(corners.values) * config["frames"]
    frames: Iterator[Tensor] = tqdm(blocks, "sampling", total, unit="frame", leave=False, disable=None)
    if job.suffix:
        write_loop((_picture(sampling.over_white(block), None, scale) for block in frames), job.out)
        return
    for i, block in enumerate(frames):
        write_png(_picture(block, None, scale), job.out / f"{i:06d}.png")


def _write_directions(job: Job) -> None:
    """``figure=directions``: a panel for each latent, at least ``n`` images in total."""
    found = job.saved.directions(job.config["weights"])
    shown = min(latent_space.ROWS, len(found.vectors)) * latent_space.STEPS
    panels = max(1, len(job.source.chosen), math.ceil(job.config["n"] / shown))
    given = job.source.first(panels, space="z" if found.space == "z" else None)
    check_grid(len(given.values) * shown, job.saved.image_shape)
    latent_space.write_directions(job.generator, given, found, job.out)


def _write_truncation(job: Job) -> None:
    """``figure=truncation``: the same latents in each row, ``n`` images or some more in total."""
    if job.config["truncation"] != 1:
        raise UserError("figure=truncation shows several psi: leave truncation= out")
    given = job.source.first(math.ceil(job.config["n"] / len(latent_space.PSIS)), space="z")
    check_grid(len(given.values) * len(latent_space.PSIS), job.saved.image_shape)

    def draw(psi: float) -> Tensor:
        z = given.values
        if job.source.mapped:
            truncate(job.generator, job.source, psi)
        else:
            z = truncated(z, job.saved.noise.prior, psi)
        return latent_space.images(job.generator, z, given.labels)

    latent_space.write_truncation(draw, job.out)


def _write_mixing(job: Job) -> None:
    """``figure=mixing``: a panel for each size of the generator's maps but the last, at least ``n`` images in total."""
    if not isinstance(job.generator, Styled):
        raise UserError("figure=mixing mixes the styles of net=stylegan2, and this generator has none")
    panels = len(job.generator.first_layers)
    side = max(2, math.ceil(math.sqrt(job.config["n"] / panels)))
    check_grid(panels * (side + 1) ** 2, job.saved.image_shape)
    of_rows, of_columns = job.source.first(2 * side, least=2).in_w(job.generator).values.tensor_split(2)
    latent_space.write_mixing(job.generator, of_rows, of_columns, job.out)


def _write_images(job: Job) -> None:
    """A grid, an array, a folder of PNGs, ``figure=ranked``, or ``figure=neighbours``."""
    config, (figure, scale) = job.config, (job.config["figure"], job.config["scale"])
    whole_rows = figure == "grid" and job.suffix == ".png"
    given = job.source.asked(config["n"], whole_rows)
    n, labels, network = len(given.values), given.labels, given.network(job.generator)
    columns = sampling.columns_of(labels) if figure == "grid" and job.source.by_class else None
    if figure == "neighbours":
        check_grid(n * 3, job.saved.image_shape, columns)  # a sample beside two images
    elif job.suffix != ".npz":
        _check_size(job.saved, n if job.suffix else 1, columns, scale)
    blocks = tqdm(
        sampling.generate(network, given.values, config["batch_size"], labels=given.given_labels),
        total=-(-n // sampling.block_size(config["batch_size"])),
        desc="sampling",
        leave=False,
        disable=None,
    )
    if figure == "neighbours":
        train = job.saved.splits(config["root"]).train
        extractor = _extractor(train, devices.device(config["device"]))
        figures.write_neighbours(torch.cat(list(blocks)), train.images, job.out, extractor)
    elif job.suffix == ".png":
        images = torch.cat(list(blocks))
        if figure == "ranked":
            logits = sampling.judge(job.saved.discriminator(), to_unit(images), labels)
            images = images[logits.argsort(descending=True)]
        write_png(_picture(images, columns, scale), job.out)
    elif job.suffix == ".npz":
        write_npz(torch.cat(list(blocks)), job.out, given)
    else:
        for i, image in enumerate(image for block in blocks for image in block):
            of_class = "" if labels is None else f"-class{labels[i]}"
            write_png(to_pil(enlarged(image, scale)), job.out / f"{job.source.name(i)}{of_class}.png")


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


def _write_points(job: Job) -> None:
    """Write points: as ``.npz``, or as ``.png`` in the run's own picture, which may show D too."""
    if not job.suffix:
        raise UserError(f"out={job.out}: points are written as .png (a picture) or .npz (an array)")
    given = job.source.asked(job.config["n"])
    if job.suffix == ".npz":
        write_npz(sampling.generate_points(job.generator, given.values, job.config["batch_size"]), job.out, given)
    else:
        data = job.saved.dataset()
        draw = drawing(data, job.saved.discriminator(), job.saved.noise.prior, given.values)
        write_png(draw(job.saved.checkpoint.progress.step, job.generator), job.out)


FIGURES = {
    "grid": _write_images,
    "ranked": _write_images,
    "neighbours": _write_images,
    "interpolation": _write_interpolation,
    "walk": _write_loop,
    "directions": _write_directions,
    "mixing": _write_mixing,
    "truncation": _write_truncation,
}
