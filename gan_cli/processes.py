"""The processes that share a run. Each computes its share of every minibatch, and all of them agree.

torchrun starts the processes and tells each its rank. Rank 0 leads: it alone reads the command, writes the run folder
and prints. A run without torchrun is one process of one: the functions here then return their argument.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from gan_cli.errors import UserError, one_line

T = TypeVar("T")
# A process that dies closes its connections, and the others notice at once. Time must not end a wait: the leader may
# wait for days until its disk takes files again.
PATIENCE = timedelta(days=30)
_parts = ContextVar("parts", default=1)
_idle = ContextVar("idle", default=False)  # whether the other processes wait for a task
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


def started() -> tuple[int, int]:
    """The rank of this process and the number of processes, as torchrun's environment says."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """The number of this process on its machine, from 0. It chooses the GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def join() -> None:
    """Meet the other processes that torchrun has started. A process that was started alone meets nobody."""
    if started()[1] > 1 and not dist.is_initialized():
        backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(local_rank())
        try:
            _meet(backends)
        except RuntimeError as error:
            raise UserError(f"the processes of this run can't meet: {one_line(error)}") from error
        _idle.set(True)


def _meet(backends: str) -> None:
    """Make the group of all processes.

    torchrun keeps one store for all its attempts, so that the addresses of the processes that have ended are still in
    it: each attempt writes under a name of its own.
    """
    store, rank, of = next(rendezvous("env://", timeout=PATIENCE))
    store = dist.PrefixStore("gan-cli", store)
    store = dist.PrefixStore(_attempt(store, rank, of), store)
    dist.init_process_group(backends, store=store, rank=rank, world_size=of, timeout=PATIENCE)


def _attempt(store: dist.Store, rank: int, of: int) -> str:
    """A new name that the processes of this attempt alone share.

    The leader makes it, and answers each question of the others. A question is new, so that no answer to it is old.
    """
    mine = secrets.token_hex(8)
    if rank > 0:
        store.set(f"question of {rank}", mine)
        name = store.get(f"answer to {mine}").decode()  # waits for it
        store.set(f"{name} reached {rank}", "")
        return name
    missing = set(range(1, of))
    while missing:
        for i in missing:
            if store.check([f"question of {i}"]):  # of this attempt or of an earlier one
                store.set("answer to " + store.get(f"question of {i}").decode(), mine)
        time.sleep(0.05)
        missing = {i for i in missing if not store.check([f"{mine} reached {i}"])}
    return mine


def outlast_the_leader() -> None:
    """Wait until the leader has left. As soon as one process fails, torchrun ends the others, amid their last words."""
    with suppress(RuntimeError):  # the leader sends nothing: it closes the connection
        dist.recv(torch.zeros(1), 0)


def leave() -> None:
    """Close the connections to the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _exchange(collective: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Call ``collective``. Lost if another process has ended."""
    try:
        collective(*arguments, **options)
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


def assign(task: T | None) -> T | None:
    """The ``task`` that the leader assigns, in every process. What it assigns later is not told."""
    if not _idle.get():
        return task
    _idle.set(False)
    return told(task)


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
