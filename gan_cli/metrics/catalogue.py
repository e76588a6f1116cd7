"""The names of all numbers that this package reports: their metric functions, their format and their order.

This is the only list of these names. It imports no torch, so the error for a mistyped name appears at once.
"""

from collections.abc import Iterable, Mapping

# The metrics of gan-eval: functions of gan_cli.metrics.suite, and the numbers that each function gives.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "frechet": ("frechet",),
    "frechet_random": ("frechet_random",),
    "kid": ("kid",),
    "precision_recall": ("precision", "recall"),
    "density_coverage": ("density", "coverage"),
    "inception_score": ("inception_score",),
    "modes": ("classes_hit", "class_kl", "missed", "modes", "high_quality"),
    "attributes": ("frechet_attributes", "attribute_kl", "values_hit"),
    "jsd": ("jsd", "d_error"),
    "label_accuracy": ("label_accuracy",),
    "parzen": ("parzen",),
    "c2st": ("c2st_accuracy",),
    "one_nn": ("one_nn_accuracy",),
    "memorisation": ("copying",),
    "paired": ("mae", "psnr", "ssim"),
    "lpips": ("lpips",),
    "cycle": ("cycle_error",),
}
OF_TRANSLATIONS = ("paired", "lpips", "frechet", "cycle")  # the metrics of a generator that translates

# Scores during a run, and how each is shown; None for a score that is only in the files.
SCORES: Mapping[str, str | None] = {
    "missed": None,
    "target_error": None,
    "target_accuracy": "accuracy on targets {:.1%}",
    "source_accuracy": "on sources {:.1%}",
    "mae": "error {:.4f}",
    "psnr": "PSNR {:.2f}",
    "ssim": "SSIM {:.3f}",
    "cycle_error": "cycle error {:.4f}",
    "frechet": "Fréchet {:.1f}",
    "frechet_random": "Fréchet (random features) {:.3g}",
    "precision": "precision {:.2f}",
    "recall": "recall {:.2f}",
    "class_kl": "KL {:.3f}",
    "classes_hit": "classes {:.0f}",
    "jsd": "JSD {:.4f}",
    "d_error": "|D - 1/2| {:.3f}",
    "modes": "modes {:.0f}",
    "high_quality": "high quality {:.1%}",
}

# The scores that come first in an evaluation: a lower one is better. best.safetensors and a sweeper go by them.
FIRST_SCORES = ("missed", "frechet", "frechet_random", "class_kl", "jsd", "mae", "target_error")

# The terms of this package's games, and how each is shown; None for a term that is only in the files.
TERMS: Mapping[str, str | None] = {
    "loss_d": "loss_d {:.2f}",
    "loss_g": "loss_g {:.2f}",
    "d_real": "D(x) {:.2f}",
    "d_fake": "D(G(z)) {:.2f}",
    "value": None,
    "penalty": None,
}

# The signals of a tick, with what each is. They are in the files only.
SIGNALS: Mapping[str, str] = {
    "d_accuracy_real": "share of real images that D takes for real",
    "d_accuracy_fake": "share of fake images that D takes for fake",
    "grad_norm_d": "norm of D's gradient",
    "grad_norm_g": "norm of G's gradient",
    "r_v": "D's memory of the training images: 0 is none, 1 is complete",
    "augment_p": "probability of ADA's operations",
    "sample_std": "standard deviation over the samples, as a part of the data's",
    "sample_distance": "median distance of two samples, as a part of the data's",
    "sample_saturation": "share of black and white pixels, minus the data's",
    "sample_checkerboard": "energy at the Nyquist frequencies, as a multiple of the data's",
}

# The other entries of a record.
CLOCKS = frozenset({"step", "images", "seconds", "time"})


def sorted_terms(means: Mapping[str, float]) -> dict[str, float]:
    """``means`` of terms in the order of a record: first the terms in :data:`TERMS`, in that order, then the others."""
    return {**{name: means[name] for name in TERMS if name in means}, **means}


def format_record(record: Mapping[str, float]) -> str:
    """A record in words: ``2,310 images/s, loss_d 1.21, loss_g 0.93, D(x) 0.58, D(G(z)) 0.41``, then any scores.

    Terms and scores that the user defined come last, under their own names.
    """
    parts = [f"{record['images_per_second']:,.0f} images/s"] if "images_per_second" in record else []
    known = {**TERMS, **SCORES}
    parts += [words.format(record[name]) for name, words in known.items() if words and name in record]
    others = record.keys() - known.keys() - SIGNALS.keys() - CLOCKS - {"images_per_second"}
    parts += [f"{name} {record[name]:.3g}" for name in record if name in others]
    return ", ".join(parts)


def in_order(names: Iterable[str]) -> list[str]:
    """``names`` of a record in the order of a table: scores, V(D, G), terms, speed; without clocks and signals."""
    first, left_out = [*SCORES, "value", *TERMS], {*CLOCKS, *SIGNALS, "images_per_second"}
    wanted = [name for name in dict.fromkeys(names) if name not in left_out]
    ranked = sorted(wanted, key=lambda name: first.index(name) if name in first else len(first))
    return [*ranked, "images_per_second"]


def own_terms(names: Iterable[str]) -> list[str]:
    """The ``names`` of a record that this package does not know: terms and scores that the user defined."""
    known = {*SCORES, *TERMS, *SIGNALS, *CLOCKS, "images_per_second"}
    return [name for name in dict.fromkeys(names) if name not in known]
