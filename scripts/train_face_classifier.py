"""Train the classifier of drawn faces' attributes: python scripts/train_face_classifier.py [seed]

Some minutes on a core, once the faces are drawn. Trains on the training faces only, on a fixed schedule, and keeps the
last weights, so that the held-out faces choose nothing; writes gan_cli/metrics/face_classifier.safetensors, in float16,
and prints the held-out accuracy of each attribute.
"""

import json
import sys

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from gan_cli.data.drawn_faces import drawn_faces
from gan_cli.files import write_atomic
from gan_cli.metrics.extractor import face_extractor
from gan_cli.metrics.face_classifier import WEIGHTS, FaceClassifier, likeliest

EPOCHS = 7
BATCH_SIZE = 64
PEAK_LEARNING_RATE = 6e-3
WEIGHT_DECAY = 1e-2


def loss_of(logits: Tensor, wanted: Tensor, sizes: list[int]) -> Tensor:
    """The sum over all attributes of the cross entropy of their values."""
    pairs = zip(logits.float().split(sizes, dim=1), wanted.long().unbind(dim=1), strict=True)
    return sum((functional.cross_entropy(one, value) for one, value in pairs), start=torch.zeros(()))


def train(classifier: FaceClassifier, images: Tensor, wanted: Tensor, sizes: list[int]) -> None:
    """Train with AdamW under a one-cycle schedule that ends at a learning rate of nearly zero."""
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
    steps = len(images) // BATCH_SIZE
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=EPOCHS * steps)
    classifier.train()
    for epoch in range(EPOCHS):
        total = 0.0
        for batch in torch.randperm(len(images))[: steps * BATCH_SIZE].split(BATCH_SIZE):
            with torch.autocast("cpu", torch.bfloat16):
                pixels = (images[batch] / 255).contiguous(memory_format=torch.channels_last)
                loss = loss_of(classifier(pixels), wanted[batch], sizes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{EPOCHS}  loss {total / steps:.4f}", flush=True)


def main() -> None:
    torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    training, test = drawn_faces(), drawn_faces(split="test")
    assert training.attributes and test.attributes
    sizes = [len(values) for values in training.attributes.values.values()]
    classifier = FaceClassifier(sum(sizes)).to(memory_format=torch.channels_last)  # faster convolutions on a CPU
    train(classifier, training.images, training.attributes.indices, sizes)
    weights = {name: w.half() if w.is_floating_point() else w for name, w in classifier.state_dict().items()}
    attributes = json.dumps(training.attributes.values)
    content = safetensors.torch.save({name: w.contiguous() for name, w in weights.items()}, {"attributes": attributes})
    write_atomic(WEIGHTS, content)
    extractor = face_extractor(torch.device("cpu"))
    assert extractor.classify
    found = likeliest(extractor.classify(extractor.features(test.images)), sizes)
    right = (found == test.attributes.indices).double().mean(dim=0).tolist()
    print("  ".join(f"{name} {share:.2%}" for name, share in zip(test.attributes.values, right, strict=True)))


if __name__ == "__main__":
    main()
