"""Seconds of training."""

import contextlib
import time
from collections.abc import Iterator

import torch


class Stopwatch:
    """Seconds of training. The time of evaluations and files, from :meth:`stop` to :meth:`start`, is not counted."""

    def __init__(self, device: torch.device, seconds: float = 0.0) -> None:
        self._counted, self._device = seconds, device
        self._since: float | None = None

    def start(self) -> None:
        """Start to count."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Stop counting. First wait for the work queued on a CUDA device, because that work is training too."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._counted, self._since = self.seconds, None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the count within this context. The count continues afterwards, also after an exception."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @property
    def seconds(self) -> float:
        """The seconds counted so far."""
        return self._counted + (time.perf_counter() - self._since if self._since is not None else 0.0)
