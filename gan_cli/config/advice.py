"""Warnings about unsound combinations: one line each, with the reason and what to type instead."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

GRADIENT_PENALTIES = frozenset({"r1", "r2", "r1r2", "gradient_penalty", "dragan"})
NOT_LIPSCHITZ = (GRADIENT_PENALTIES - {"gradient_penalty"}) | {"LeCam", "None"}  # among the shipped penalties


def unsound(config: Mapping[str, Any], discriminator: nn.Module) -> list[str]:
    """The unsound combinations in ``config``: one line each, with the reason and what to type instead."""
    lines = []
    penalty_name = str(config["penalty"].get("_target_")).removeprefix("gan_cli.penalties.")
    clipped = config["penalty"].get("clip") is not None
    modules = list(discriminator.modules())
    if penalty_name in GRADIENT_PENALTIES and any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in modules):
        other = "net.discriminator.norm=layer" if "norm" in config["net"]["discriminator"] else "net/discriminator=conv"
        lines.append(
            f"{penalty_name} penalises each image's own gradient, but the discriminator's batch normalisation mixes "
            f"those of a batch: type {other}, or penalty=none"
        )
    if isinstance(modules[-1], nn.Sigmoid):
        lines.append("the discriminator ends in a sigmoid, but every loss takes logits: leave its sigmoid out")
    lipschitz = clipped or penalty_name not in NOT_LIPSCHITZ or _spectral(modules)
    if config["loss"]["_target_"] == "gan_cli.losses.wgan" and not lipschitz:
        lines.append(
            "loss=wgan means nothing unless the discriminator is Lipschitz: type penalty=gradient_penalty, "
            "or penalty=weight_clip optimizer=rmsprop"
        )
    if clipped and (momentum := _momentum(config["optimizer"]["discriminator"])) >= 0.5:
        lines.append(
            f"weight clipping is unstable under a momentum of {momentum} (Arjovsky et al. 2017, section 4): "
            "type optimizer=rmsprop"
        )
    adapts = config["augment"].get("_target_") == "gan_cli.augment.ADA" and config["schedule"]["augment_p"] is None
    if adapts and config["loss"]["_target_"] == "gan_cli.losses.relativistic":
        lines.append(
            "augment=ada adapts to the signs of D's logits, but loss=relativistic compares logits with each other "
            "alone: type loss=nonsaturating, or augment=diffaugment"
        )
    if config.get("own_metrics") and config.get("eval_every") is None:
        lines.append("own_metrics are measured at evaluations, and this run has none: add eval_every=500")
    return lines


def _momentum(optimizer: Mapping[str, Any]) -> float:
    """The momentum of ``optimizer``: Adam's first beta, or SGD's momentum."""
    return float(optimizer["betas"][0] if "betas" in optimizer else optimizer.get("momentum", 0.0))


def _spectral(modules: Sequence[nn.Module]) -> bool:
    """Whether ``modules`` contain a spectral normalisation, which torch implements as a module of its own."""
    return any("SpectralNorm" in type(module).__name__ for module in modules)
