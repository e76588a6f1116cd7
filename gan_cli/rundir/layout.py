"""The layout of a run folder, and the rules for writing to one."""

import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gan_cli.errors import UserError

CONFIG, METRICS, CURVES, EVENTS = "config.yaml", "metrics.jsonl", "curves.png", "events.out.tfevents.gan-cli"
STATUS, FINDINGS = "status.json", "findings.jsonl"
LAST, BEST = "last.safetensors", "best.safetensors"
OWN = (".lock", "samples", "checkpoints")  # in a stranger's folder these may be links
EARLY = ("checkpoints", CONFIG, METRICS, EVENTS, STATUS, FINDINGS, "samples")  # made before the run has a checkpoint


def numbered(folder: Path, step: int) -> Path:
    """``folder/00001000.safetensors`` for step 1000."""
    return folder / f"{step:08d}.safetensors"


def in_order(folder: Path) -> list[Path]:
    """The numbered checkpoints in ``folder``, newest first."""
    paths = (path for path in folder.glob("*.safetensors") if re.fullmatch("[0-9]{8,18}", path.stem) and path.is_file())
    return sorted(paths, key=lambda path: int(path.stem), reverse=True)


def of_run(run_dir: Path) -> list[Path]:
    """The checkpoints that a run can resume from, in order of preference: ``last``, then the others, newest first."""
    folder = run_dir / "checkpoints"
    last = folder / LAST
    # Leave out the file that ``last`` is another name of.
    others = [path for path in in_order(folder) if not (last.is_file() and os.path.samefile(path, last))]
    return [last, *others] if last.is_file() else others


def run_folder(path: Path) -> Path:
    """The run folder of the checkpoint file ``path``. For a file outside a run folder, its own folder."""
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


def sample_grids(run_dir: Path) -> list[Path]:
    """The sample grids of a run, in the order of their steps."""
    return sorted(path for path in (run_dir / "samples").glob("*.png") if path.stem.isdecimal())


def sample_grid(run_dir: Path, step: int) -> Path:
    """``run_dir/samples/00001000.png`` for step 1000."""
    return run_dir / "samples" / f"{step:08d}.png"


def remove_grids_after(run_dir: Path, step: int) -> None:
    """Remove the grids of steps after ``step``, when a run goes back to ``step``."""
    with contextlib.suppress(OSError):  # grids that cannot be removed are overwritten later
        for path in sample_grids(run_dir):
            if int(path.stem) > step:
                path.unlink()


def file_to_resume(resume: str | None) -> Path | None:
    """The checkpoint file that ``resume`` names; None for a run folder, for ``auto`` and for nothing."""
    path = Path(os.path.expanduser(resume or ""))
    return path if resume not in (None, "auto") and path.is_file() else None


def holds_run(folder: Path) -> bool:
    """Whether ``folder`` holds a run: a checkpoint, or curves, which come with the second checkpoint.

    A run that was killed before its first checkpoint has left nothing to go on with, and nothing to lose.
    """
    return any((folder / "checkpoints").glob("*.safetensors")) or (folder / CURVES).exists()


def refuse_overwriting(folder: Path, resume: str | None, sweep: bool) -> None:
    """UserError if ``folder`` already holds a run (or, for a ``sweep``, runs), unless ``resume`` goes on with it."""
    if sweep and resume not in (None, "auto"):
        raise UserError("a sweep can't go on from one run: leave resume out, or say resume=auto to go on with a sweep")
    held = holds_run(folder)
    if sweep:
        held = held or (folder / "results.csv").exists() or any(map(holds_run, folder.glob("*")))
    if held and (resume is None or file_to_resume(resume)):
        raise UserError(f"{folder} holds a run already; add resume=auto to go on with it, or choose another run_dir")


def missing(folder: Path) -> list[Path]:
    """``folder`` and the folders above it, as far as they do not exist: those that its making would make."""
    return list(itertools.takewhile(lambda path: not path.exists(), (folder, *folder.parents)))


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of ``folders`` that are empty, in this order."""
    for folder in folders:
        with contextlib.suppress(OSError):  # it has files, or was not made
            folder.rmdir()


@contextlib.contextmanager
def locked(run_dir: Path, wait: bool = False) -> Iterator[None]:
    """Lock ``run_dir`` for this process; make the folder if needed. The system unlocks it when the process ends.

    If the block raises before the run has a checkpoint, what the block made is removed: no later start finds the
    remains of a run. UserError if another process holds the lock, unless told to ``wait``, or if one of the run's own
    names is a link.
    """
    import filelock  # imported late: it loads asyncio, and refuse_overwriting should answer fast

    new = missing(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    for name in OWN:
        if (run_dir / name).is_symlink():  # a link could lead out of a stranger's run folder
            raise UserError(f"{run_dir / name} is a link, which gan-train never makes: remove it")
    lock = filelock.FileLock(run_dir / ".lock", timeout=-1 if wait else 0.2)  # longer than at_work holds it
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(f"another gan-train is at work in {run_dir}: wait for it, or choose another run_dir") from None
    absent = [run_dir / name for name in EARLY if not (run_dir / name).exists()]
    try:
        yield
    except BaseException:
        _clear(run_dir, absent)
        raise
    finally:
        lock.release()
        remove_empty(new)


def _clear(run_dir: Path, absent: Sequence[Path]) -> None:
    """Remove the ``absent`` that a start has made meanwhile, unless the run has a checkpoint."""
    folder = run_dir / "checkpoints"
    try:
        if folder in absent:
            folder.rmdir()
        elif folder.exists():
            return
    except FileNotFoundError:
        pass
    except OSError:  # it has files. Nothing is removed either while the disk fails
        return
    if not holds_run(run_dir):  # it may have curves: somebody has removed the checkpoints
        remove([*absent, run_dir / ".lock"])


def remove(paths: Iterable[Path]) -> None:
    """Remove files and folders, as far as they exist and the system lets them go."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def at_work(run_dir: Path) -> bool:
    """Whether a process holds the lock of ``run_dir``. A lock that can't be tried, another user's, counts as held."""
    import filelock

    path = run_dir / ".lock"
    if path.is_symlink() or not path.is_file():
        return False
    try:
        with filelock.FileLock(path, timeout=0):
            return False
    except (filelock.Timeout, OSError):
        return True
