"""Inception-v3 features, through torch-fidelity. It is optional: ``pip install gan-cli[fid]``."""

import pickle
from pathlib import Path

import torch
from torch import nn

from gan_cli.data.download import cache_folder, download
from gan_cli.errors import UserError, one_line

SHA256_PREFIX = "6726825d"  # of the weights, in their file's name


def load_inception(weights: str | None = None) -> tuple[nn.Module, Path]:
    """The network of the TensorFlow FID (Heusel et al. 2017), in eval mode, and the file of its weights.

    The network maps uint8 images ``[N, 3, H, W]`` to a tuple of one element: their pooled features, float32
    ``[N, 2048]``. The weights are those of the file ``weights``, or are downloaded once. UserError if torch-fidelity is
    not installed or the weights can't be had.
    """
    try:
        from torch_fidelity import feature_extractor_inceptionv3 as fidelity
    except ImportError as error:
        raise UserError(
            "images other than digits are judged by Inception's features: pip install 'gan-cli[fid]'"
        ) from error
    path = Path(weights).expanduser() if weights else cache_folder() / Path(fidelity.URL_INCEPTION_V3).name
    if weights and not path.is_file():
        raise UserError(
            f"extractor.weights={weights} is not there; give the file {Path(fidelity.URL_INCEPTION_V3).name}"
        )
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        url = fidelity.URL_INCEPTION_V3
        download(
            lambda: torch.hub.download_url_to_file(url, str(path), hash_prefix=SHA256_PREFIX, progress=False),
            f"Inception's weights, {url},",
            path.parent,
        )
    try:
        torch.load(path, weights_only=True)  # a check: torch-fidelity itself loads without weights_only
        return fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(path)), path
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{path} is not Inception's weights ({one_line(error)}); remove it and run again") from error
