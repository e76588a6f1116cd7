"""The tasks around the steps of Algorithm 1: rates, ticks, pictures, evaluations, files, rollback, stopping."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image
from torch import Tensor

from gan_cli import processes
from gan_cli.errors import TrainingDiverged
from gan_cli.metrics.catalogue import sorted_terms
from gan_cli.rundir import checkpoint
from gan_cli.rundir.checkpoint import Checkpoint
from gan_cli.rundir.records import Sink
from gan_cli.rundir.signals import Stopped, stop_on_signal
from gan_cli.training.folder import Files, Folder, NoFolder
from gan_cli.training.nonfinite import Watch
from gan_cli.training.plan import Outcome, Plan, Show, lr_factor
from gan_cli.training.signals import Observe, signals
from gan_cli.training.state import State
from gan_cli.training.stopwatch import Stopwatch
from gan_cli.training.terms import Terms, Totals


class Run:
    """A run that writes its folder: a context manager. An algorithm iterates over its :meth:`steps`.

    ``draw`` makes the picture of a step. ``evaluate`` computes the current scores; a lower first score is better.
    ``observe`` makes the signals of the samples.
    ``show`` makes the display, given the current step, the number of steps, the stopwatch and the limit in seconds.
    Each checkpoint saves ``config``. The run continues from the checkpoint ``resume`` if that is given.

    A run that is stopped and resumed ends with the same bits as an uninterrupted run: on the same machine, on a CPU or
    on CUDA with ``deterministic=true``. The first time a term or a weight is non-finite, the run goes back to its last
    checkpoint and halves the learning rates. The second time, or under ``on_nonfinite="stop"``, TrainingDiverged is
    raised. Non-finite values are never saved in a checkpoint.
    """

    def __init__(
        self,
        state: State,
        plan: Plan,
        run_dir: Path,
        show: Callable[[int, int, Stopwatch, float | None], Show],
        *,
        draw: Callable[[int], Image.Image],
        evaluate: Callable[[], Mapping[str, float]] | None = None,
        observe: Observe | None = None,
        sinks: Mapping[str, Sink] | None = None,
        config: Mapping[str, Any] | None = None,
        resume: Checkpoint | None = None,
    ) -> None:
        self.state, self.plan, self.run_dir = state, plan, run_dir
        self._evaluate, self._observe, self._metrics = evaluate, observe, dict[str, float]()
        self._moving = plan.schedule.moving()
        if resume:
            state.restore(resume)
            state.stopwatch = Stopwatch(state.device, resume.progress.seconds)
        processes.copy_from_leader(state.game.state_dict().values())
        self._ticked, self._collapsed = state.progress, False
        sides = {side: state.game.networks(side) for side in ("discriminator", "generator")}
        self._watch = Watch(sides, state.device)
        with contextlib.ExitStack() as stack:
            self._show = stack.enter_context(
                contextlib.closing(show(state.step, plan.steps, state.stopwatch, plan.max_seconds))
            )
            stop = self._stop = stack.enter_context(stop_on_signal())
            self._files: Files = NoFolder()
            if processes.leads():
                say = self._show.say
                self._files = Folder(state, plan, run_dir, draw, sinks, config, say, lambda: stop.signum is not None)
            self._open = stack.pop_all()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    @property
    def outcome(self) -> Outcome:
        """How the run ended."""
        return Outcome(self.state.step, self.state.stopwatch.seconds, self._metrics, self._stop.signum)

    def noted(self, side: str, terms: Terms) -> Terms:
        """Add ``terms`` to the tick's totals, watch them for non-finite values, and return them."""
        totals = self.state.totals.add(terms)
        for name, term in terms.items():
            if term.weight is not None:
                self._watch.add(side, name, totals[name])
        return terms

    def steps(self) -> Iterator[int]:
        """Yield the number of each step, from 1. The tasks due after a step precede the next number."""
        state, plan = self.state, self.plan
        self._files.begin()
        state.stopwatch.start()
        while state.step < plan.steps:
            self._follow_schedules()
            yield state.step + 1
            state.step += 1
            self._watch.end_step(state.step)
            self._show.step()
            try:
                if self._settle():
                    break
            except TrainingDiverged as diverged:
                self._go_back(diverged)

    def _follow_schedules(self) -> None:
        """Set what depends on the images so far: learning rates, betas, and what the game has of the schedule."""
        images, schedule = self.state.step * self.state.batches.batch_size, self.plan.schedule
        moving = self._moving
        factor = lr_factor(images, self.plan.lr_decay_after) * (schedule.at("lr", images) if "lr" in moving else 1)
        for optimizer in self.state.optimizers.values():
            for group in optimizer.param_groups:
                rate = group["initial_lr"] * self.state.lr_scale * factor
                if isinstance(group["lr"], Tensor):  # at a fixed place: see gan_cli.training.graphs
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
                if "beta2" in moving:
                    group["betas"] = (group["betas"][0], schedule.at("beta2", images))
        self.state.game.follow({name: schedule.at(name, images) for name in moving})

    def _settle(self) -> bool:
        """Do the tasks due after this step. Return whether it was the last step."""
        plan, step, stopwatch = self.plan, self.state.step, self.state.stopwatch
        late = self._collapsed or (plan.max_seconds is not None and stopwatch.seconds >= plan.max_seconds)
        # All processes act alike on a signal to one of them, and on the clock of the slowest.
        ended, signum, asked = processes.most([late, self._stop.signum or 0, self._stop.save_signum or 0])
        self._stop.signum = signum or self._stop.signum
        finished = step == plan.steps or bool(ended)
        stopping = finished or bool(signum)
        intervals = (plan.log_every, plan.sample_every, plan.checkpoint_every, plan.eval_every)
        due = bool(asked) or any(step % every == 0 for every in intervals if every)
        if stopping or due or self.state.device.type == "cpu":  # on other devices a check waits for the device
            self._watch.check()
        if stopping or due:
            with stopwatch.paused():
                self._housekeep(finished, stopping, bool(asked))
        return stopping

    def _housekeep(self, finished: bool, stopping: bool, asked: bool) -> None:
        """Do the tasks due after this step: all if ``finished``, a checkpoint if ``stopping`` or ``asked`` for one."""
        scores, is_best = self._scores(finished)
        if finished or scores or self.state.step % self.plan.log_every == 0:
            self._tick(scores, finished)
        if self._files.write(finished, stopping, asked, is_best) and asked:
            self._stop.saved()

    def _scores(self, finished: bool) -> tuple[dict[str, float], bool]:
        """The scores, if an evaluation is due, and whether they are the best so far. A signal cancels it."""
        plan, state = self.plan, self.state
        if not self._evaluate or not plan.eval_every or not (finished or state.step % plan.eval_every == 0):
            return {}, False
        found: Mapping[str, float] = {}
        alone = processes.count() == 1  # otherwise the processes wait for each other during an evaluation
        with contextlib.suppress(Stopped), self._stop.at_once() if alone else contextlib.nullcontext():
            found = self._evaluate()
        scores = {name: value for name, value in found.items() if math.isfinite(value)}
        score = scores.get(next(iter(found), ""), math.inf)
        if score >= (math.inf if state.best is None else state.best):
            return scores, False
        state.best = score
        return scores, True

    def _tick(self, scores: Mapping[str, float], last: bool) -> None:
        """Record the means of the terms since the last tick, the signals and the scores."""
        state, now = self.state, self.state.progress
        rate = (now.images - self._ticked.images) / (now.seconds - self._ticked.seconds)
        counted = {"step": state.step, "images": now.images, "seconds": now.seconds, "images_per_second": rate}
        seen = signals(state, self._observe, self.plan.log_every, last)
        self._metrics = {**counted, **sorted_terms(state.totals.means()), **seen, **scores, "time": time.time()}
        news = self._files.record(self._metrics)
        if self.plan.on_collapse == "stop" and any(one.name == "collapse" and one.until is None for one in news):
            self._collapsed = True  # the next step is the last one
        self._show.tick(self._metrics)
        state.totals, self._ticked = Totals(state.device), now

    def _go_back(self, diverged: TrainingDiverged) -> None:
        """Go back to the last checkpoint and halve the learning rates. The second time in a run, raise ``diverged``."""
        state = self.state
        if self.plan.on_nonfinite == "stop" or not processes.told(self._files.saved):
            raise diverged
        if state.lr_scale < 1:
            raise TrainingDiverged(f"{diverged}, once more, at half the learning rates; begin anew with lower ones")
        state.restore(checkpoint.read(self.run_dir))
        state.lr_scale = 0.5
        self._watch.reset()
        self._files.rewind()
        self._show.rewind(state.step)
        self._ticked = state.progress
        self._show.say(f"{diverged}; back to step {state.step:,}, with half the learning rates from there on")
