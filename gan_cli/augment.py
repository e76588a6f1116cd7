"""Augmentations of the discriminator's input, for small datasets: real and generated images are augmented alike.

An augmentation is a module that maps images ``[N, C, H, W]`` in about [-1, 1] to images of the same shape, with fresh
random numbers for each image and call, from torch's global generator of the images' device. It is differentiable in
the images, twice: the generator learns through the augmentation, and a gradient penalty differentiates through it
again. All state that changes during a run is in buffers, so that a checkpoint contains it.

G must match the data, not the augmented data. This works if the distribution of augmented images determines the
distribution of the images before, for example if enough images stay unchanged. Otherwise the augmentation leaks into
the samples (Karras et al. 2020, arXiv 2006.06676, section 2.2).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

EPOCHS, LONGEST = 250, 500_000  # in which p of ADA may rise from 0 to 1, and the paper's number of images


class Augment(nn.Module):
    """An augmentation: ``forward`` maps images to images."""

    def observe(self, real_logits: Tensor) -> None:
        """Record D's logits ``[N]`` on a minibatch of real images. The loop calls this once after each D step."""


def _uniform(images: Tensor, low: float, high: float, k: int = 1) -> Tensor:
    """``k`` numbers for each of the images, ``[N, 1, 1, k]``."""
    return low + (high - low) * torch.rand(len(images), 1, 1, k, device=images.device, dtype=images.dtype)


def _normal(images: Tensor, std: float, k: int = 1) -> Tensor:
    """``k`` numbers for each of the images, ``[N, 1, 1, k]``."""
    return std * torch.randn(len(images), 1, 1, k, device=images.device, dtype=images.dtype)


def flip(images: Tensor) -> Tensor:
    """Mirror each image left to right with probability 1/4.

    With 1/2, images and mirror images would look alike to D, and G's could face either way, whatever the data do.
    """
    return torch.where(_uniform(images, 0, 1) < 0.25, images.flip(-1), images)


def _of_colours(change: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """``change`` of the colours of ``images``. A fourth channel, the transparency, stays as it is."""
    if images.shape[1] != 4:
        return change(images)
    return torch.cat([change(images[:, :3]), images[:, 3:]], dim=1)


def brightness(images: Tensor) -> Tensor:
    """Add a number from U(-0.5, 0.5) to each image."""
    return images + _uniform(images, -0.5, 0.5)


def saturation(images: Tensor) -> Tensor:
    """Multiply each pixel's difference from its grey value (its channel mean) by U(0, 2). Grey images do not change."""
    grey = images.mean(dim=1, keepdim=True)
    return grey + (images - grey) * _uniform(images, 0, 2)


def contrast(images: Tensor) -> Tensor:
    """Multiply each image's difference from its mean by U(0.5, 1.5)."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * _uniform(images, 0.5, 1.5)


def translation(images: Tensor) -> Tensor:
    """Shift each image by whole pixels, at most an eighth of each side. Uncovered pixels become 0, a middle grey."""
    for dim in (2, 3):
        images = _shifted(images, dim, (images.shape[dim] + 4) // 8)
    return images


def _shifted(images: Tensor, dim: int, most: int) -> Tensor:
    """Shift each image along ``dim`` by a whole number of pixels from ``-most`` to ``most``."""
    size = images.shape[dim]
    shift = torch.randint(-most, most + 1, (len(images), 1), device=images.device)
    source = torch.arange(size, device=images.device) - shift
    inside = (source >= 0) & (source < size)
    as_images = [len(images), 1, size, 1] if dim == 2 else [len(images), 1, 1, size]
    index = source.clamp(0, size - 1).view(as_images).expand_as(images)
    return images.gather(dim, index) * inside.view(as_images)


def cutout(images: Tensor) -> Tensor:
    """Set a rectangle to 0, a middle grey. Its sides are half the image's; it may extend beyond the border."""
    inside = [_window(images, size) for size in images.shape[2:]]
    return images * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])


def _window(images: Tensor, size: int) -> Tensor:
    """For each image, a mask of ``size / 2`` consecutive places whose middle is random: bool ``[N, size]``."""
    length = (size + 1) // 2
    middle = torch.randint(size + 1 - length % 2, (len(images), 1), device=images.device)
    place = torch.arange(size, device=images.device) - (middle - length // 2)
    return (place >= 0) & (place < length)


OPERATIONS: dict[str, tuple[Callable[[Tensor], Tensor], ...]] = {
    "flip": (flip,),
    "brightness": (brightness,),
    "saturation": (saturation,),
    "contrast": (contrast,),
    "color": (brightness, saturation, contrast),
    "translation": (translation,),
    "cutout": (cutout,),
}


COLOURS = OPERATIONS["color"]


class DiffAugment(Augment):
    """DiffAugment (Zhao et al. 2020, arXiv 2006.10738): the operations of ``policy``, one after the other.

    The operations are ``flip``, ``brightness``, ``saturation``, ``contrast``, ``translation`` and ``cutout``. ``color``
    is the paper's name for brightness, saturation and contrast. Every operation of the policy is applied to every
    image. ``about`` says so to the user. ValueError if ``policy`` has an unknown name or the same name twice.
    """

    def __init__(self, policy: Sequence[str] = ("color", "translation", "cutout")) -> None:
        super().__init__()
        words = [policy] if isinstance(policy, str) else list(policy)
        if unknown := [word for word in words if word not in OPERATIONS]:
            raise ValueError(f"no operation {unknown[0]!r}: policy is a list of {', '.join(OPERATIONS)}")
        if len(set(words)) < len(words):
            raise ValueError(f"policy={words} names an operation twice")
        self._operations = [operation for word in words for operation in OPERATIONS[word]]
        letters = "; augment=none for letters and whatever is never mirrored" if "flip" in words else ""
        self.about = f"augmented by {', '.join(words)}{letters}" if words else ""

    def forward(self, images: Tensor) -> Tensor:
        for operation in self._operations:
            images = _of_colours(operation, images) if operation in COLOURS else operation(images)
        return images


class InstanceNoise(Augment):
    """Gaussian noise on every pixel. Its ``std`` falls linearly to 0 while D sees ``images`` real images.

    Sønderby et al. 2017 (arXiv 1610.04490), Arjovsky & Bottou 2017 (arXiv 1701.04862): with noise, the distributions of
    real and generated images overlap from the start, so D can't separate them perfectly. ValueError if ``std`` is
    negative or ``images`` is not positive.
    """

    seen: Tensor

    def __init__(self, std: float = 0.1, images: int = 200_000) -> None:
        super().__init__()
        if not (math.isfinite(std) and std >= 0 and images > 0):
            raise ValueError(f"std={std} should be from 0 up, and images={images} above 0")
        self._std, self._images = std, images
        self.register_buffer("seen", torch.tensor(0))

    def forward(self, images: Tensor) -> Tensor:
        std = self._std * (1 - self.seen / self._images).clamp(min=0)
        return images + std * torch.randn_like(images)

    def observe(self, real_logits: Tensor) -> None:
        self.seen += len(real_logits)


class ADA(Augment):
    """Adaptive discriminator augmentation (Karras et al. 2020, arXiv 2006.06676, sections 2 and 3, appendix B).

    Each operation is applied to an image with probability ``p``, which starts at 0. After every ``interval`` D steps,
    ``p`` changes by (number of real images in these steps) / ``speed``. ``p`` rises if ``r_t = E[sign(D(x))]`` over
    these images is above ``target``, a sign that D overfits; otherwise ``p`` falls. ``p`` stays in [0, 1]. Above about
    0.8 the augmentations leak. ``speed`` is 250 epochs of the ``examples`` by default, because D learns fewer images by
    heart sooner; it is the paper's 500,000 from 2,000 images on.

    The operations, in the paper's order and strengths: x-flip, rotation by multiples of 90 degrees (square images
    only), shift by whole pixels, scaling, rotation, stretching, rotation, shift; brightness, contrast, luma flip and,
    for RGB images, hue and saturation. All geometric operations together are one affine map with bilinear interpolation
    (the paper uses a wavelet filter); images are continued by reflection. All colour operations together are a second
    affine map. An image that gets no operation keeps its exact values. ValueError if an option is out of range.
    """

    p: Tensor
    signs: Tensor
    images: Tensor
    steps: Tensor

    def __init__(self, target: float = 0.6, interval: int = 4, speed: int | None = None, examples: int = 2000) -> None:
        super().__init__()
        speed = min(EPOCHS * examples, LONGEST) if speed is None else speed
        if not (-1 <= target <= 1 and interval > 0 and speed > 0):
            raise ValueError(f"target={target} should be in [-1, 1], interval={interval} and speed={speed} above 0")
        self._target, self._interval, self._speed = target, interval, speed
        self.register_buffer("p", torch.tensor(0.0))
        self.register_buffer("signs", torch.tensor(0))  # signs and images: sum and number since the last change of p
        self.register_buffer("images", torch.tensor(0))
        self.register_buffer("steps", torch.tensor(0))  # D steps so far

    @torch.no_grad()
    def observe(self, real_logits: Tensor) -> None:
        self.signs += real_logits.sign().sum().long()
        self.images += len(real_logits)
        self.steps += 1
        due = self.steps % self._interval == 0  # a tensor, so that the CPU does not wait for the device
        change = (self.signs / self.images - self._target).sign() * self.images / self._speed
        self.p.add_(change * due).clamp_(0, 1)
        self.signs *= ~due
        self.images *= ~due

    def forward(self, images: Tensor) -> Tensor:
        return _of_colours(self._recoloured, self._moved(images))

    def _sometimes(self, values: Tensor, neutral: float, p: Tensor | None = None) -> Tensor:
        """For each of the N images: its ``values`` ``[N, 1, 1, k]`` with probability ``p``, otherwise ``neutral``."""
        return torch.where(_uniform(values, 0, 1) < (self.p if p is None else p), values, neutral)

    def _moved(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        # An affine map from each output pixel to its place in the input, measured from the centre of the image. The
        # map is given by its values at (0, 0), (1, 0), (0, 1). Each operation has the same distribution as its inverse,
        # so the direction of the map does not matter.
        x, y = points = torch.eye(3, device=images.device, dtype=images.dtype)[1:]
        each = 1 - (1 - self.p).sqrt()  # for each of two rotations: at least one happens with probability p
        shift = self._sometimes(_normal(images, 0.125, k=2), 0)
        x, y = x + shift[..., :1] * width, y + shift[..., 1:] * height
        x, y = _rotated(x, y, self._sometimes(_uniform(images, -math.pi, math.pi), 0, each))
        stretch = self._sometimes(_normal(images, 0.2).exp2(), 1)
        x, y = x * stretch, y / stretch
        x, y = _rotated(x, y, self._sometimes(_uniform(images, -math.pi, math.pi), 0, each))
        scale = self._sometimes(_normal(images, 0.2).exp2(), 1)
        x, y = x * scale, y * scale
        shift = self._sometimes(_uniform(images, -0.125, 0.125, k=2), 0)
        x, y = x + (shift[..., :1] * width).round(), y + (shift[..., 1:] * height).round()
        if height == width:
            quarters = self._sometimes(_uniform(images, 0, 4).floor(), 0)
            x, y = _rotated(x, y, quarters * (math.pi / 2))
        x = x * self._sometimes(1 - 2 * _uniform(images, 0, 2).floor(), 1)
        stays = ((x == points[0]) & (y == points[1])).all(dim=-1, keepdim=True)
        grid = torch.stack([_places(x, height, width) * (2 / width), _places(y, height, width) * (2 / height)], dim=-1)
        return torch.where(stays, images, _LookUp.apply(images, grid))

    def _recoloured(self, images: Tensor) -> Tensor:
        bright = self._sometimes(_normal(images, 0.2), 0)
        contrast = self._sometimes(_normal(images, 0.5).exp2(), 1)
        luma = contrast * self._sometimes(1 - 2 * _uniform(images, 0, 2).floor(), 1)
        images = images + bright
        if images.shape[1] != 3:
            return luma * images
        hue = self._sometimes(_uniform(images, -math.pi, math.pi), 0)
        chroma = contrast * self._sometimes(_normal(images, 1).exp2(), 1)
        # A colour is the sum of its grey part and a part orthogonal to it. Hue rotates the second about the grey axis.
        along, across = chroma * hue.cos(), chroma * hue.sin()
        turned = (images.roll(1, dims=1) - images.roll(-1, dims=1)) / math.sqrt(3)  # that axis x colour
        return along * images + across * turned + (luma - along) * images.mean(dim=1, keepdim=True)


def _rotated(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    sin, cos = angle.sin(), angle.cos()
    return cos * x - sin * y, sin * x + cos * y


def _places(points: Tensor, height: int, width: int) -> Tensor:
    """One coordinate of an affine map at every pixel, ``[N, H, W]``, given at (0, 0), (1, 0), (0, 1): ``[N, 1, 1, 3]``.

    The computation is elementwise, because TensorFloat-32 or bfloat16 would make a matrix product too inaccurate.
    """
    origin, right, down = points.unbind(dim=-1)
    columns = torch.arange(width, device=points.device, dtype=points.dtype) - (width - 1) / 2
    rows = torch.arange(height, device=points.device, dtype=points.dtype) - (height - 1) / 2
    return origin + (right - origin) * columns + (down - origin) * rows[:, None]


class _LookUp(torch.autograd.Function):
    """Bilinear ``grid_sample`` with reflection: linear in the images, and differentiable in them any number of times.

    Gradient penalties need the second derivative. Torch's own ``grid_sample`` lacks it in 2.0 and has it in 2.13; this
    class works with both.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = images.shape
        return grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _PutBack.apply(gradient, grid, ctx.shape), None


class _PutBack(torch.autograd.Function):
    """The adjoint of :class:`_LookUp`. Each of the two classes is the gradient of the other."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        bilinear, reflection, align_corners, wanted = 0, 2, False, (True, False)
        return torch.ops.aten.grid_sampler_2d_backward(
            gradient, gradient.new_empty(shape), grid, bilinear, reflection, align_corners, wanted
        )[0]

    @staticmethod
    def backward(ctx: Any, images: Tensor) -> tuple[Tensor, None, None]:
        return _LookUp.apply(images, *ctx.saved_tensors), None, None
