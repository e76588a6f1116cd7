"""The processes that share a run. Each computes its share of every minibatch, and all of them agree.

Rank 0 leads: it alone reads the command, writes the run folder and prints. How the processes meet and part is in
:mod:`gan_cli.meeting`. A run without torchrun is one process of one: the functions here then return their argument.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from gan_cli.errors import UserError

T = TypeVar("T")
_parts = ContextVar("parts", default=1)
LOST = "another process of this run has ended, so this one ends too; the same command with resume=auto goes on"


class Lost(UserError):
    """Another process of this run has ended."""

    def __init__(self) -> None:
        super().__init__(LOST)


def count() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def leads() -> bool:
    """Whether this process is the leader."""
    return rank() == 0


def parts() -> int:
    """The number of parts in which the minibatch at hand is computed: by all processes, and one after the other."""
    return _parts.get()


@contextmanager
def divided(of: int) -> Iterator[None]:
    """Within this context a minibatch is computed in ``of`` parts."""
    before = _parts.set(of)
    try:
        yield
    finally:
        _parts.reset(before)


def local_rank() -> int:
    """The number of this process on its machine, from 0. It chooses the GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def _exchange(collective: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Call ``collective``. Lost if another process has ended."""
    try:
        collective(*arguments, **options)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise Lost from error


def total(x: Tensor) -> Tensor:
    """The sum of ``x`` over all processes, without a gradient."""
    return x if count() == 1 else add_up(x.detach().clone())


def add_up(x: Tensor) -> Tensor:
    """Set ``x`` to its sum over all processes, and return it."""
    if count() > 1:
        _exchange(dist.all_reduce, x)
    return x


def most(numbers: Sequence[int]) -> Sequence[int]:
    """The maximum over all processes of each of the ``numbers``."""
    if count() == 1:
        return numbers
    found = torch.tensor(numbers)
    _exchange(dist.all_reduce, found, dist.ReduceOp.MAX)
    return found.tolist()


def mean(x: Tensor) -> Tensor:
    """The mean over the whole minibatch, of the means ``x`` of its parts. It can be differentiated any number of times.

    UserError if this process computes several parts of the minibatch: it does not know the others yet.
    """
    _check_at_once()
    return x if count() == 1 else _Mean.apply(x)


def gathered(x: Tensor) -> Tensor:
    """``x`` of each process, ``[count(), …]``, without a gradient. UserError as for :func:`mean`."""
    _check_at_once()
    return whole(x[None])


def _check_at_once() -> None:
    if parts() > count():
        raise UserError("a layer or penalty needs the whole minibatch at once: use accumulate=1, or another one")


class _Mean(torch.autograd.Function):
    """The objective is the mean over the processes. The gradient of a mean is then the mean of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return total(x) / count()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Mean.apply(gradient.contiguous())


def share(x: Tensor) -> Tensor:
    """The rows of ``x`` that this process computes: every ``count()``-th. The last row fills up uneven shares."""
    if count() == 1:
        return x
    missing = -len(x) % count()
    return torch.cat([x, x[-1:].expand(missing, *x.shape[1:])])[rank() :: count()]


def whole(x: Tensor) -> Tensor:
    """The rows of which every process has its :func:`share`, in their order, without a gradient."""
    if count() == 1:
        return x
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(count())]
    _exchange(dist.all_gather, parts, x.detach().contiguous())
    return torch.stack(parts, dim=1).flatten(0, 1)


def copy_from_leader(tensors: Iterable[Tensor]) -> None:
    """Set ``tensors`` to the leader's values, in place."""
    if count() > 1:
        for tensor in tensors:
            sent = tensor.detach().contiguous()
            _exchange(dist.broadcast, sent, 0)
            tensor.detach().copy_(sent)


def told(value: T) -> T:
    """The leader's ``value`` in every process."""
    box = [value]
    if count() > 1:
        _exchange(dist.broadcast_object_list, box, 0)
    return box[0]


def together(make: Callable[[], T]) -> T:
    """What ``make`` returns in this process. All processes call it. If it raises UserError in one, all raise that."""
    value, line = None, None
    try:
        value = make()
    except UserError as error:
        line = str(error)
    lines = [line] * count()
    if count() > 1:
        _exchange(dist.all_gather_object, lines, line)
    for i, text in enumerate(lines):
        if text is not None:
            raise UserError(text if i == 0 else f"process {i} of {count()}: {text}")
    return value  # type: ignore[return-value]
