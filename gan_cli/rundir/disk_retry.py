"""The response to a failed write: stop the run, or continue in memory and try again."""

import errno
import time
from collections.abc import Callable

PAUSE = 2.0  # seconds between attempts at the end of a run


class Writer:
    """Writes a run's files. On an OSError it stops (``on_error`` ``stop``), or reports it once and tries again later.

    ``say`` reports to the user. ``stopped`` tells whether the user asked the run to end. :attr:`overdue` tells whether
    files are still unwritten; the next attempt should write these too.
    """

    def __init__(self, on_error: str, say: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        self._on_error, self._say, self._stopped = on_error, say, stopped
        self._told = ""
        self.overdue = False

    def attempt(self, write: Callable[[], None], last: bool) -> None:
        """Call ``write``. If it fails, set :attr:`overdue` and return. Under ``stop``, raise the OSError instead.

        If this is the ``last`` attempt, wait and repeat until ``write`` succeeds or the user asks to end.
        """
        while True:
            try:
                write()
            except OSError as error:
                if error.errno is None or self._on_error == "stop":
                    raise  # an error without a number is not from the system
                self.overdue, given_up = True, last and self._stopped()
                self._tell(error, last, given_up)
                if given_up or not last:
                    return
                self._pause()
            else:
                if self.overdue:
                    self._say("the disk takes files again; the run is saved")
                self.overdue, self._told = False, ""
                return

    def _tell(self, error: OSError, last: bool, given_up: bool) -> None:
        if given_up:
            plan = "given up"
        elif last:
            plan = f"the run is complete, but not saved: trying again every {PAUSE:.0f} s, Ctrl-C gives up"
        else:
            plan = "training goes on in memory and tries again at every tick"
            if error.errno != errno.ENOENT:  # ENOENT: the folder was deleted
                plan += "; what was saved before is intact"
        trouble = f"{error.strerror}; {plan}"
        if trouble != self._told:  # also once for several files: a nearly full disk still takes small ones
            self._say(f"{error.filename}: {trouble}")
        self._told = trouble

    def _pause(self) -> None:
        end = time.monotonic() + PAUSE
        while time.monotonic() < end and not self._stopped():
            time.sleep(0.05)
