"""What a run does when the disk won't take its files: stop, or go on in memory and try again."""

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
        """Call ``write``. If it fails: return with :attr:`overdue` set; or, if this is the ``last``, wait and repeat.

        Raises the OSError under ``stop``, and where the user has asked to end while the last attempt fails.
        """
        while True:
            try:
                write()
            except OSError as error:
                if error.errno is None or self._on_error == "stop" or (last and self._stopped()):
                    raise  # without a number it isn't the system that complains
                self.overdue = True
                self._tell(error, last)
                if not last:
                    return
                self._pause()
            else:
                if self.overdue:
                    self._say("the disk takes files again; the run is saved")
                self.overdue, self._told = False, ""
                return

    def _tell(self, error: OSError, last: bool) -> None:
        plan = (
            f"the run is complete, but not saved: trying again every {PAUSE:.0f} s, Ctrl-C gives up"
            if last
            else "training goes on in memory and tries again at every tick; what was saved before is intact"
        )
        trouble = f"{error.strerror}; {plan}"
        if trouble != self._told:  # though it may be another file now: a disk that is nearly full takes small ones
            self._say(f"{error.filename}: {trouble}")
        self._told = trouble

    def _pause(self) -> None:
        end = time.monotonic() + PAUSE
        while time.monotonic() < end and not self._stopped():
            time.sleep(0.05)
