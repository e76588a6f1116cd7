"""What is wrong in the latest records of a run. Each check returns its evidence in numbers, or None.

The signals and most thresholds are published. docs/doctor.md names the sources, and how often a check was right.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gan_cli.diagnostics.seen import LOOKS, Seen

STOP, WARNING, NOTE = SEVERITIES = ("stop", "warning", "note")
CERTAIN = 8.0  # between the mean logits of real and fake images: a sigmoid of 0.9997
TELLS = 0.6  # the same difference where r_t would be 0.3: a sigmoid of 0.65

Check = Callable[[Seen], str | None]


def d_overpowers(seen: Seen) -> str | None:
    if seen.loss == "relativistic":
        return _certain(seen)
    found = seen.means("loss_d", "d_accuracy_real", "d_accuracy_fake", "d_fake")
    if not found or not seen.probabilities:
        return None
    loss, real, fake, d_fake = found
    if loss < 0.25 and min(real, fake) > 0.97:
        return f"loss_d {loss:.2g}, D is right on {min(real, fake):.0%}, D(G(z)) {d_fake:.2g}"
    return None


def _certain(seen: Seen) -> str | None:
    """D overpowers G by the relativistic loss."""
    gap = _gap(seen)
    return f"D(x) is above D(G(z)) by {gap:.1f} in logits, loss_d {seen.mean('loss_d'):.2g}" if gap > CERTAIN else None


def _gap(seen: Seen) -> float:
    """The mean of D(x) - D(G(z)) in logits, by the relativistic loss: there it is loss_g - loss_d."""
    found = seen.means("loss_d", "loss_g")
    return found[1] - found[0] if found else 0.0


def no_gradient(seen: Seen) -> str | None:
    found = seen.means("grad_norm_g", "grad_norm_d")
    if found and found[0] < 1e-4 and found[0] < 1e-3 * found[1]:
        return f"norm of G's gradient {found[0]:.1g}, of D's {found[1]:.1g}"
    return None


def collapse(seen: Seen) -> str | None:
    looks = seen.looks[-2:]
    if len(looks) < 2:
        return None
    std, distance = (max(look.get(name, 1.0) for look in looks) for name in ("sample_std", "sample_distance"))
    if std < 0.5 or distance < 1 / 3:
        return f"the samples' standard deviation is {std:.2f} of the data's, their median distance {distance:.2f} of it"
    return None


def rate_too_high(seen: Seen) -> str | None:
    found = seen.mean("loss_d")
    norm = max((row.get("grad_norm_d", 0.0) for row in seen.rows), default=0.0)
    if found is None:
        return None
    if seen.probabilities and found > 2.5:
        return f"loss_d {found:.3g}: more than twice that of a D that guesses, 1.39"
    if norm > 1000 and seen.loss != "wgan":
        return f"norm of D's gradient up to {norm:.3g}"
    return None


def g_stands_still(seen: Seen) -> str | None:
    if len(seen.looks) < 2 or seen.looks[-1]["sample_std"] < 0.05:  # then it is collapse
        return None
    first, last = seen.looks[-2], seen.looks[-1]
    names = {"sample_std", "sample_distance", "sample_checkerboard"} & first.keys() & last.keys()
    change = max((abs(last[name] - first[name]) / max(abs(first[name]), 1e-12) for name in names), default=1.0)
    if change < 2e-4:
        return f"the samples of steps {first['step']:,} and {last['step']:,} differ by {change:.1g}"
    return None


def d_memorises(seen: Seen) -> str | None:
    real, epochs = seen.mean("d_accuracy_real"), seen.epochs
    points = len(seen.option("image_shape", [])) == 1
    relativistic = seen.loss == "relativistic"
    if real is None or epochs is None or points or not (seen.probabilities or relativistic):
        return None
    held_out = [look["r_v"] for look in seen.looks[-2:] if "r_v" in look]
    if held_out:  # it tells memory from a D that is right on images which it has never seen
        tells = _gap(seen) > TELLS if relativistic else 2 * real - 1 > 0.3
        if len(held_out) == 2 and min(held_out) > 0.5 and tells:
            return f"r_v = {min(held_out):.2f}, where 0 is no memory and 1 is complete, after {epochs:,.1f} epochs"
        return None
    if epochs < 10 or relativistic:
        return None
    if 2 * real - 1 > 0.6 and (seen.mean("d_accuracy_fake") or 0) > 0.6:
        return f"r_t = {2 * real - 1:.2f} (above 0.6) after {epochs:,.0f} epochs"
    return None


def augmentation_leaks(seen: Seen) -> str | None:
    p = seen.mean("augment_p")
    return f"ADA's p is {p:.2f} (above 0.8)" if p is not None and p > 0.8 else None


def d_at_chance(seen: Seen) -> str | None:
    found = seen.means("d_real", "d_fake", "grad_norm_g")
    if not found or not seen.probabilities:
        return None
    gap = abs(found[0] - found[1])
    if gap < 0.002 and seen.unlike_the_data:
        return f"D(x) and D(G(z)) differ by {gap:.1g}, norm of G's gradient {found[2]:.1g}"
    return None


def batch_too_small(seen: Seen) -> str | None:
    size = seen.option("batch_size", 32)
    translates = seen.option("source_channels") is not None  # pix2pix and CycleGAN are made for one image
    return f"batch_size={size}" if isinstance(size, int) and size < 4 and not translates else None


def oscillation(seen: Seen) -> str | None:
    found = autocorrelation([row["loss_g"] for row in seen.rows if "loss_g" in row])
    if found is None:
        return None
    swing, correlation = found
    if swing > 0.5 and correlation < -0.6:
        return f"loss_g swings by {swing:.1f} times its mean, autocorrelation {correlation:.2f}"
    return None


def autocorrelation(values: Sequence[float]) -> tuple[float, float] | None:
    """(Standard deviation by mean, autocorrelation at lag 1) of ``values``; None for fewer than 6, or equal ones."""
    n = len(values)
    mean = sum(values) / n if n else 0.0
    deviations = [value - mean for value in values]
    square = sum(d * d for d in deviations)
    if n < 6 or square == 0 or mean == 0:
        return None
    lagged = sum(a * b for a, b in itertools.pairwise(deviations))
    return (square / n) ** 0.5 / abs(mean), lagged / square


def past_its_best(seen: Seen) -> str | None:
    if len(seen.scores) < 6:
        return None
    best, at = min((value, step) for step, value in seen.scores)
    later = [value for step, value in seen.scores if step > at]
    if len(later) >= 5 and min(later) > 1.05 * best:
        return f"the best score, {best:.3g}, is of step {at:,.0f}, {len(later)} evaluations ago; now {later[-1]:.3g}"
    return None


def nearly_nonfinite(seen: Seen) -> str | None:
    names = ("loss_d", "loss_g", "penalty", "grad_norm_d", "grad_norm_g")
    largest = {name: max((abs(row.get(name, 0.0)) for row in seen.rows), default=0.0) for name in names}
    name = max(names, key=lambda name: largest[name])
    return f"{name} is {largest[name]:.1g}" if largest[name] > 1e6 else None


def checkerboard(seen: Seen) -> str | None:
    looks = [look["sample_checkerboard"] for look in seen.looks if "sample_checkerboard" in look]
    if len(looks) >= LOOKS and min(looks) > 20:
        return f"energy at the Nyquist frequencies: {min(looks):.0f} times the data's"
    return None


@dataclass(frozen=True)
class Kind:
    """A finding's severity, title, and why it matters."""

    severity: str
    title: str
    why: str
    check: Check


KINDS: Mapping[str, Kind] = {
    "nearly_nonfinite": Kind(STOP, "numbers near overflow", "the next step may be non-finite", nearly_nonfinite),
    "rate_too_high": Kind(STOP, "learning rates too high", "D is worse than guessing, or its steps overshoot",
                          rate_too_high),
    "no_gradient": Kind(STOP, "G gets no gradient", "G can't learn from a D whose output doesn't change with the image",
                        no_gradient),
    "collapse": Kind(STOP, "mode collapse", "the samples differ from each other far less than the data do", collapse),
    "g_stands_still": Kind(STOP, "G stands still", "the samples don't change: does G's optimizer reach its weights?",
                           g_stands_still),
    "d_overpowers": Kind(WARNING, "D overpowers G", "a D that is certain gives G hardly any direction", d_overpowers),
    "d_at_chance": Kind(WARNING, "D is at chance", "a D that tells nothing apart gives random feedback", d_at_chance),
    "d_memorises": Kind(WARNING, "D memorises the data", "D knows the training images, and draws G towards them",
                        d_memorises),
    "augmentation_leaks": Kind(WARNING, "augmentation leaks", "at such a p, samples look augmented themselves",
                               augmentation_leaks),
    "batch_too_small": Kind(WARNING, "batch too small", "gradients of so few images are mostly noise",
                            batch_too_small),
    "oscillation": Kind(WARNING, "losses oscillate", "G and D chase each other instead of settling", oscillation),
    "past_its_best": Kind(STOP, "past its best", "the score has not come back to its best", past_its_best),
    "checkerboard": Kind(NOTE, "checkerboard", "upsampling leaves a pattern of period 2", checkerboard),
}  # fmt: skip
