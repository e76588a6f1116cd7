"""Batch normalisation in training, with mean and variance over the minibatches of all processes.

torch's SyncBatchNorm has no second derivative and no form for CPUs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import batch_norm
from torch.overrides import TorchFunctionMode

from gan_cli import processes


class SharedStatistics(TorchFunctionMode):
    """Within this context ``batch_norm`` in training normalises over the minibatches of all processes."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        if function is not batch_norm:
            return function(*arguments, **(options or {}))
        given = dict(zip(_PARAMETERS, arguments, strict=False)) | dict(options or {})
        if not given.get("training"):
            return function(*arguments, **(options or {}))
        return _shared(**given)


_PARAMETERS = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


def _shared(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``torch.nn.functional.batch_norm`` in training, over all processes. It can be differentiated twice."""
    y, mean, variance = _BatchNorm.apply(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        n = processes.count() * input.numel() // input.shape[1]
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * n / max(n - 1, 1)).to(running_var.dtype), momentum)
    return y


class _BatchNorm(torch.autograd.Function):
    """The normalised input, the mean and the variance, by torch's fused operations.

    A derivative that is differentiated once more is that of :func:`_normalised`, which computes the same.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = _moments(x)
        ctx.save_for_backward(x, weight, bias, mean, variance)
        ctx.mark_non_differentiable(mean, variance)
        ctx.eps = eps
        return batch_norm(x, mean, variance, weight, bias, eps=eps), mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, bias, mean, variance = ctx.saved_tensors
        if torch.is_grad_enabled():
            sources = [x, weight, bias]
            wanted = [i for i in range(3) if ctx.needs_input_grad[i]]
            y = _normalised(x, weight, bias, ctx.eps)
            found = torch.autograd.grad(y, [sources[i] for i in wanted], gradient, create_graph=True)
            of = dict(zip(wanted, found, strict=True))
            return of.get(0), of.get(1), of.get(2), None
        # The gradient with mean and variance held fixed, and its products with the normalised input and with 1, summed.
        in_x, scaled, summed = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        # Through mean and variance: it is linear in the normalised input.
        scale, shift = processes.mean(torch.stack([scaled, summed])) * (-x.shape[1] / x.numel())
        if weight is not None:
            scale, shift = scale * weight, shift * weight
        inverse = (variance + ctx.eps).rsqrt()
        in_x += batch_norm(x, mean, variance, scale * inverse, shift * inverse, eps=ctx.eps)
        return in_x, None if weight is None else scaled, None if bias is None else summed, None


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of ``x`` over all processes, in float32 at least."""
    channels = x.new_zeros(x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))
    # torch computes in the type of the running statistics, which it would update by a part of 0 here.
    mine = torch.batch_norm_update_stats(x, channels, channels.clone(), 0.0)
    means, variances = processes.gathered(torch.stack(mine)).unbind(1)
    mean = means.mean(0)
    return mean, (variances + (means - mean).square()).mean(0)


def _normalised(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Batch normalisation over all processes in operations that can be differentiated any number of times."""
    full = x.to(torch.promote_types(x.dtype, torch.float32))
    dims, shape = [0, *range(2, x.dim())], [1, -1, *[1] * (x.dim() - 2)]
    mean = processes.mean(full.mean(dim=dims))
    centred = full - mean.view(shape)
    variance = processes.mean(centred.square().mean(dim=dims))
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    result = centred * scale.view(shape)
    return (result if bias is None else result + bias.view(shape)).to(x.dtype)
