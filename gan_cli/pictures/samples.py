"""What shows a generator while it trains: the picture that a run writes to ``samples/``."""

from torch import Tensor, nn

from gan_cli.data import Dataset, Points
from gan_cli.errors import UserError
from gan_cli.pictures.grids import check_grid, grid_of
from gan_cli.pictures.points import Draw, figure_1, scatter
from gan_cli.sampling import columns_of


def drawing(
    dataset: Dataset | Points, discriminator: nn.Module, prior: str, latents: Tensor, labels: Tensor | None = None
) -> Draw:
    """What shows a generator for such data: the pictures of ``latents`` ``[N, z_dim]`` and ``labels``, or Figure 1.

    UserError for points that neither a line nor a plane holds, and for what Figure 1 can't show.
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
