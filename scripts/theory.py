"""The theory of Goodfellow et al. 2014, sections 3 and 4, measured: python scripts/theory.py

Trains what docs/theory.md tells of, with the package's own loop, and writes that page with its pictures. About six
minutes on one thread of a CPU. The functions below are what tests/test_theory.py holds to the closed forms.
"""

import copy
import functools
import io
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

import gan_cli
from gan_cli import Average, Noise, Plan, losses
from gan_cli.data import Dataset, Mixture, Points
from gan_cli.data.idx import mnist
from gan_cli.data.toys import gaussian1d
from gan_cli.files import write_atomic
from gan_cli.metrics import quality
from gan_cli.metrics.mean_std import mean_std
from gan_cli.metrics.theory import Curves
from gan_cli.networks import maxout, toy
from gan_cli.optimizers import AnnealedSGD
from gan_cli.pictures.grids import to_pil
from gan_cli.rundir.records import read_metrics
from gan_cli.sampling import latents
from gan_cli.training.games import Loss
from gan_cli.training.state import MakeOptimizer

DOCS = Path(__file__).parents[1] / "docs"
TEMPLATE = Path(__file__).with_name("theory_template.md")
FROZEN = functools.partial(torch.optim.SGD, lr=0.0)
LOSSES = {"minimax": losses.minimax, "nonsaturating": losses.nonsaturating}
PAIRS = ((0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (0.0, 0.5))  # mean and std of p_g; p_data is N(0, 1)
KS = (1, 2, 5, 20)
SEEDS = (0, 1, 2)
ETA = 0.1
MIXTURE = ((0.6, -1.0, 0.6), (0.4, 1.4, 0.5))  # that of dataset=gaussian1d
NORMAL = Noise("normal", 1)
BLANK = to_pil(torch.zeros(1, 1, 1, dtype=torch.uint8))  # in place of sample grids


class Affine(nn.Module):
    """The generator ``mean + std z``: p_g is N(mean, std^2), and known."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = nn.Parameter(torch.tensor(mean)), nn.Parameter(torch.tensor(std))

    def forward(self, z: Tensor) -> Tensor:
        return self.mean + self.std * z


def near_optimal(mean: float, std: float, steps: int = 3000, seed: int = 0) -> Curves:
    """D trained by the loop until it is nearly the best one against a G that stays as it is: Proposition 1."""
    torch.manual_seed(seed)
    data = gaussian1d(n=400_000)
    generator = Affine(mean, std)
    discriminator = toy.Discriminator((1,), (64, 64), data_mean=torch.zeros(1), data_std=torch.ones(()))
    adam = functools.partial(torch.optim.Adam, lr=5e-3, betas=(0.5, 0.99), fused=True)
    plan = Plan(steps, lr_decay_after=100_000)
    _train(generator, discriminator, data, FROZEN, adam, plan=plan, batch_size=1024)
    return measured(Mixture(torch.ones(1), torch.full((1, 1), mean), torch.tensor([std])), data.mixture, discriminator)


def measured(generated: Mixture, data: Mixture | None, discriminator: nn.Module) -> Curves:
    """``discriminator`` on a line, beside what the densities of two mixtures say, in float64."""
    assert data is not None
    x = torch.linspace(-8, 10, 6001, dtype=torch.float64)
    p, q = (mixture.density(x[:, None]) * (x[1] - x[0]) for mixture in (data, generated))
    with torch.no_grad():
        logits = discriminator(x[:, None].float()).double()
    return Curves(x, p, q, max(0.0, 1 - float(q.sum())), logits)


def distance_from_best(found: Curves) -> float:
    """The largest |D - D*| where 99% of (p_data + p_g) / 2 lies."""
    mass, order = ((found.data + found.generated) / 2).sort(descending=True)
    support = order[mass.cumsum(0) < 0.99]
    return float((found.logits.sigmoid() - found.d_star)[support].abs().max())


def predicted(found: Curves) -> float:
    """What Theorem 1 says that V is with the best D: -log 4 + 2 JSD."""
    return -math.log(4) + 2 * found.jsd


def generator_gradients(generator: nn.Module, discriminator: nn.Module, z: Tensor) -> dict[str, float]:
    """The norm of G's gradient under either loss, at the same networks and latents, and the mean D(G(z))."""
    generator, found = copy.deepcopy(generator).requires_grad_(True), {}
    for name, loss in LOSSES.items():
        logits = discriminator(generator(z))
        gradient = torch.autograd.grad(loss(logits.detach(), logits)[1].mean(), list(generator.parameters()))
        found[name] = float(torch.nn.utils.get_total_norm(gradient))
        found["d_of_g"] = float(logits.detach().sigmoid().mean())
    return found


def saturation(frozen: bool, steps: int, every: int) -> list[dict[str, float]]:
    """Rows of step and :func:`generator_gradients` early in the paper's own MNIST recipe.

    ``frozen``: D alone is trained, as with a very large k.
    """
    torch.manual_seed(0)
    data = mnist(limit=50_000)
    generator = maxout.Generator(data.image_shape, 100, pixel_mean=data.pixel_mean)
    discriminator = maxout.Discriminator(data.image_shape)
    judge = copy.deepcopy(discriminator).eval()  # without dropout
    z, rows = latents(Noise("uniform", 100), 1000, seed=1), list[dict[str, float]]()

    def measure(average: nn.Module) -> dict[str, float]:
        judge.load_state_dict(discriminator.state_dict())
        rows.append({"step": every * (len(rows) + 1), **generator_gradients(average, judge, z)})
        return {}

    loss = functools.partial(losses.nonsaturating, half=True)
    _train(
        generator, discriminator, data, FROZEN if frozen else AnnealedSGD, AnnealedSGD, loss=loss,
        plan=Plan(steps, eval_every=every), noise=Noise("uniform", 100), batch_size=100, update="simultaneous",
        evaluate=measure,
    )  # fmt: skip
    return rows


def divergences(k: int, seed: int, steps: int = 600, every: int = 20) -> list[tuple[int, float]]:
    """(step, JSD) of Figure 1's data and networks under equation 1 as it stands, ``k`` steps of D for one of G."""
    torch.manual_seed(seed)
    data = gaussian1d(MIXTURE)
    generator, discriminator = toy.Generator(z_dim=1, **data.facts), toy.Discriminator(**data.facts)
    adam = functools.partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.99), fused=True)
    rows = _train(
        generator, discriminator, data, adam, adam, plan=Plan(steps, log_every=every, eval_every=every), k=k,
        batch_size=256, seed=seed, evaluate=quality.scores(data, discriminator, Noise("normal", 1)),
    )  # fmt: skip
    return [(int(row["step"]), row["jsd"]) for row in rows]


def descent(alternating: bool, eta: float = ETA, steps: int = 400) -> Tensor:
    """Gradient steps on f(x, y) = xy, x downhill and y uphill, from (1, 0): ``[steps + 1, 2]``, float64.

    Goodfellow's NIPS 2016 tutorial (arXiv 1701.00160), section 8.2 with exercise 2: simultaneous steps multiply x^2 +
    y^2 by 1 + eta^2 each; alternating ones keep x^2 + y^2 - eta x y, an ellipse.
    """
    path = torch.zeros(steps + 1, 2, dtype=torch.float64)
    x, y = 1.0, 0.0
    path[0] = torch.tensor([x, y])
    for i in range(steps):
        new_x = x - eta * y
        x, y = new_x, y + eta * (new_x if alternating else x)
        path[i + 1] = torch.tensor([x, y])
    return path


def _train(
    generator: nn.Module,
    discriminator: nn.Module,
    data: Dataset | Points,
    make_g: MakeOptimizer,
    make_d: MakeOptimizer,
    *,
    loss: Loss = losses.minimax,
    noise: Noise = NORMAL,
    **options: Any,
) -> list[dict[str, Any]]:
    """Train in a folder that goes away and without averaging; gives its metrics."""
    with tempfile.TemporaryDirectory() as folder:
        gan_cli.train(
            generator, discriminator, data, loss, make_g, make_d, run_dir=folder, noise=noise,
            average=Average(half_life=0.0), draw=lambda step, network: BLANK, **options,
        )  # fmt: skip
        return read_metrics(Path(folder))


def draw_optima(optima: Sequence[Curves]) -> Figure:
    """p_data, p_g, the trained D and D*, a panel for each pair."""
    figure, grid = _panels(len(optima), width=11)
    for axes, (mean, std), found in zip(grid, PAIRS, optima, strict=True):
        x = found.x.numpy()
        axes.fill_between(x, found.data.numpy() / found.width, color="0.8", label="$p_{data}$")
        axes.plot(x, found.generated.numpy() / found.width, color="tab:green", label="$p_g$")
        axes.plot(x, found.logits.sigmoid().numpy(), "--", color="tab:blue", linewidth=2.2, label="$D$, trained")
        axes.plot(x, found.d_star.numpy(), color="tab:red", linewidth=0.9, label="$D^*$")
        title = f"$p_g$ = N({mean:g}, {std:g}²)"
        axes.set(xlim=(-4, 5), ylim=(0, 1.02), xlabel="x", title=title)
    grid[0].set_ylabel("density; probability")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def draw_saturation(ordinary: Sequence[dict[str, float]], frozen: Sequence[dict[str, float]]) -> Figure:
    """The gradients of either loss, and D(G(z)), in training as in the paper and with D trained alone."""
    figure, grid = _panels(2, width=9)
    for axes, rows, title in zip(grid, (ordinary, frozen), ("both trained", "D alone trained"), strict=True):
        steps = [row["step"] for row in rows]
        axes.plot(steps, [row["nonsaturating"] for row in rows], color="tab:blue", label="gradient of $-$log D(G(z))")
        axes.plot(steps, [row["minimax"] for row in rows], color="tab:red", label="gradient of log(1 $-$ D(G(z)))")
        axes.plot(steps, [row["d_of_g"] for row in rows], ":", color="0.3", label="D(G(z))")
        axes.set(yscale="log", xlabel="step", title=title)
        axes.grid(alpha=0.3)
    grid[0].set_ylabel("norm of G's gradient; probability")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_k(runs: dict[int, list[list[tuple[int, float]]]]) -> Figure:
    """JSD over G's steps, and over all updates of either network: the geometric mean of the seeds."""
    figure, (by_step, by_update) = _panels(2, width=9)
    for k, of_seeds in runs.items():
        steps = np.array([step for step, _ in of_seeds[0]])
        logs = np.log([[jsd for _, jsd in run] for run in of_seeds])
        for axes, x in ((by_step, steps), (by_update, steps * (k + 1))):
            axes.plot(x, np.exp(logs.mean(axis=0)), label=f"k = {k}")
            axes.set(yscale="log")
            axes.grid(alpha=0.3)
    by_step.set(xlabel="steps of G", ylabel="JSD, nats")
    by_update.set(xlabel="updates of G and of D", xscale="log")
    figure.legend(*by_step.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def draw_descent(paths: dict[str, Tensor]) -> Figure:
    """Paths of (x, y), each in a panel."""
    figure, grid = _panels(len(paths), width=7)
    for axes, (name, path) in zip(grid, paths.items(), strict=True):
        axes.plot(*path.T.numpy(), linewidth=0.8)
        axes.plot(*path[0].numpy(), "o", color="black", markersize=4)
        axes.plot(0, 0, "+", color="tab:red", markersize=10)
        axes.set(title=name, xlabel="x", aspect="equal")
        axes.grid(alpha=0.3)
    grid[0].set_ylabel("y")
    return figure


def _panels(n: int, width: float) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(width, 3.4), dpi=90, layout="constrained")
    return figure, figure.subplots(1, n)


def save(figure: Figure, name: str) -> None:
    """Into docs/, as WebP."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="webp", pil_kwargs={"lossless": True})
    write_atomic(DOCS / name, buffer.getvalue())


def main() -> None:
    """Run everything and write docs/theory.md."""
    optima = [near_optimal(mean, std) for mean, std in PAIRS]
    save(draw_optima(optima), "theory_optimum.webp")
    ordinary, frozen = saturation(frozen=False, steps=1000, every=20), saturation(frozen=True, steps=1000, every=20)
    save(draw_saturation(ordinary, frozen), "theory_saturation.webp")
    runs = {k: [divergences(k, seed) for seed in SEEDS] for k in KS}
    save(draw_k(runs), "theory_k.webp")
    paths = {"simultaneous": descent(alternating=False), "alternating": descent(alternating=True)}
    save(draw_descent(paths), "theory_xy.webp")
    write_atomic(DOCS / "theory.md", page(optima, ordinary, frozen, runs, paths).encode())


def page(
    optima: Sequence[Curves],
    ordinary: Sequence[dict[str, float]],
    frozen: Sequence[dict[str, float]],
    runs: dict[int, list[list[tuple[int, float]]]],
    paths: dict[str, Tensor],
) -> str:
    """theory_template.md with what was measured."""
    optimum_rows = [
        f"| N({mean:g}, {std:g}²) | {distance_from_best(o):.4f} | {o.value:.4f} | {predicted(o):.4f} "
        f"| {o.value - predicted(o):+.4f} |"
        for (mean, std), o in zip(PAIRS, optima, strict=True)
    ]
    k_rows = []
    for k, of_seeds in runs.items():
        mean, std = mean_std(sum(jsd for _, jsd in run[-10:]) / 10 for run in of_seeds)
        until = [next((step for step, jsd in run if jsd < 0.01), None) for run in of_seeds]
        shown = ", ".join("never" if step is None else f"{step} ({step * (k + 1):,})" for step in until)
        k_rows.append(f"| {k} | {mean:.4f} ± {std:.4f} | {shown} |")
    weakest = min(ordinary, key=lambda row: row["d_of_g"])
    radius = {name: path.norm(dim=1) for name, path in paths.items()}
    facts = {
        "optimum_rows": "\n".join(optimum_rows),
        "k_rows": "\n".join(k_rows),
        "early_step": f"{weakest['step']:g}",
        "early_d": f"{weakest['d_of_g']:.4f}",
        "early_minimax": f"{weakest['minimax']:.4f}",
        "early_nonsaturating": f"{weakest['nonsaturating']:.3g}",
        "early_ratio": f"{weakest['nonsaturating'] / weakest['minimax']:,.0f}",
        "frozen_step": f"{frozen[-1]['step']:g}",
        "frozen_minimax": f"{frozen[-1]['minimax']:.1e}",
        "frozen_nonsaturating": f"{frozen[-1]['nonsaturating']:.3g}",
        "eta": f"{ETA:g}",
        "spiral_steps": f"{len(paths['simultaneous']) - 1}",
        "spiral_radius": f"{radius['simultaneous'][-1]:.1f}",
        "least_radius": f"{radius['alternating'].min():.3f}",
        "greatest_radius": f"{radius['alternating'].max():.3f}",
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(facts)


if __name__ == "__main__":
    main()
