"""Images in an ``.npz`` file, as gan-sample writes it."""

from pathlib import Path

import numpy as np


def read_images(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The array ``images`` in ``path``, uint8 ``[N, H, W, C]`` (or stored as ``[N, C, H, W]``), and ``labels``.

    Nothing in the file is executed. LookupError, which says why, if no array ``images`` can be read.
    ValueError, which says the type and the shape, if the array holds no such images.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"] if "labels" in archive.files else None
    except KeyError:
        raise LookupError("holds no array named images") from None
    except Exception as error:  # a damaged or foreign file makes numpy raise anything: BadZipFile, struct.error, …
        raise LookupError("is no .npz file that can be read") from error  # numpy's line advises to unpickle it
    sound = images.dtype == np.uint8 and images.ndim == 4 and 0 not in images.shape
    if not sound or not {1, 3, 4} & {images.shape[1], images.shape[3]}:
        raise ValueError(f"{images.dtype} of shape {list(images.shape)}")
    return images if images.shape[3] in (1, 3, 4) else images.transpose(0, 2, 3, 1), labels
