"""The names of all numbers that this package reports: what computes them, how they are shown, in which order.

This is the one list of them, and it needs no torch: a mistyped name is answered at once.
"""

from collections.abc import Iterable, Mapping

# What gan-eval can compute: functions of gan_cli.metrics.suite, and the numbers that each of them gives.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "frechet": ("frechet",),
    "kid": ("kid",),
    "precision_recall": ("precision", "recall"),
    "density_coverage": ("density", "coverage"),
    "inception_score": ("inception_score",),
    "modes": ("classes_hit", "class_kl"),
    "label_accuracy": ("label_accuracy",),
    "parzen": ("parzen",),
    "c2st": ("c2st_accuracy",),
    "one_nn": ("one_nn_accuracy",),
    "memorisation": ("copying",),
}

# Scores of a run that is going on, and how each is shown; None for one that is in the files alone.
SCORES: Mapping[str, str | None] = {
    "missed": None,
    "frechet": "Fréchet {:.1f}",
    "precision": "precision {:.2f}",
    "recall": "recall {:.2f}",
    "class_kl": "KL {:.3f}",
    "classes_hit": "classes {:.0f}",
    "jsd": "JSD {:.4f}",
    "d_error": "|D - 1/2| {:.3f}",
    "modes": "modes {:.0f}",
    "high_quality": "high quality {:.1%}",
}

# The terms of the games in this package, and how each is shown; None for one that is in the files alone.
TERMS: Mapping[str, str | None] = {
    "loss_d": "loss_d {:.2f}",
    "loss_g": "loss_g {:.2f}",
    "d_real": "D(x) {:.2f}",
    "d_fake": "D(G(z)) {:.2f}",
    "value": None,
    "penalty": None,
}

# What is in records besides.
CLOCKS = frozenset({"step", "images", "seconds", "time"})


def sorted_terms(means: Mapping[str, float]) -> dict[str, float]:
    """``means`` of terms in the order of a record: those of this package's games as they stand in :data:`TERMS`."""
    return {**{name: means[name] for name in TERMS if name in means}, **means}


def format_record(record: Mapping[str, float]) -> str:
    """A record in words: ``2,310 images/s, loss_d 1.21, loss_g 0.93, D(x) 0.58, D(G(z)) 0.41``, its scores if any.

    Terms of a game of one's own, and scores of one's own, come last, by their names.
    """
    parts = [f"{record['images_per_second']:,.0f} images/s"] if "images_per_second" in record else []
    known = {**TERMS, **SCORES}
    parts += [words.format(record[name]) for name, words in known.items() if words and name in record]
    others = record.keys() - known.keys() - CLOCKS - {"images_per_second"}
    parts += [f"{name} {record[name]:.3g}" for name in record if name in others]
    return ", ".join(parts)


def in_order(names: Iterable[str]) -> list[str]:
    """``names`` of a record, without the clocks, in the order of a table: scores, V(D, G), terms, speed."""
    first = [*SCORES, "value", *TERMS]
    wanted = [name for name in dict.fromkeys(names) if name not in CLOCKS and name != "images_per_second"]
    ranked = sorted(wanted, key=lambda name: first.index(name) if name in first else len(first))
    return [*ranked, "images_per_second"]


def own_terms(names: Iterable[str]) -> list[str]:
    """Those of the ``names`` of a record that are neither a score nor a term of this package's games."""
    known = {*SCORES, *TERMS, *CLOCKS, "images_per_second"}
    return [name for name in dict.fromkeys(names) if name not in known]
