"""The device: what it can do, and how the process is set up for it."""

import ctypes
import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gan_cli import processes
from gan_cli.errors import UserError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST_MMAP_THRESHOLD = 32 << 20  # bytes; the largest value that glibc accepts
WEIGHTS_A_THREAD = 1_000_000


def device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is the first available of cuda, mps, cpu. UserError if there is none.

    If several processes share a run, each takes the GPU of its own number, or all take the CPU.
    """
    alone = processes.count() == 1
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not alone and name.startswith(("cuda:", "mps")):
        raise UserError(f"device={name} is one for all processes: use device=auto, or run one process")
    have["mps"] &= alone  # gloo does not exchange its tensors
    chosen = torch.device(next(kind for kind, present in have.items() if present) if name == "auto" else name)
    if not have[chosen.type]:
        raise UserError(f"device={name}: torch finds no {chosen.type} device here; use device=cpu, or auto")
    if chosen.type == "cuda" and not alone:
        chosen = torch.device("cuda", processes.local_rank())
        if chosen.index >= torch.cuda.device_count():
            raise UserError(f"this machine has {torch.cuda.device_count()} GPUs: use --nproc-per-node, or device=cpu")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device={name}: there are {torch.cuda.device_count()}, counted from cuda:0")
    return chosen


def bf16(precision: str, on: torch.device) -> bool:
    """Whether the networks run in bfloat16. ``auto`` means yes if the device ``on`` computes bfloat16 natively."""
    if precision != "auto":
        return precision == "bf16"
    if on.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if on.type == "cpu":
        return bool(_cpu().get("avx512_bf16") or _cpu().get("amx_bf16"))
    return False


def _cpu() -> dict[str, Any]:
    """The CPU's capabilities, as torch reports them. Empty before torch 2.9, which does not report them."""
    return getattr(torch.cpu, "get_capabilities", dict)()


CPU = torch.device("cpu")


@dataclass(frozen=True)
class Compute:
    """Where and how networks are computed: the device, bfloat16 autocast, and the mode of ``torch.compile``.

    ``dtype`` is the type of weights, images, logits and terms: float32, or float64 to check a computation. ``graphs``
    is ``off``, or ``auto``: CUDA graphs replay the steps where they can (:mod:`gan_cli.training.graphs`).
    """

    device: torch.device = CPU
    bf16: bool = False
    compile: str = "off"
    dtype: torch.dtype = torch.float32
    graphs: str = "off"

    def placed(self, network: nn.Module) -> nn.Module:
        """Move ``network`` to the device, in channels-last order, and return it. It speeds convolutions up."""
        return network.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def compiled(self, network: nn.Module) -> Callable[..., Tensor]:
        """``network`` as training calls it; see :func:`compiled`."""
        return compiled(network, self.compile)


def prepare(on: torch.device, deterministic: bool = False) -> None:
    """Set this process up for training on ``on``. This changes the speed and, on CUDA, the last bits of a result.

    CUDA: float32 products use TensorFloat-32. cuDNN tries its algorithms on each new shape. Its choice may change from
    one start to the next, and an algorithm may add in another order each time. ``deterministic`` forbids both, at some
    cost in speed: a resumed run then ends with the same bits as an uninterrupted run on the same GPU. torch raises a
    RuntimeError at an operation that has no deterministic form.

    CPU: results are always reproducible. With glibc, the process keeps the memory that torch frees. By default malloc
    returns the memory of every large tensor to the system, and the system gives it back page by page. That costs
    12,000 page faults a step of DCGAN, and a tenth of the default recipe's time.
    """
    if on.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = not deterministic
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first use
            torch.use_deterministic_algorithms(True)
    if on.type == "cpu" and sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries may lack mallopt
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
            mallopt(_M_TRIM_THRESHOLD, -1)  # never trim


@functools.cache
def cores() -> int:
    """The number of threads that torch starts with: OMP_NUM_THREADS, or else the number of cores."""
    return torch.get_num_threads()


def threads(asked: int | str, on: torch.device, networks: Iterable[nn.Module]) -> int:
    """The number of CPU threads to train ``networks`` with: ``asked``, or by a rule if that is ``auto``.

    Small networks gain little from many threads, which wait for each other after each operation. The rule is two
    threads, one more for each million weights, and no more than there are :func:`cores`. It goes by numbers that do not
    change from run to run, because rounding depends on the number of threads. OMP_NUM_THREADS in the environment, and
    a device other than the CPU, take the place of the rule.
    """
    most = cores()  # before the first run of this process sets another number
    if not isinstance(asked, str):
        return asked
    if on.type != "cpu" or "OMP_NUM_THREADS" in os.environ:
        return most
    weights = sum(weight.numel() for network in networks for weight in network.parameters())
    return min(most, 2 + weights // WEIGHTS_A_THREAD)


def random_states(on: torch.device) -> dict[str, Tensor]:
    """The states of torch's global random generators that work on ``on`` uses, by the kind of their device."""
    states = {"cpu": torch.get_rng_state()}
    if on.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(on)
    if on.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_states(states: Mapping[str, Tensor], on: torch.device) -> None:
    """Set torch's global random generators to ``states``. A generator without a state stays as it is."""
    torch.set_rng_state(states["cpu"])
    if on.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], on)
    if on.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def holds(on: torch.device, data: Tensor) -> bool:
    """Whether ``data`` can stay on ``on`` for the whole run. Half of the free memory is left for the networks."""
    return on.type != "cuda" or data.nbytes <= torch.cuda.mem_get_info(on)[0] // 2


def gather(data: Tensor, indices: Tensor, on: torch.device) -> Tensor:
    """``data[indices]`` on ``on``. A copy from the host to CUDA is asynchronous."""
    batch = data.index_select(0, indices)
    if on.type == "cuda" and not batch.is_cuda:
        batch = batch.pin_memory()  # new pinned memory each time; torch keeps it until the copy is done
    return batch.to(on, non_blocking=True)


def compiled(network: nn.Module, mode: str) -> Callable[[Tensor], Tensor]:
    """``network`` compiled by ``torch.compile`` in ``mode``; ``network`` itself for ``off``. Both share their weights.

    ``max-autotune`` runs without CUDA graphs. With CUDA graphs the next pass overwrites a step's logits, which the next
    tick still needs. UserError if torch finds no compiler.
    """
    if mode == "off":
        return network
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise UserError(f"compile={mode} needs a C++ compiler, and there is no {compiler} here; use compile=off")
    return torch.compile(network, mode="max-autotune-no-cudagraphs" if mode == "max-autotune" else mode)


def described(on: torch.device, bf16: bool, compile: str, resident: bool) -> str:
    """One line for the log: the device of a run, its precision and its settings."""
    if on.type == "cuda":
        what = torch.cuda.get_device_name(on)
    elif on.type == "cpu":
        units = [name for name, key in (("AMX", "amx_bf16"), ("AVX512-BF16", "avx512_bf16")) if _cpu().get(key)]
        n = torch.get_num_threads()
        what = f"CPU, {n} thread{'s' if n > 1 else ''}" + "".join(f", {unit}" for unit in units[:1])
    else:
        what = on.type
    parts = [what, "bf16" if bf16 else "TF32" if on.type == "cuda" else "fp32"]
    parts += ["data copied batch by batch"] * (not resident) + [f"compiled ({compile})"] * (compile != "off")
    return ", ".join(parts)
