"""``gan-translate``: images of the user's, translated by the generator of a run."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from gan_cli.config.display import held_images
from gan_cli.config.saved import SavedRun, open_run
from gan_cli.data import decode, reading
from gan_cli.data.decode import Target, Unreadable
from gan_cli.data.sources import File
from gan_cli.errors import UserError
from gan_cli.pictures.grids import to_pil, write_png
from gan_cli.pictures.translations import triples
from gan_cli.rundir import layout
from gan_cli.training import device as devices
from gan_cli.translating import mode_for, sides_for, translate, translate_whole

log = logging.getLogger(__name__)


def run(config: Mapping[str, Any]) -> Path:
    """Translate the images of ``input`` as ``config`` says. Return the file or the folder written."""
    saved = open_run(config["ckpt"], config["trust"])
    if not saved.translates:
        raise UserError(f"{saved.path} draws from noise and translates nothing: type gan-sample ckpt={config['ckpt']}")
    generator = saved.generator(config["weights"], config["backward"]).to(devices.device(config["device"]))
    mode = config["mode"] or mode_for(saved.checkpoint.config.get("batch_size", 1))
    if config["figure"] is not None:
        return _write_figure(saved, generator, mode, config)
    if config["input"] is None:
        raise UserError("input is needed: input=PATH, an image, a folder or a .zip file; or figure=pairs")
    return _write_images(saved, generator, mode, config)


class Picture(NamedTuple):
    """An image of the user's: pixels as the generator takes them, uint8 ``[Cs, H, W]``, and its transparency."""

    pixels: Tensor
    alpha: Image.Image | None


def _write_images(saved: SavedRun, generator: nn.Module, mode: str, config: Mapping[str, Any]) -> Path:
    """Translate each image of ``input`` into a PNG of its name. Files that can't be read are counted and named."""
    given = Path(os.path.abspath(os.path.expanduser(config["input"])))
    out = Path(os.path.expanduser(config["out"] or layout.run_folder(saved.path) / "translated"))
    files = reading.image_files(config["input"])
    single = given.is_file() and given.suffix.lower() != ".zip"
    names = [out] if single and out.suffix.lower() == ".png" else [out / name for name in _names(files)]
    if taken := next((name for name in names if name.exists()), None):
        raise UserError(f"out={out}: {taken} is there already; choose another name, or remove it")
    if out.is_file() or (out.suffix.lower() == ".png" and not single):
        raise UserError(f"out={out} should be a folder's name")
    channels, unread = _channels(saved, config["backward"]), []
    for file, path in tqdm(
        list(zip(files, names, strict=True)), "translating", unit="image", leave=False, disable=None
    ):
        try:
            picture = _picture(file, channels)
        except Unreadable as reason:
            unread.append(f"{file.name} ({reason})")
            continue
        write_png(_translated(picture, generator, saved.image_shape[1:], mode, config), path)
    if len(unread) == len(files):
        raise UserError(f"nothing of input={config['input']} can be read: {reading.few(unread, 5)}")
    if unread:
        log.warning("%d of %d not translated: %s", len(unread), len(files), reading.few(unread, 5))
    return names[0] if len(names) == 1 else out


def _channels(saved: SavedRun, backward: bool) -> int:
    """The channels that the generator takes."""
    return saved.image_shape[0] if backward else saved.source_channels


def _names(files: Iterable[File]) -> Iterator[str]:
    """The name of each file's translation, ``.png``. A second file of a name keeps its suffix: ``x.jpg.png``."""
    seen = set()
    for file in files:
        plain = file.name.lstrip("/")  # a zip file may hold absolute names
        name = PurePosixPath(plain).with_suffix(".png").as_posix()
        name = f"{plain}.png" if name in seen else name
        seen.add(name)
        yield name


def _picture(file: File, channels: int) -> Picture:
    """The image in ``file``, upright. Raises Unreadable."""
    with decode.opened(file.content(), decode.formats()) as image:
        try:
            whole = decode.upright(image)
            alpha = whole.convert("RGBA").getchannel("A") if whole.has_transparency_data else None
            target = Target(channels, whole.height, whole.width)
            return Picture(torch.from_numpy(decode.as_array(decode.to_channels(whole, target))), alpha)
        except Exception as error:  # a damaged file can make Pillow raise anything
            raise Unreadable(decode.described(error)) from error


def _translated(
    picture: Picture, generator: nn.Module, own: tuple[int, ...], mode: str, config: Mapping[str, Any]
) -> Image.Image:
    """The translation of ``picture``: at its own resolution, or at that of the training, and resized back."""
    pixels, seed = picture.pixels, config["seed"]
    height, width = pixels.shape[-2:]
    if config["size"] == "original":
        made = to_pil(translate_whole(generator, pixels, mode, seed))
    else:
        sides = sides_for((height, width), (own[0], own[1]), getattr(generator, "factor", 1))
        small = to_pil(pixels).resize(sides[::-1], Image.Resampling.BICUBIC)
        made = to_pil(translate(generator, torch.from_numpy(decode.as_array(small))[None], mode, seed)[0])
        if config["size"] == "fit":
            made = made.resize((width, height), Image.Resampling.BICUBIC)
    if picture.alpha is not None and made.mode != "RGBA":
        made = made.convert("RGB")
        made.putalpha(picture.alpha.resize(made.size))
    return made


def _write_figure(saved: SavedRun, generator: nn.Module, mode: str, config: Mapping[str, Any]) -> Path:
    """``figure=pairs``: source, output and target of ``n`` held-out images of the run's data."""
    if config["input"] is not None:
        raise UserError("figure=pairs shows the run's own held-out images: leave input out")
    out = Path(os.path.expanduser(config["out"] or layout.run_folder(saved.path) / "pairs.png"))
    if out.suffix.lower() != ".png" or out.is_dir():
        raise UserError(f"out={out}: figure=pairs is a picture, out=FILE.png")
    held = held_images(saved.domains(config["root"]), saved.dataset_node(config["root"]))
    if config["backward"]:
        held = held._replace(sources=held.targets, targets=held.sources)
    some = slice(config["n"])
    made = translate(generator, held.sources[some], mode, config["seed"])
    write_png(triples(held.sources[some], made, held.targets[some] if held.paired else None), out)
    return out
