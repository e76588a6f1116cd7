"""How the processes that share a run meet and part, and which of them speaks when something goes wrong.

torchrun starts the processes, tells each its rank, and keeps a store that all of them can read and write.
"""

import os
import secrets
import time
from contextlib import suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from gan_cli.errors import UserError, one_line
from gan_cli.processes import local_rank, told

T = TypeVar("T")
# A process that dies closes its connections, and the others notice at once. Time must not end a wait: the leader may
# wait for days until its disk takes files again.
PATIENCE = timedelta(days=30)
MEETING = timedelta(minutes=10)  # for all processes to start: one that dies before it has a connection is not noticed
_idle = ContextVar("idle", default=False)  # whether the other processes wait for a task
_store: ContextVar[dist.Store | None] = ContextVar("store", default=None)  # of this attempt


def join() -> None:
    """Meet the other processes that torchrun has started. A process that was started alone meets nobody."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        if local_rank() < torch.cuda.device_count():
            torch.cuda.set_device(local_rank())
        try:
            _meet(backends)
        except (RuntimeError, ValueError) as error:  # ValueError: MASTER_ADDR and the like are missing
            raise UserError(f"the processes of this run can't meet: {one_line(error)}") from error
        _idle.set(True)


def _meet(backends: str) -> None:
    """Make the group of all processes.

    torchrun keeps one store for all its attempts, so that the addresses of the processes that have ended are still in
    it: each attempt writes under a name of its own.
    """
    store, rank, of = next(rendezvous("env://", timeout=MEETING))
    store = dist.PrefixStore("gan-cli", store)
    store = dist.PrefixStore(_attempt(store, rank, of), store)
    _store.set(store)
    dist.init_process_group(backends, store=store, rank=rank, world_size=of, timeout=PATIENCE)


def _attempt(store: dist.Store, rank: int, of: int) -> str:
    """A new name that the processes of this attempt alone share.

    The leader makes it, and answers each question of the others. A question is new, so that no answer to it is old.
    RuntimeError if they have not met within :data:`MEETING`.
    """
    mine = secrets.token_hex(8)
    if rank > 0:
        store.set(f"question of {rank}", mine)
        name = store.get(f"answer to {mine}").decode()  # waits for it
        store.set(f"{name} reached {rank}", "")
        return name
    missing, end = set(range(1, of)), time.monotonic() + MEETING.total_seconds()
    while missing:
        if time.monotonic() > end:
            raise RuntimeError(f"process {min(missing)} of {of} has not come within {MEETING.total_seconds():.0f} s")
        for i in missing:
            if store.check([f"question of {i}"]):  # of this attempt or of an earlier one
                store.set("answer to " + store.get(f"question of {i}").decode(), mine)
        time.sleep(0.05)
        missing = {i for i in missing if not store.check([f"{mine} reached {i}"])}
    return mine


def outlast_the_leader(patience: timedelta = PATIENCE) -> None:
    """Wait until the leader has left. As soon as one process fails, torchrun ends the others, amid their last words."""
    with suppress(RuntimeError):  # the leader sends nothing: it closes the connection
        work = dist.irecv(torch.zeros(1), 0)
        assert work is not None
        work.wait(patience)


def first_to_speak() -> bool:
    """Whether no process of this attempt has called this before. The first tells what went wrong, and no other."""
    store = _store.get()
    with suppress(RuntimeError):  # who kept the store has ended
        return store is None or store.add("spoken", 1) == 1
    return True


def leave() -> None:
    """Close the connections to the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def assign(task: T | None) -> T | None:
    """The ``task`` that the leader assigns, in every process. What it assigns later is not told."""
    if not _idle.get():
        return task
    _idle.set(False)
    return told(task)
