"""``gan-project``: the latents of real images, and whether training images have nearer ones than held-out images."""

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from gan_cli import files, projection, sampling
from gan_cli.config.saved import SavedRun, Splits, open_run
from gan_cli.data import Dataset, decode, reading
from gan_cli.data.decode import Target, Unreadable
from gan_cli.errors import UserError
from gan_cli.latents import Latents, Mapped
from gan_cli.metrics.extractor import Extractor, are_digits, digit_extractor, random_extractor
from gan_cli.metrics.memorisation import nearer
from gan_cli.pictures import figures
from gan_cli.pictures.output import write_npz
from gan_cli.projection import Pool, Settings
from gan_cli.rundir import layout
from gan_cli.terminal import aligned
from gan_cli.training import device as devices

log = logging.getLogger(__name__)

POOL = 1024  # latents among which each image finds those that it begins from
SHOWN = 64  # images in the picture
HELD_OUT, TRAINING = "held-out", "training"
DIGITS = (28, 28)  # the size that the digit classifier knows


class Group(NamedTuple):
    """Images that are projected: their names, and their pixels, uint8 ``[N, C, H, W]``."""

    names: list[str]
    images: Tensor


class Projected(NamedTuple):
    """A group's latents, the generator's images of them, and of each image distance and mean absolute error."""

    latents: Latents
    images: Tensor
    distances: Tensor
    errors: Tensor


def run(config: Mapping[str, Any]) -> str:
    """Project images as ``config`` says, and write a folder. Return a table of distances."""
    saved = open_run(config["ckpt"], config["trust"])
    if saved.translates or len(saved.image_shape) == 1:
        raise UserError(f"{saved.path} draws no images from noise: gan-project is for generators that do")
    out = Path(os.path.expanduser(config["out"] or layout.run_folder(saved.path) / "projected"))
    if out.is_file():
        raise UserError(f"out={out} is a file, not a folder; choose another name")
    n = (32 if config["input"] is None else 0) if config["n"] is None else config["n"]
    splits = _splits(saved, config, n)
    groups = {} if config["input"] is None else {"input": _read(config["input"], saved.image_shape)}
    if splits is not None and n:
        groups |= _of_data(splits, n, config["seed"])
    shown = next(iter(groups), TRAINING)
    if shown == TRAINING:
        raise UserError("no held-out images of the run's data: give input=PATH, or n=1 or more if the data have some")
    extractor = _extractor(saved, splits, devices.device(config["device"]))
    found = _projected(saved, groups, extractor, config)
    report = {**_about(saved, found[shown], extractor, config), **_numbers(found)}
    _write(out, groups[shown], found[shown])
    each = [row for name in found for row in _rows(name, groups[name], found[name])]
    files.write_atomic(out / "projection.json", (json.dumps({**report, "images": each}, indent=1) + "\n").encode())
    title = f"step {report['step']:,}, in {report['space']}; distances of pixels and features ({extractor.name})"
    end = f"latents.npz, projected.png and projection.json are in {out}"
    return "\n".join([title, _table(report["groups"]), *_compared(report), end])


def _read(word: str, shape: tuple[int, ...]) -> Group:
    """The images of ``input=word`` in the run's ``shape``, cropped at the centre. A line tells of unreadable files."""
    channels, height, width = shape
    names, images, unread = [], [], []
    for file in reading.image_files(word):
        try:
            with decode.opened(file.content(), decode.formats()) as image:
                images.append(torch.tensor(decode.pixels(image, Target(channels, height, width))))
            names.append(file.name)
        except Unreadable as reason:
            unread.append(f"{file.name} ({reason})")
    if not images:
        raise UserError(f"nothing of input={word} can be read: {reading.few(unread, 5)}")
    if unread:
        log.warning("%d of %d not projected: %s", len(unread), len(unread) + len(images), reading.few(unread, 5))
    return Group(names, torch.stack(images))


def _splits(saved: SavedRun, config: Mapping[str, Any], n: int) -> Splits | None:
    """The run's data; None if they are not needed, and a line if they are not at hand. They may take long to read.

    The data's classes tell digits from other images of their size: see :func:`_extractor`.
    """
    if config["input"] is not None and not n and saved.image_shape[1:] != DIGITS:
        return None
    try:
        return saved.splits(config["root"])
    except UserError as error:
        if config["input"] is None:
            raise
        if n:
            log.warning("no images for comparison: %s", error)
        return None


def _of_data(splits: Splits, n: int, seed: int) -> dict[str, Group]:
    """``n`` held-out images, if there are any, and ``n`` training images, drawn by ``seed``."""
    held = splits.test or splits.validation
    return {name: _some(data, n, seed) for name, data in ((HELD_OUT, held), (TRAINING, splits.train)) if data}


def _some(data: Dataset, n: int, seed: int) -> Group:
    which = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:n]
    return Group([str(i) for i in which.tolist()], data.images[which])


def _extractor(saved: SavedRun, splits: Splits | None, device: torch.device) -> Extractor:
    """The digit classifier for digits of 28x28, and the network with random weights for all other images.

    Both take floating numbers in [0, 255] and let gradients pass. Neither needs a download.
    """
    digits = splits is not None and are_digits(saved.image_shape, splits.train.class_names)
    return digit_extractor(device) if digits and saved.image_shape[1:] == DIGITS else random_extractor(device)


def _projected(
    saved: SavedRun, groups: Mapping[str, Group], extractor: Extractor, config: Mapping[str, Any]
) -> dict[str, Projected]:
    """Each of ``groups``, projected, with a bar over all of them."""
    generator = saved.generator(config["weights"]).to(devices.device(config["device"])).requires_grad_(False)
    space, noise = config["space"] or ("w" if isinstance(generator, Mapped) else "z"), saved.noise
    if space == "w" and not isinstance(generator, Mapped):
        raise UserError("space=w is for net=stylegan2, and this generator has z alone: leave space= out")
    labels = torch.arange(POOL) % len(saved.class_names) if saved.class_names else None
    latents = Latents(sampling.latents(noise, POOL, config["seed"]), labels)
    latents = latents.in_w(generator) if space == "w" else latents
    network, bounds = latents.network(generator), projection.bounds(noise.prior, noise.z_dim) if space == "z" else {}
    pool, settings = Pool(network, latents, extractor.embed), Settings(config["starts"], config["steps"], **bounds)
    total, found = sum(projection.moves(len(group.images), settings) for group in groups.values()), {}
    bar_format = "{percentage:3.0f}%|{bar:10}| projecting, {remaining} left"
    with tqdm(total=total, leave=False, disable=None, bar_format=bar_format) as bar:
        for name, group in groups.items():
            latents, distances = projection.project(pool, group.images, settings, bar.update)
            drawn = torch.cat(list(sampling.generate(network, latents.values, labels=latents.given_labels)))
            errors = (drawn.float() - group.images).abs().mean(dim=(1, 2, 3)) / 255
            found[name] = Projected(latents, drawn, distances, errors)
    return found


def _write(out: Path, group: Group, found: Projected) -> None:
    """``latents.npz``, and ``projected.png``: each image beside that of its latent."""
    write_npz(found.images, out / "latents.npz", found.latents)
    rows = torch.stack([group.images, found.images], dim=1)[:SHOWN]
    panels = [("", part) for part in rows.tensor_split(min(4, len(rows)))]
    figures.write_panels(panels, ["given", "projected"], "images and those of their latents", out / "projected.png")


def _about(saved: SavedRun, found: Projected, extractor: Extractor, config: Mapping[str, Any]) -> dict[str, Any]:
    """What the numbers were measured with."""
    return {
        "checkpoint": saved.path.name, "checkpoint_sha256": saved.checkpoint.digest,
        "step": saved.checkpoint.progress.step, "space": found.latents.space, "features": extractor.name,
        **{key: config[key] for key in ("weights", "seed", "starts", "steps")},
    }  # fmt: skip


def _rows(name: str, group: Group, found: Projected) -> list[dict[str, Any]]:
    """The numbers of each image of a group."""
    each = zip(group.names, found.distances.tolist(), found.errors.tolist(), strict=True)
    return [{"group": name, "image": image, "distance": distance, "error": error} for image, distance, error in each]


def _numbers(found: Mapping[str, Projected]) -> dict[str, Any]:
    """The means of each group, and ``copying``: how often a training image comes nearer than a held-out one."""
    groups = {
        name: {"n": len(one.errors), "distance": float(one.distances.mean()), "error": float(one.errors.mean())}
        for name, one in found.items()
    }
    if not {HELD_OUT, TRAINING} <= found.keys():
        return {"groups": groups}
    n, m = (groups[name]["n"] for name in (HELD_OUT, TRAINING))
    copying = nearer(found[HELD_OUT].distances, found[TRAINING].distances)
    return {"groups": groups, "copying": copying, "copying_error": math.sqrt((n + m + 1) / (12 * n * m))}


def _table(groups: Mapping[str, Mapping[str, float]]) -> str:
    body = [[name, str(row["n"]), f"{row['distance']:.3f}", f"{row['error']:.4f}"] for name, row in groups.items()]
    return aligned([["images", "n", "distance", "mean absolute error"], *body])


def _compared(report: Mapping[str, Any]) -> list[str]:
    if "copying" not in report:
        return []
    by_chance = f"50% ± {report['copying_error']:.0%} if nothing was learned by heart"
    return [f"a training image comes nearer than a held-out one in {report['copying']:.0%} of pairs ({by_chance})"]
