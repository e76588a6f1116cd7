"""What a run does when the disk won't take its files: stop, or go on in memory and try again."""

import errno
import time
from collections.abc import Callable

PAUSE = 2.0  # seconds between attempts once there is nothing left to do but to wait


class Writer:
    """Writes a run's files; on an OSError it stops (``on_error`` ``stop``), or tells so once and tries again later.

    ``say`` tells, ``stopped`` is whether the user asked the run to end. :attr:`overdue` is whether something is still
    unwritten, which the next attempt should write as well.
    """

    def __init__(self, on_error: str, say: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        self._on_error, self._say, self._stopped = on_error, say, stopped
        self._told = ""
        self.overdue = False

    def attempt(self, write: Callable[[], None], last: bool) -> None:
        """Call ``write``. If it fails: return with :attr:`overdue` set; or, if this is the ``last``, wait and repeat,
        until the user asks to end. Raises the OSError under ``stop``.
        """
        while True:
            try:
                write()
            except OSError as error:
                if error.errno is None or self._on_error == "stop":
                    raise  # without a number it isn't the system that complains
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
            if error.errno != errno.ENOENT:  # then the folder was deleted
                plan += "; what was saved before is intact"
        trouble = f"{error.strerror}; {plan}"
        if trouble != self._told:  # though it may be another file now: a disk that is nearly full takes small ones
            self._say(f"{error.filename}: {trouble}")
        self._told = trouble

    def _pause(self) -> None:
        end = time.monotonic() + PAUSE
        while time.monotonic() < end and not self._stopped():
            time.sleep(0.05)
