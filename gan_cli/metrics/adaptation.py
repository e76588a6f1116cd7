"""Scores of a classifier on two domains, of which the labels of one were used."""

import torch
from torch import Tensor, nn

from gan_cli.data import to_unit


@torch.inference_mode()
def predicted(classifier: nn.Module, images: Tensor) -> Tensor:
    """The likeliest class of each uint8 image ``[N, C, H, W]``, int64 ``[N]`` on the CPU. In eval mode, in float32."""
    device, was = next(classifier.parameters()).device, classifier.training
    found = [classifier.eval()(to_unit(some).to(device)).argmax(dim=1).cpu() for some in images.split(500)]
    classifier.train(was)
    return torch.cat(found)


def scores(classifier: nn.Module, sources: Tensor, targets: Tensor, labels: Tensor) -> dict[str, float]:
    """``target_error``, the lower the better, and the accuracies on both domains, whose rows have the same labels."""
    on_targets, on_sources = (
        (predicted(classifier, images) == labels).double().mean().item() for images in (targets, sources)
    )
    return {"target_error": 1 - on_targets, "target_accuracy": on_targets, "source_accuracy": on_sources}
