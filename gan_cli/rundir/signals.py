"""Ctrl-C and SIGTERM: finish the step, save, then leave."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """A stop was asked for while :meth:`Stop.at_once` was on."""


class Stop:
    """Whether, and by which signal, a stop was asked for."""

    signum: int | None = None
    _at_once = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this context a stop raises :class:`Stopped`: for long work that may as well not be done."""
        self._at_once = True
        try:
            if self.signum is not None:
                raise Stopped
            yield
        finally:
            self._at_once = False

    def ask(self, signum: int, frame: FrameType | None) -> None:
        """The signals' handler."""
        if self.signum is not None:
            raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)
        self.signum = signum
        if self._at_once:
            raise Stopped


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Within this context SIGINT and SIGTERM are noted in the :class:`Stop` it gives; a second one ends it at once.

    It then raises KeyboardInterrupt, or SystemExit for a SIGTERM. Outside the main thread, where Python delivers no
    signals, nothing is caught.
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
