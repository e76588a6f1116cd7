"""Read two sets of images that gan-eval compares: folders, or an ``.npz`` of gan-sample."""

import os
from pathlib import Path

import torch
from torch import Tensor

from gan_cli.data import Dataset
from gan_cli.data.arrays import read_images
from gan_cli.data.folder import folder
from gan_cli.errors import UserError
from gan_cli.metrics.measurement import FEWEST
from gan_cli.sampling import over_white

SIZE, CHANNELS = 64, 3  # at which two folders are compared


def read_pair(real: str, fake: str) -> tuple[Dataset, Tensor]:
    """The images of the folder ``real``, and those of ``fake``, a folder or ``FILE.npz``, uint8 ``[N, C, H, W]``.

    Both get the size and the channels of the ``.npz``; two folders are read at 64x64 in colour. UserError if a set
    can't be read, or has too few images.
    """
    where = Path(os.path.expanduser(fake))
    if not Path(os.path.expanduser(real)).is_dir():
        raise UserError(f"real={real} is not a folder; give a folder of images")
    fakes = folder(fake, size=SIZE, channels=CHANNELS).images if where.is_dir() else over_white(_read_npz(where))
    channels, height, width = fakes.shape[1:]
    _check_number("fake", fake, len(fakes))  # before a large folder is decoded
    reals = folder(real, size=[height, width], channels=channels)
    _check_number("real", real, len(reals))
    return reals, fakes


def _check_number(key: str, name: str, n: int) -> None:
    if n < FEWEST:
        raise UserError(f"{key}={name} has {n} images, too few to compare: at least {FEWEST}")


def _read_npz(path: Path) -> Tensor:
    """The images of an ``.npz`` as gan-sample writes it, uint8 ``[N, C, H, W]``. Nothing in it is executed."""
    wanted = "give a folder of images, or an .npz of gan-sample (key images, uint8, NHWC)"
    if not path.is_file():  # to open a FIFO would block forever
        raise UserError(f"fake={path}: no such folder or file; {wanted}")
    try:
        images, _ = read_images(path)
    except LookupError as error:
        raise UserError(f"fake={path} can't be read; {wanted}") from error
    except ValueError as error:
        raise UserError(f"fake={path} holds {error}; {wanted}") from error
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
