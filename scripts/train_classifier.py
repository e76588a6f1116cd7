"""Train the MNIST classifier behind the Fréchet distance: python scripts/train_classifier.py [seed]

About ten minutes on 2 cores. Trains on the training images only, on a fixed schedule, and keeps the last weights, so
that the test images choose nothing; writes gan_cli/metrics/mnist_classifier.safetensors and prints the test accuracy.
"""

import math
import sys

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from gan_cli.data.idx import mnist
from gan_cli.files import write_atomic
from gan_cli.metrics.classifier import WEIGHTS, Classifier

EPOCHS = 16
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 5e-3
WEIGHT_DECAY = 1e-2

MAX_ROTATION = math.radians(12)
MAX_SHIFT = 2 / 14  # two pixels: affine_grid spans the 28 pixels with -1 to 1
MAX_LOG_SCALE = math.log(1.1)
MAX_SHEAR = 0.15


def random_affine(images: Tensor) -> Tensor:
    """Each image rotated, scaled, sheared and shifted a little, by its own random amounts."""
    angle, log_scale, shear, shift_x, shift_y = torch.rand(5, len(images)) * 2 - 1
    angle, scale, shear = angle * MAX_ROTATION, (log_scale * MAX_LOG_SCALE).exp(), shear * MAX_SHEAR
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [cos, shear - sin, shift_x * MAX_SHIFT, sin, cos, shift_y * MAX_SHIFT]
    matrices = torch.stack(rows, dim=1).reshape(-1, 2, 3)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(classifier: Classifier, images: Tensor, labels: Tensor) -> None:
    """Train with AdamW under a one-cycle schedule that ends at a learning rate of nearly zero."""
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
    steps_per_epoch = len(images) // BATCH_SIZE
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=EPOCHS * steps_per_epoch)
    classifier.train()
    for epoch in range(EPOCHS):
        order = torch.randperm(len(images))[: steps_per_epoch * BATCH_SIZE]
        epoch_loss = torch.zeros(())
        for batch in order.split(BATCH_SIZE):
            with torch.autocast("cpu", torch.bfloat16):  # 1.5x the speed of float32 where the CPU has it
                logits = classifier(random_affine(images[batch]))
                loss = functional.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            epoch_loss += loss.detach()
        print(f"epoch {epoch + 1}/{EPOCHS}  loss {epoch_loss.item() / steps_per_epoch:.4f}", flush=True)


@torch.inference_mode()
def accuracy(classifier: Classifier, images: Tensor, labels: Tensor) -> float:
    """The share of images whose largest logit is their label's."""
    classifier.eval()
    predictions = torch.cat([classifier(batch).argmax(dim=1) for batch in images.split(1000)])
    return (predictions == labels).double().mean().item()


def main() -> None:
    torch.manual_seed(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    training, test = mnist(), mnist(split="test")
    assert training.labels is not None and test.labels is not None
    classifier = Classifier().to(memory_format=torch.channels_last)  # faster convolutions on a CPU
    train(classifier, training.images / 255, training.labels)
    print(f"test accuracy {accuracy(classifier, test.images / 255, test.labels):.2%}")
    weights = {name: weight.contiguous() for name, weight in classifier.state_dict().items()}
    write_atomic(WEIGHTS, safetensors.torch.save(weights))


if __name__ == "__main__":
    main()
