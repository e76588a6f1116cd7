"""Signals: Ctrl-C, SIGTERM and SIGHUP finish the step, save and leave; SIGUSR1 saves, and the run goes on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")  # SIGHUP: the terminal is closed
SAVING = ("SIGUSR1", "SIGUSR2")  # a cluster's warning before the end


class Stopped(Exception):
    """A stop was requested within :meth:`Stop.at_once`."""


class Stop:
    """Whether a stop or a checkpoint was requested, and by which signal."""

    signum: int | None = None
    save_signum: int | None = None
    _at_once = False

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}

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

    def saved(self) -> None:
        """The requested checkpoint is written: call the handler that was installed before, as submitit's."""
        signum, self.save_signum = self.save_signum, None
        if signum is not None:
            self._call_previous(signum)

    def install(self) -> None:
        """Handle the signals from now on."""
        handlers: dict[str, Any] = dict.fromkeys(STOPPING, self._stop) | dict.fromkeys(SAVING, self._save)
        for name, handler in handlers.items():
            signum = getattr(signal, name, None)  # not every system has each
            before = signal.getsignal(signum) if signum is not None else None
            ignored = name == "SIGHUP" and before == signal.SIG_IGN  # by nohup: the run shall outlive its terminal
            unused = name == "SIGUSR2" and not callable(before)
            if signum is not None and not ignored and not unused:
                self._previous[signum] = signal.signal(signum, handler)

    def uninstall(self) -> None:
        """Restore the handlers. If a signal stopped the run, call the handler that was installed before."""
        for signum, handler in self._previous.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        if self.signum is not None:
            self._call_previous(self.signum)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)
        self.signum = signum
        if self._at_once:
            raise Stopped

    def _save(self, signum: int, frame: FrameType | None) -> None:
        self.save_signum = signum

    def _call_previous(self, signum: int) -> None:
        handler = self._previous.get(signum)
        if callable(handler) and handler is not signal.default_int_handler:
            handler(signum, None)


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Within this context the first stopping signal is noted in the :class:`Stop` that the context returns.

    A second one raises at once: KeyboardInterrupt, or SystemExit. A saving signal asks for a checkpoint. A handler that
    was installed before is called afterwards. Outside the main thread nothing is caught, because Python delivers no
    signals there.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    stop.install()
    try:
        yield stop
    finally:
        stop.uninstall()
