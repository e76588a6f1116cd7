"""Ctrl-C and SIGTERM: finish the step, save, then leave."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether, and by which signal, a stop was asked for."""

    signum: int | None = None


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Within this context SIGINT and SIGTERM are noted in the :class:`Stop` it gives; a second one ends it at once.

    It then raises KeyboardInterrupt, or SystemExit for a SIGTERM. Outside the main thread, where Python delivers no
    signals, nothing is caught.
    """
    stop = Stop()

    def note(signum: int, frame: FrameType | None) -> None:
        if stop.signum is not None:
            raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)
        stop.signum = signum

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
