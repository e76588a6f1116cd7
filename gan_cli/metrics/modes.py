"""Mode counts: by a classifier's labels for images, by known centres for mixtures in the plane."""

import torch
from torch import Tensor


def label_modes(labels: Tensor, real_labels: Tensor, classes: int) -> tuple[int, float]:
    """How many classes the samples' ``labels`` ``[N]`` hit, and the reverse KL in nats of their shares from the data's.

    ``sum_y q(y) log(q(y) / p(y))`` with q the samples' shares and p those of ``real_labels`` ``[M]``: from 0 up,
    infinite where samples fall into a class without data. As on Stacked-MNIST in Srivastava et al. 2017 (VEEGAN, arXiv
    1705.07761) and Lin et al. 2018 (PacGAN, arXiv 1712.04086).
    """
    counts = torch.bincount(labels, minlength=classes)
    q = counts.double() / len(labels)
    p = torch.bincount(real_labels, minlength=classes).double() / len(real_labels)
    return int((counts > 0).sum()), (torch.xlogy(q, q) - torch.xlogy(q, p)).sum().item()


def modes(samples: Tensor, centres: Tensor, sigma: float) -> tuple[int, float]:
    """How many of the ``centres`` ``[K, D]`` have a sample within 3 sigma, and the share of samples ``[N, D]`` that do.

    The protocol of Lin et al. 2018 (PacGAN, arXiv 1712.04086), section 4.1, for mixtures of isotropic Gaussians. A
    perfect generator in the plane has a share of 1 - exp(-9/2) = 98.9% of high quality.
    """
    near = torch.cdist(samples.double(), centres.double()) <= 3 * sigma
    return int(near.any(dim=0).sum()), near.any(dim=1).double().mean().item()
