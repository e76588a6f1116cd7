"""Mode counts: by a classifier's labels for images, by known centres for mixtures in the plane."""

import torch
from torch import Tensor

from gan_cli.data import Dataset
from gan_cli.data.idx import STACKS


def label_shares(labels: Tensor, classes: int) -> Tensor:
    """The share of each of the ``classes`` in ``labels`` ``[N]``, float64 ``[classes]``."""
    return torch.bincount(labels, minlength=classes).double() / len(labels)


def class_shares(dataset: Dataset) -> Tensor:
    """p_data of the classes: the shares of a dataset's labels.

    Those of stacked digits are products of three digits' shares, as these are drawn independently: exact, where the
    counts of n stacks in 1000 classes would add about 1000 / 2n nats to every divergence from them.
    """
    labels = torch.as_tensor(dataset.labels)
    if dataset.class_names != STACKS:
        return label_shares(labels, len(dataset.class_names))
    one = label_shares(torch.cat([labels // 100, labels // 10 % 10, labels % 10]), 10)
    return torch.einsum("r,g,b->rgb", one, one, one).flatten()


def label_modes(labels: Tensor, p: Tensor) -> tuple[int, float]:
    """How many classes the samples' ``labels`` ``[N]`` hit, and the reverse KL in nats of their shares from the data's.

    ``sum_y q(y) log(q(y) / p(y))`` with q the samples' shares and ``p`` the data's, ``[classes]``: from 0 up, infinite
    where samples fall into a class without data. A perfect sampler gets about ``(classes - 1) / 2N``. As on Stacked
    MNIST, with N = 26,000, in Srivastava et al. 2017 (VEEGAN, arXiv 1705.07761) and Lin et al. 2018 (PacGAN, arXiv
    1712.04086).
    """
    q = label_shares(labels, len(p))
    return int((q > 0).sum()), (torch.xlogy(q, q) - torch.xlogy(q, p)).sum().item()


def modes(samples: Tensor, centres: Tensor, sigma: float) -> tuple[int, float]:
    """How many of the ``centres`` ``[K, D]`` have a sample within 3 sigma, and the share of samples ``[N, D]`` that do.

    The protocol of Lin et al. 2018 (PacGAN, arXiv 1712.04086), section 4.1, for mixtures of isotropic Gaussians. A
    perfect generator in the plane has a share of 1 - exp(-9/2) = 98.9% of high quality.
    """
    near = torch.cdist(samples.double(), centres.double()) <= 3 * sigma
    return int(near.any(dim=0).sum()), near.any(dim=1).double().mean().item()
