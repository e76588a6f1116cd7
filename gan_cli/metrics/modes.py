"""Mode counts: for images by a classifier's labels, for mixtures in the plane by their known centres."""

import torch
from torch import Tensor

from gan_cli.data import Dataset
from gan_cli.data.idx import STACKS


def label_shares(labels: Tensor, classes: int) -> Tensor:
    """The share of each of the ``classes`` in ``labels`` ``[N]``, float64 ``[classes]``."""
    return torch.bincount(labels, minlength=classes).double() / len(labels)


def class_shares(dataset: Dataset) -> Tensor:
    """p_data of the classes: the shares of a dataset's labels.

    For stacked digits, a class's share is the product of its three digits' shares, because the digits are drawn
    independently. These products are exact. Counts of n stacks in 1000 classes would instead add about 1000 / 2n nats
    to every divergence from them.
    """
    labels = torch.as_tensor(dataset.labels)
    if dataset.class_names != STACKS:
        return label_shares(labels, len(dataset.class_names))
    one = label_shares(torch.cat([labels // 100, labels // 10 % 10, labels % 10]), 10)
    return torch.einsum("r,g,b->rgb", one, one, one).flatten()


def label_modes(labels: Tensor, p: Tensor) -> tuple[int, float]:
    """The number of classes among the samples' ``labels`` ``[N]``, and the reverse KL in nats from the data's shares.

    The KL is ``sum_y q(y) log(q(y) / p(y))`` with q the samples' shares and ``p`` the data's, ``[classes]``. It is at
    least 0, and infinite if samples fall into a class without data. A perfect sampler gets about
    ``(classes - 1) / 2N``. Srivastava et al. 2017 (VEEGAN, arXiv 1705.07761) and Lin et al. 2018 (PacGAN, arXiv
    1712.04086) use both numbers on Stacked MNIST, with N = 26,000.
    """
    q = label_shares(labels, len(p))
    return int((q > 0).sum()), (torch.xlogy(q, q) - torch.xlogy(q, p)).sum().item()


def modes(samples: Tensor, centres: Tensor, sigma: float) -> tuple[int, float]:
    """How many ``centres`` ``[K, D]`` have a sample within 3 sigma; the share of samples ``[N, D]`` so near a centre.

    The protocol of Lin et al. 2018 (PacGAN, arXiv 1712.04086), section 4.1, for mixtures of isotropic Gaussians. The
    paper calls samples near a centre high quality. A perfect generator in the plane has 1 - exp(-9/2) = 98.9% of them.
    """
    near = torch.cdist(samples.double(), centres.double()) <= 3 * sigma
    return int(near.any(dim=0).sum()), near.any(dim=1).double().mean().item()
