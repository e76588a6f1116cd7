"""What to type against a finding: the run's own line of gan-train, with other values of a few keys."""

from collections.abc import Mapping, Sequence
from typing import Any

from gan_cli import typed
from gan_cli.diagnostics.seen import Seen

PLACE = ("run_dir", "resume", "trust", "init")
HIGH_RATE = 0.01  # of Adam; the highest of a shipped recipe is 0.006
FIXED_RATE = 0.002  # of Adam, for a side whose own rate is beyond repair


def line(name: str, config: Mapping[str, Any], words: Sequence[str], run_dir: str) -> str | None:
    """The line to type against the finding ``name`` of the run in ``run_dir``, begun with ``words``; None for a note.

    It begins a new run beside the old one. Words of the old line that the remedy replaces are left out.
    """
    if name == "past_its_best":
        return typed.line("gan-sample", [typed.word("ckpt", f"{run_dir}/checkpoints/best.safetensors"), "n=64"])
    if not (new := changes(name, config)):
        return None
    return typed.line("gan-train", [*kept(words, new), *new, typed.word("run_dir", f"{run_dir}-treated")])


def changes(name: str, config: Mapping[str, Any]) -> list[str]:
    """The words that are new in the line of gan-train against the finding ``name``; none if no change is known."""
    return REMEDIES[name](Seen(config)) if name in REMEDIES else []


def kept(words: Sequence[str], new: Sequence[str]) -> list[str]:
    """Those of ``words`` that the ``new`` ones don't replace: the same key, or a key in a group that they choose."""
    keys = [word.partition("=")[0] for word in new]

    def stays(word: str) -> bool:
        key = word.lstrip("+~").partition("=")[0]
        return key not in (*PLACE, *keys) and not any(key.startswith(f"{other}.") for other in keys)

    return [word for word in words if stays(word)]


def held_back(seen: Seen) -> list[str]:
    """D is held back: one step of D a turn, no saturating loss, a penalty that bites."""
    new = ["k=1"] if seen.option("k", 1) > 1 else []
    new += ["loss=nonsaturating"] if seen.loss == "minimax" else []
    gamma = seen.option("penalty.gamma")
    if not seen.option("penalty._target_"):
        new += r1(seen)
    elif isinstance(gamma, int | float):
        new.append(f"penalty.gamma={gamma * 10 if gamma > 0.01 else usual_gamma(seen):.4g}")
    return new


def r1(seen: Seen) -> list[str]:
    """R1 with a gamma for such data."""
    return ["penalty=r1", *([f"penalty.gamma={usual_gamma(seen)}"] if usual_gamma(seen) != 1 else [])]


def usual_gamma(seen: Seen) -> float:
    """A gamma to begin with: 1 for images, the variance's hundredth or so for points of unit scale."""
    return 0.01 if len(seen.option("image_shape", [])) == 1 else 1.0


def slower(seen: Seen) -> list[str]:
    """Both rates a tenth, and at most :data:`FIXED_RATE`. No saturating loss; and a penalty, if there is none."""
    new = ["loss=nonsaturating"] if seen.loss == "minimax" else []
    for side in ("generator", "discriminator"):
        rate = seen.option(f"optimizer.{side}.lr")
        if isinstance(rate, int | float) and rate > 0:
            new.append(f"optimizer.{side}.lr={min(rate / 10, FIXED_RATE):.2g}")
    return new + ([] if seen.option("penalty._target_") else r1(seen))


def against_collapse(seen: Seen) -> list[str]:
    """A penalty if there is none, and D's rate for a G that is much faster; else a larger batch, or slower steps."""
    if high_rates(seen):
        return slower(seen)
    if hasty_g(seen):
        return [*held_back(seen), *equal_rates(seen)]
    if not seen.option("penalty._target_") or seen.option("penalty.gamma") == 0:
        return held_back(seen)
    size = seen.option("batch_size", 32)
    return [f"batch_size={size * 4}"] if size < 64 else slower(seen)


def high_rates(seen: Seen) -> bool:
    """Whether a rate of Adam is so high that it alone explains the trouble."""
    rates = [seen.option(f"optimizer.{side}.lr") for side in ("generator", "discriminator")]
    return any(isinstance(rate, int | float) and rate > HIGH_RATE for rate in rates)


def hasty_g(seen: Seen) -> bool:
    """Whether G's rate is more than four times D's: G runs to where D was, from mode to mode."""
    rates = [seen.option(f"optimizer.{side}.lr") for side in ("generator", "discriminator")]
    return all(isinstance(rate, int | float) for rate in rates) and rates[0] > 4 * rates[1]


def equal_rates(seen: Seen) -> list[str]:
    """G gets D's rate."""
    rate = seen.option("optimizer.discriminator.lr", FIXED_RATE)
    return [f"optimizer.generator.lr={rate:.2g}"]


def against_no_gradient(seen: Seen) -> list[str]:
    """Slower steps if the rates are high, else D is held back."""
    return slower(seen) if high_rates(seen) else held_back(seen)


def slow_g(seen: Seen) -> bool:
    """Whether G's rate is less than a hundredth of D's, and so explains that G doesn't follow."""
    rates = [seen.option(f"optimizer.{side}.lr") for side in ("generator", "discriminator")]
    return all(isinstance(rate, int | float) for rate in rates) and rates[0] < rates[1] / 100


def against_slow_g(seen: Seen) -> list[str]:
    """D's rate for a G whose own is next to nothing, else what helps a G without a gradient."""
    return equal_rates(seen) if slow_g(seen) else against_no_gradient(seen)


def freed(seen: Seen) -> list[str]:
    """A hundredth of the penalty that keeps D at chance; faster steps without one."""
    gamma = seen.option("penalty.gamma")
    if isinstance(gamma, int | float) and gamma > usual_gamma(seen):
        return [f"penalty.gamma={max(gamma / 100, usual_gamma(seen)):.4g}"]
    return []


def augmented(seen: Seen) -> list[str]:
    """Augmentation for little data, beside the mirroring of a run that mirrors."""
    if seen.option("augment.policy") == ["flip"]:
        return ["augment=diffaugment", "augment.policy=[flip,color,translation,cutout]"]
    return ["augment=diffaugment"] if not seen.option("augment._target_") else []


def unaugmented(seen: Seen) -> list[str]:
    """ADA's published target and speed, or fixed augmentation."""
    return ["augment.target=0.6", "augment.speed=500000"] if seen.option("augment.target") != 0.6 else [
        "augment=diffaugment"
    ]  # fmt: skip


REMEDIES = {
    "nearly_nonfinite": slower,
    "rate_too_high": slower,
    "no_gradient": against_no_gradient,
    "collapse": against_collapse,
    "g_stands_still": against_slow_g,
    "d_overpowers": against_slow_g,
    "d_at_chance": freed,
    "d_memorises": augmented,
    "augmentation_leaks": unaugmented,
    "batch_too_small": lambda seen: ["batch_size=32"],
    "oscillation": slower,
}
