"""Seconds of training."""

import contextlib
import time
from collections.abc import Iterator

import torch


class Stopwatch:
    """Seconds of training. What evaluations and files take, between :meth:`stop` and :meth:`start`, isn't counted."""

    def __init__(self, device: torch.device, seconds: float = 0.0) -> None:
        self._counted, self._device = seconds, device
        self._since: float | None = None

    def start(self) -> None:
        """Count from now on."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Count no longer. Work that is queued on a CUDA device is waited for: it is training too."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._counted, self._since = self.seconds, None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within this context nothing is counted; however it is left, the watch goes on."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @property
    def seconds(self) -> float:
        """The seconds counted so far."""
        return self._counted + (time.perf_counter() - self._since if self._since is not None else 0.0)
