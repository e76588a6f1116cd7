"""Ctrl-C and SIGTERM: finish the step, save, then leave."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """A stop was requested within :meth:`Stop.at_once`."""


class Stop:
    """Whether a stop was requested, and by which signal."""

    signum: int | None = None
    _at_once = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this context a stop raises :class:`Stopped` at once. Use it for long work that may be skipped."""
        self._at_once = True
        try:
            if self.signum is not None:
                raise Stopped
            yield
        finally:
            self._at_once = False

    def ask(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.signum is not None:
            raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)
        self.signum = signum
        if self._at_once:
            raise Stopped


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Within this context the first SIGINT or SIGTERM is noted in the :class:`Stop` that the context returns.

    A second signal raises at once: KeyboardInterrupt, or SystemExit for a SIGTERM. Outside the main thread nothing is
    caught, because Python delivers no signals there.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {signum: signal.signal(signum, stop.ask) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
