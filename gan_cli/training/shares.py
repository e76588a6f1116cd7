"""Shares of a minibatch: one for each process, and, with ``accumulate``, several in turn, which take less memory.

The result does not depend on the number of shares, up to the order of summation. Share ``index`` of ``of`` holds the
examples ``[index::of]`` of the minibatch. Every share draws the random numbers of the whole minibatch, from the same
state of the generator, and keeps its rows. Batch normalisation takes the statistics of the whole minibatch.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from gan_cli import processes
from gan_cli.errors import UserError
from gan_cli.training.batches import Batch
from gan_cli.training.batchnorm import SharedStatistics
from gan_cli.training.device import random_states, set_random_states


def shares(batch: Batch, game: nn.Module, optimizer: Optimizer) -> Iterator[Batch]:
    """Yield the shares in which this process computes its part of ``batch``, one after the other.

    The weights of ``optimizer`` have no gradient before the first share. After the last one they have the mean of the
    gradients of all shares, of all processes. Each share begins with the random state and the buffers of ``game`` with
    which the first one began: a power iteration of spectral normalisation is thus one step a minibatch.
    """
    optimizer.zero_grad()
    of = batch.parts * processes.count()
    if of == 1:
        yield batch
        return
    device = batch.real.device
    if batch.parts > 1:
        random, buffers = random_states(device), [buffer.clone() for buffer in game.buffers()]
    for index in range(batch.parts):
        if index > 0:
            set_random_states(random, device)
            for buffer, before in zip(game.buffers(), buffers, strict=True):
                buffer.copy_(before)
        with processes.divided(of), _Draws(processes.rank() + processes.count() * index, of), SharedStatistics():
            yield batch.share(index)
    _average(optimizer, of)


@torch.no_grad()
def _average(optimizer: Optimizer, of: int) -> None:
    """Divide the gradients, summed over all processes, by ``of``. All of one type travel in one buffer."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None]
    for dtype in dict.fromkeys(weight.grad.dtype for weight in weights):
        some = [weight for weight in weights if weight.grad.dtype == dtype]
        # In the order of memory, which is that of the weight: nothing is transposed, and the parts are the gradients.
        flat = torch.cat([weight.grad.as_strided((weight.numel(),), (1,)) for weight in some])
        processes.add_up(flat).div_(of)
        for weight, part in zip(some, flat.split([weight.numel() for weight in some]), strict=True):
            weight.grad = part.as_strided(weight.shape, weight.grad.stride())


class _Draws(TorchDispatchMode):
    """Random operations draw for the whole minibatch, of which share ``index`` of ``of`` keeps its rows.

    The first dimension of a random tensor is the minibatch's. A random number without dimensions belongs to all
    shares. A draw from a generator of its own stays as it is.
    """

    def __init__(self, index: int, of: int) -> None:
        super().__init__()
        self._index, self._of = index, of

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(options or {})
        if torch.Tag.nondeterministic_seeded not in function.tags or options.get("generator") is not None:
            return function(*arguments, **options)
        if "randperm" in str(function):
            raise UserError("a network that permutes the minibatch can't share it: use one process, and accumulate=1")
        if "multinomial" in str(function) and arguments[0].dim() == 1:
            raise UserError("multinomial draws for a minibatch in parts only from weights [N, K]: expand the weights")
        drawn = function(*map(self._whole, arguments), **{name: self._whole(value) for name, value in options.items()})
        mine = [self._mine(value) for value in (drawn if isinstance(drawn, tuple) else (drawn,))]
        if function._schema.is_mutable:
            return arguments[0].copy_(mine[0])
        return tuple(mine) if isinstance(drawn, tuple) else mine[0]

    def _whole(self, argument: Any) -> Any:
        """An argument for the whole minibatch: rows repeated, or, of a size, the first dimension."""
        if isinstance(argument, Tensor) and argument.dim():
            channels_last = argument.dim() == 4 and argument.is_contiguous(memory_format=torch.channels_last)
            form = torch.channels_last if channels_last else torch.contiguous_format
            return argument.repeat_interleave(self._of, dim=0).contiguous(memory_format=form)
        if isinstance(argument, list | torch.Size) and argument:
            return [argument[0] * self._of, *argument[1:]]
        return argument

    def _mine(self, drawn: Any) -> Any:
        return drawn[self._index :: self._of] if isinstance(drawn, Tensor) and drawn.dim() else drawn


def check(batch_size: int, accumulate: int, update: str, networks: Iterable[nn.Module]) -> None:
    """UserError if a minibatch of ``batch_size`` has no equal shares for all processes, ``accumulate`` for each."""
    of = processes.count() * accumulate
    if batch_size % of:
        sizes = sorted({max(batch_size // of, 1) * of, (batch_size // of + 1) * of})
        raise UserError(
            f"batch_size={batch_size} can't be divided by {of}, {processes.count()} processes times "
            f"accumulate={accumulate}: use batch_size={' or '.join(map(str, sizes))}"
        )
    if accumulate == 1:
        return
    if update != "alternating":
        raise UserError(f"accumulate={accumulate} needs update=alternating; update={update} uses D's images once more")
    modules = [module for network in networks for module in network.modules()]
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in modules):
        raise UserError(
            f"accumulate={accumulate}: batch normalisation needs the whole minibatch at once; use accumulate=1, or "
            "networks without it"
        )
    for module in modules:
        if needs := getattr(module, "needs_whole_minibatch", ""):
            raise UserError(f"accumulate={accumulate}: {needs} needs the whole minibatch at once; use accumulate=1")
