"""The curves of a page: which numbers of the records share a chart, and how many points of them are shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from gan_cli.metrics.catalogue import SCORES, SIGNALS, own_terms

POINTS = 1500  # of a curve
Rows = Sequence[Mapping[str, float]]

# The charts, in the order of the page: title, what its numbers are, and the numbers by their names in a record.
CHARTS: Sequence[tuple[str, str, Mapping[str, str]]] = (
    ("Losses", "mean over a tick", {"loss_d": "discriminator", "loss_g": "generator"}),
    ("Discriminator's output", "mean probability of real; 1/2 at the equilibrium",
     {"d_real": "D(x)", "d_fake": "D(G(z))"}),
    ("V(D, G)", "equation 1; -log 4 = -1.386 at the equilibrium", {"value": "V(D, G)"}),
    ("Fréchet distance", "lower is better", {"frechet": "Fréchet distance"}),
    ("Fréchet distance of random features", "lower is better", {"frechet_random": "Fréchet distance"}),
    ("Precision and recall", "higher is better", {"precision": "precision", "recall": "recall"}),
    ("Modes", "modes found", {"modes": "modes", "classes_hit": "classes"}),
    ("Missed modes", "lower is better", {"missed": "missed", "class_kl": "KL of the classes"}),
    ("High quality", "share of samples near a mode", {"high_quality": "high quality"}),
    ("Jensen-Shannon divergence", "lower is better", {"jsd": "JSD", "d_error": "largest |D - 1/2|"}),
    ("Distance from the targets", "lower is better", {"mae": "mean absolute error", "cycle_error": "cycle error"}),
    ("Accuracy", "higher is better", {"target_accuracy": "on targets", "source_accuracy": "on sources"}),
    ("Likeness to the targets", "higher is better", {"psnr": "PSNR", "ssim": "SSIM"}),
    ("Penalty", "over the updates that took it", {"penalty": "penalty"}),
    ("Accuracy of D", "on the tick's last minibatch",
     {"d_accuracy_real": "real images", "d_accuracy_fake": "fake images"}),
    ("D's memory", "r_v of Karras et al. 2020: 0 is none, 1 is complete", {"r_v": "r_v"}),
    ("Gradient norms", "of a tick's last update", {"grad_norm_d": "discriminator", "grad_norm_g": "generator"}),
    ("Diversity", "of the samples, as a part of the data's: 1 is the data's",
     {"sample_std": "standard deviation", "sample_distance": "median distance"}),
    ("Saturated pixels", "black or white, minus the data's share", {"sample_saturation": "saturated"}),
    ("Checkerboard", "energy at the Nyquist frequencies, as a multiple of the data's",
     {"sample_checkerboard": "checkerboard"}),
    ("Augmentation", "probability p of ADA", {"augment_p": "p"}),
    ("Images per second", "", {"images_per_second": "images per second"}),
)  # fmt: skip


def charts(rows: Rows) -> list[dict[str, Any]]:
    """The charts that ``rows`` have numbers for: title, note, steps, and the named series, with None for a gap."""
    names = {name: None for row in rows for name in row}
    own = [("Other terms", "mean over a tick", {name: name}) for name in own_terms(names)]
    found = []
    for title, note, labels in [*CHARTS[:3], *own, *CHARTS[3:]]:
        shown = {name: label for name, label in labels.items() if name in names}
        if shown:
            some = [row for row in rows if shown.keys() & row.keys()]
            found.append({
                "title": title if title != "Other terms" else next(iter(shown)),
                "note": note,
                "steps": [row["step"] for row in spread(some, POINTS)],
                "series": [
                    {"name": name, "label": label, "values": [row.get(name) for row in spread(some, POINTS)]}
                    for name, label in shown.items()
                ],
            })  # fmt: skip
    return found


def spread(rows: Rows, most: int) -> Rows:
    """At most ``most`` of ``rows``, evenly spread, with the last."""
    every = -(-len(rows) // most)
    return rows[(len(rows) - 1) % every :: every] if rows else rows


def series(rows: Rows, name: str, most: int) -> tuple[list[float], list[float]]:
    """Steps and values of the number ``name``, at most ``most`` of them."""
    some = spread([row for row in rows if name in row], most)
    return [row["step"] for row in some], [row[name] for row in some]


def compared(names: Sequence[str]) -> list[str]:
    """Those of ``names`` in which the curves of several runs are compared: scores first, no signals."""
    known = [name for name in (*SCORES, "value", "loss_d", "loss_g", "d_real", "d_fake") if name in names]
    return [*known, *(name for name in own_terms(names) if name not in SIGNALS)]
