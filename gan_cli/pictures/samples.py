"""The picture of a generator during training, which a run writes to ``samples/``."""

from torch import Tensor, nn

from gan_cli.data import Dataset, Points
from gan_cli.errors import UserError
from gan_cli.pictures.grids import check_grid, grid_of
from gan_cli.pictures.points import Draw, figure_1, scatter
from gan_cli.sampling import columns_of


def drawing(
    dataset: Dataset | Points, discriminator: nn.Module, prior: str, latents: Tensor, labels: Tensor | None = None
) -> Draw:
    """The drawing function for ``dataset``: its pictures show samples of ``latents`` and ``labels``, or Figure 1.

    ``latents`` are ``[N, z_dim]``. UserError for points of more than two dimensions, and for points or latents that
    Figure 1 can't show.
    """
    if isinstance(dataset, Dataset):
        check_grid(len(latents), dataset.image_shape, columns_of(labels))
        return grid_of(latents, labels)
    (d,) = dataset.image_shape
    if d == 2:
        return scatter(dataset, latents)
    if d != 1 or dataset.mixture is None:
        raise UserError(f"points of {d} dimensions can't be drawn: they need 2, or 1 and a known mixture")
    if latents.shape[1] != 1:
        raise UserError(f"net.z_dim={latents.shape[1]}: Figure 1 shows a latent of one dimension, net.z_dim=1")
    return figure_1(dataset.mixture, discriminator, prior)
