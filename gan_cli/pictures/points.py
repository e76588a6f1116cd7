"""Pictures of points: Figure 1 of Goodfellow et al. 2014 in one dimension, a scatter plot in two."""

import math
from collections.abc import Callable

from PIL import Image
from torch import Tensor, nn

from gan_cli.data import Mixture, Points
from gan_cli.metrics import theory
from gan_cli.metrics.modes import modes
from gan_cli.noise import quantiles
from gan_cli.pictures import canvas
from gan_cli.sampling import generate_points

ARROWS = 24  # intervals between the arrows of Figure 1, which lead from z to x
SHOWN = 2000  # data points in a scatter plot

Draw = Callable[[int, nn.Module], Image.Image]  # step, generator -> picture


def figure_1(mixture: Mixture, discriminator: nn.Module, prior: str) -> Draw:
    """A function: step, generator -> Figure 1 of Goodfellow et al. 2014, for data and a latent of one dimension.

    As in the paper, p_data is dotted, p_g is solid, D(x) is dashed, and arrows lead from z to x = G(z). The probability
    between neighbouring arrows is always the same. D*, the best discriminator for this generator, is shown as well. The
    axes are the same at every step.
    """
    low, high = theory.span(mixture)
    z = quantiles(prior, ARROWS)
    reach = max(3**0.5, float(z.max()))

    def draw(step: int, generator: nn.Module) -> Image.Image:
        found = theory.curves(mixture, generator, discriminator, prior)
        ends = generate_points(generator, z).squeeze(1).tolist()
        x, top = found.x.numpy(), 1.8 * float(found.data.max()) / found.width
        figure = canvas.empty(770, 550)
        density = figure.add_axes((0.09, 0.33, 0.82, 0.5))
        density.plot(x, found.data.numpy() / found.width, "k:", linewidth=2.2, label="$p_{data}$")
        density.plot(x, found.generated.numpy() / found.width, color="tab:green", linewidth=2, label="$p_g$")
        density.set(xlim=(low, high), ylim=(0, top), ylabel="density")
        density.tick_params(labelbottom=False)
        output = density.twinx()
        output.plot(x, found.logits.sigmoid().numpy(), "--", color="tab:blue", linewidth=2, label="$D(x)$")
        seen = found.data + found.generated > 0.03 * found.data.max()  # elsewhere D* is a quotient of tiny numbers
        output.plot(x, found.d_star.where(seen, math.nan).numpy(), color="tab:red", linewidth=0.9, label="$D^*(x)$")
        output.set(ylim=(0, 1), ylabel="probability of being real")
        handles = [*density.get_lines(), *output.get_lines()]
        figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.905), ncols=4, frameon=False)
        figure.suptitle(
            f"step {step:,}     V(D, G) = {found.value:.3f}     $-$log 4 = {-math.log(4):.3f}     "
            f"JSD = {found.jsd:.4f} nats".replace("= -", "= $-$"),
            fontsize=12,
            y=0.965,
        )
        paths = figure.add_axes((0.09, 0.07, 0.82, 0.18))
        paths.set(xlim=(low, high), ylim=(0, 1), yticks=[0, 1], yticklabels=["z", "x"])
        paths.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
        paths.tick_params(axis="y", length=0)
        for side in ("left", "right"):
            paths.spines[side].set_visible(False)
        arrow = {"arrowstyle": "-|>", "color": "0.25", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
        for start, end in zip(z.squeeze(1).tolist(), ends, strict=True):
            place = low + (start / reach + 1) / 2 * (high - low)
            paths.annotate("", xy=(end, 1), xytext=(place, 0), arrowprops=arrow, annotation_clip=False)
        return canvas.drawn(figure)

    return draw


def scatter(dataset: Points, latents: Tensor) -> Draw:
    """A function: step, generator -> its points of these ``latents`` over some of the data, in the plane."""
    data, mixture = dataset.points[:SHOWN], dataset.mixture
    middle = (data.amax(dim=0) + data.amin(dim=0)) / 2
    reach = 0.6 * float((data.amax(dim=0) - data.amin(dim=0)).max())
    (left, bottom), (right, top) = (middle - reach).tolist(), (middle + reach).tolist()

    def draw(step: int, generator: nn.Module) -> Image.Image:
        points = generate_points(generator, latents)
        title = f"step {step:,}"
        if mixture is not None:
            found, share = modes(points, mixture.means, mixture.stds[0].item())
            title += f"     {found} of {len(mixture.means)} modes     {share:.1%} of high quality"
        figure = canvas.empty(660, 700)
        axes = figure.add_axes((0.1, 0.06, 0.86, 0.811))
        axes.scatter(data[:, 0].numpy(), data[:, 1].numpy(), s=9, color="0.75", linewidths=0, label="data")
        axes.scatter(points[:, 0].numpy(), points[:, 1].numpy(), s=5, color="tab:blue", linewidths=0, label="samples")
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        figure.legend(loc="upper center", bbox_to_anchor=(0.53, 0.935), ncols=2, frameon=False, markerscale=2.5)
        figure.suptitle(title, x=0.53, y=0.975, fontsize=12)
        return canvas.drawn(figure)

    return draw
