"""The files of a run: checkpoints, sample grids, records, curves and the animation."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from gan_cli import typed
from gan_cli.diagnostics.doctor import Finding, examined
from gan_cli.diagnostics.findings import NOTE
from gan_cli.pictures.animation import write_run_animation
from gan_cli.pictures.curves import write_curves
from gan_cli.pictures.grids import write_png
from gan_cli.rundir import checkpoint, layout
from gan_cli.rundir.disk_retry import Writer
from gan_cli.rundir.records import Records, Sink, read_metrics, write_findings
from gan_cli.training.plan import Plan
from gan_cli.training.state import State


class Files(Protocol):
    """What a run asks of its files."""

    @property
    def saved(self) -> bool: ...
    def begin(self) -> None: ...
    def record(self, row: Mapping[str, float]) -> Sequence[Finding]: ...
    def write(self, finished: bool, stopping: bool, asked: bool, is_best: bool) -> bool: ...
    def rewind(self) -> None: ...


class Folder:
    """Writes the files of the run ``state`` into ``run_dir``. ``draw`` makes the picture of a step.

    Each checkpoint saves ``config``. ``say`` reports trouble, and ``stopped`` tells whether the run should end.
    """

    def __init__(
        self,
        state: State,
        plan: Plan,
        run_dir: Path,
        draw: Callable[[int], Image.Image],
        sinks: Mapping[str, Sink] | None,
        config: Mapping[str, Any] | None,
        say: Callable[[str], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._state, self._plan, self._run_dir, self._draw = state, plan, run_dir, draw
        self._config = config or {}
        layout.remove_grids_after(run_dir, state.step)
        self._records = Records(run_dir, state.step, sinks)
        self._doctor, self._say, self._untold = examined(read_metrics(run_dir), self._config), say, False
        self._writer = Writer(plan.on_write_error, say, stopped)
        self._saved_best = state.best

    @property
    def saved(self) -> bool:
        """Whether the folder holds a checkpoint."""
        return bool(layout.of_run(self._run_dir))

    def begin(self) -> None:
        """Write the first grid and checkpoint, if there are none."""
        if self._state.step == 0:
            self._write_grid()
        if self._state.step == 0 or not self.saved:
            self._save()  # a full disk is found now, and a rollback has a checkpoint

    def record(self, row: Mapping[str, float]) -> list[Finding]:
        """Add a tick's record. :meth:`write` writes it. Tell and return the findings that begin or end with it."""
        self._records.add(row)
        news = [finding for finding in self._doctor.look(row) if finding.severity != NOTE]
        for finding in news:
            more = f" (gan-doctor run={typed.shown(self._run_dir)})" if finding.until is None else ""
            self._say(finding.line + more)
        self._untold = self._untold or bool(news)
        return news

    def write(self, finished: bool, stopping: bool, asked: bool, is_best: bool) -> bool:
        """Write what is due after this step: all if ``finished``, a checkpoint if ``stopping`` or ``asked`` for one.

        Return whether all is written. What the disk refuses is written later. At the last step, wait for the disk.
        """
        self._writer.attempt(partial(self._write, finished, stopping or asked, is_best), last=stopping)
        if self._writer.overdue:
            self._state.best = self._saved_best  # no file holds the new best
        return not self._writer.overdue

    def rewind(self) -> None:
        """The state was restored: remove the pictures and the records of later steps."""
        layout.remove_grids_after(self._run_dir, self._state.step)
        self._records.rewind(self._state.step)
        kept = [row for row in read_metrics(self._run_dir) if row["step"] <= self._state.step]
        self._doctor, self._untold = examined(kept, self._config), True

    def _write(self, finished: bool, asked: bool, is_best: bool) -> None:
        """Write the files that are due. After an OSError it may be called again."""
        plan, step = self._plan, self._state.step
        self._records.flush()
        if self._untold:
            write_findings(self._run_dir, [finding.facts for finding in self._doctor.history])
            self._untold = False
        if finished or step % plan.sample_every == 0:
            self._write_grid()
            self._records.flush()
        if asked or is_best or self._writer.overdue or step % plan.checkpoint_every == 0:
            self._save(is_best)
            if self._config and not (self._run_dir / layout.CONFIG).is_file():  # the folder was deleted
                checkpoint.save_config(self._run_dir, self._config)
            write_curves(self._run_dir)
        if finished:
            write_run_animation(self._run_dir)

    def _write_grid(self) -> None:
        path = layout.sample_grid(self._run_dir, self._state.step)
        write_png(self._draw(self._state.step), path)
        self._records.add_grid(self._state.step, path)

    def _save(self, is_best: bool = False) -> None:
        state = self._state
        tensors, settings = state.capture()
        checkpoint.save(
            self._run_dir / "checkpoints", state.progress, self._config, tensors, settings,
            describe=state.describe, keep=self._plan.keep, best=is_best,
        )  # fmt: skip
        self._saved_best = state.best


class NoFolder:
    """The files of a process that does not lead: none."""

    saved = False

    def begin(self) -> None:
        """Nothing to write."""

    def record(self, row: Mapping[str, float]) -> Sequence[Finding]:
        """Nothing to write."""
        return ()

    def write(self, finished: bool, stopping: bool, asked: bool, is_best: bool) -> bool:
        """Nothing to write."""
        return True

    def rewind(self) -> None:
        """Nothing to write."""
