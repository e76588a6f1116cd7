"""The resolvers of the group ``cluster``: how the runs of a sweep share the GPUs. This module imports no torch."""

import math
import multiprocessing
import os
from pathlib import Path

DEVICES = Path("/dev")  # where NVIDIA's driver has a file for each GPU: nvidia0, nvidia1, …


def visible_gpus() -> list[str]:
    """The GPUs that CUDA shows to this process: the words of CUDA_VISIBLE_DEVICES, else the numbers of all GPUs."""
    words = os.environ.get("CUDA_VISIBLE_DEVICES")
    if words is not None:
        return [word.strip() for word in words.split(",") if word.strip()]
    return [str(number) for number in range(len(list(DEVICES.glob("nvidia[0-9]*"))))]


def own_gpu() -> dict[str, str]:
    """The variable that leaves one GPU to this process of joblib; empty without a GPU, and in any other process.

    joblib numbers its processes, and each of them does one run after the other. All runs of a process have its GPU: a
    process that has begun to use CUDA can't choose again.
    """
    number, gpus = multiprocessing.current_process().name.rpartition("LokyProcess-")[2], visible_gpus()
    return {"CUDA_VISIBLE_DEVICES": gpus[int(number) % len(gpus)]} if number.isdecimal() and gpus else {}


def gpus_per_run(jobs: int) -> float:
    """The GPUs, or the part of one, that Ray reserves for a run, so that ``jobs`` runs find room; 0 without a GPU.

    Ray places a run on a single GPU and counts in steps of 1/10,000.
    """
    gpus = len(visible_gpus())
    return 10_000 // math.ceil(jobs / gpus) / 10_000 if gpus else 0
