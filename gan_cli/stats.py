"""A run in numbers: what a tick reports, where it is kept, and how it is shown while it goes on."""

import contextlib
import errno
import io
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from tqdm import tqdm

from gan_cli.files import append, write_atomic

LOSSES = ("loss_d", "loss_g")
TICK = ("seconds", "images_per_second", *LOSSES, "d_real", "d_fake", "value")  # numbers that every record has
SCORES = {  # how they are shown while a run goes on
    "frechet": "Fréchet {:.1f}",
    "precision": "precision {:.2f}",
    "recall": "recall {:.2f}",
    "class_kl": "KL {:.3f}",
    "classes_hit": "classes {:.0f}",
    "jsd": "JSD {:.4f}",
    "d_error": "|D - 1/2| {:.3f}",
    "modes": "modes {:.0f}",
    "high_quality": "high quality {:.1%}",
}


class Stopwatch:
    """Seconds of training: what evaluation and file writing take, between stop() and start(), isn't counted."""

    def __init__(self, seconds: float, device: torch.device) -> None:
        self._counted, self._device = seconds, device
        self._since: float | None = None

    def start(self) -> None:
        self._since = time.perf_counter()

    def stop(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # queued work is training too
        self._counted, self._since = self.seconds, None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within this context nothing is counted; however it is left, the watch goes on."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @property
    def seconds(self) -> float:
        """The seconds counted so far."""
        return self._counted + (time.perf_counter() - self._since if self._since is not None else 0.0)


class Window:
    """What the steps since the last tick left behind, kept as device tensors so that no step waits for the device.

    ``saved`` is what :meth:`state` gave: a run that is resumed between two ticks averages over the same steps.
    """

    def __init__(self, saved: Mapping[str, Tensor] | None = None) -> None:
        self._values: dict[str, list[Tensor]] = {name: [] for name in (*LOSSES, "real", "fake")}
        for name, values in (saved or {}).items():
            if name in self._values and _is_noted(values):  # it may be a stranger's
                self._values[name].append(values)

    def add_discriminator(self, loss: Tensor, real_logits: Tensor, fake_logits: Tensor) -> None:
        """One discriminator step's loss (a scalar) and logits ``[N]``."""
        self._values["loss_d"].append(loss.detach()[None])
        self._values["real"].append(real_logits.detach())
        self._values["fake"].append(fake_logits.detach())

    def add_generator(self, loss: Tensor) -> None:
        """One generator step's loss (a scalar)."""
        self._values["loss_g"].append(loss.detach()[None])

    def state(self) -> dict[str, Tensor]:
        """Everything noted so far, one-dimensional tensors by name; nothing where nothing was."""
        return {name: torch.cat(values) for name, values in self._values.items() if values}

    def summary(self) -> dict[str, float]:
        """Means over the window: both losses, D(x), D(G(z)) and V(D, G) of Goodfellow et al. 2014, equation 1.

        ``value``, V(D, G) = E log D(x) + E log(1 - D(G(z))), lies at or below 0; at equilibrium, where D = 1/2, it is
        -log 4 = -1.386. All are taken from the discriminator's steps, before each of its updates.
        """
        state = self.state()
        real, fake = state["real"], state["fake"]
        names = [*LOSSES, "d_real", "d_fake", "value"]
        means = [state[name].mean() for name in LOSSES]
        means += [real.sigmoid().mean(), fake.sigmoid().mean(), logsigmoid(real).mean() + logsigmoid(-fake).mean()]
        return dict(zip(names, torch.stack(means).tolist(), strict=True))  # the window's one wait for the device


def _is_noted(values: Tensor) -> bool:
    """Whether ``values`` can be what steps noted: numbers in one dimension, of a size that a mean can be taken of."""
    return values.dim() == 1 and values.dtype in (torch.float32, torch.float64) and bool((values.abs() < 1e30).all())


class Log:
    """``metrics.jsonl`` and the TensorBoard events of a run folder, a record a tick.

    Both begin with what the run logged up to ``step``: what a resumed run had logged after its checkpoint is dropped,
    and the events, which are made from the records, lack none. A record that the disk won't take is kept for the next
    :meth:`flush`.
    """

    def __init__(self, run_dir: Path, step: int) -> None:
        self._run_dir = run_dir
        self._metrics, self._events = run_dir / "metrics.jsonl", run_dir / "events.out.tfevents.gan-cli"
        self._waiting: list[Mapping[str, float]] = []
        self.rewind(step)
        self.flush()

    def rewind(self, step: int) -> None:
        """Drop the records of steps after ``step``; from the files, with the next :meth:`flush`."""
        self._waiting = [row for row in self._waiting if row["step"] <= step]
        self._until: int | None = step  # the last step that the files may hold, where they have to be written anew
        self._stale = True  # whether the events are not those of metrics.jsonl

    def add(self, row: Mapping[str, float]) -> None:
        """Take one tick's record; :meth:`flush` writes it."""
        self._waiting.append(row)

    def flush(self) -> None:
        """Append the records not written yet. Raises OSError, and keeps them, when the disk won't take them."""
        if self._until is not None:
            kept = [row for row in read_metrics(self._run_dir) if row["step"] <= self._until]
            write_atomic(self._metrics, _lines(kept))
            self._until = None
        if not self._metrics.is_file():
            self._stale = True
            write_atomic(self._metrics, b"")
            raise FileNotFoundError(errno.ENOENT, "deleted while the run was going on", str(self._metrics))
        append(self._metrics, _lines(self._waiting))
        written, self._waiting = self._waiting, []
        stale, self._stale = self._stale, True
        if stale:
            write_atomic(self._events, _events(read_metrics(self._run_dir), first=True))
        else:
            append(self._events, _events(written))
        self._stale = False


def _lines(rows: Iterable[Mapping[str, float]]) -> bytes:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()


def _events(rows: Iterable[Mapping[str, float]], first: bool = False) -> bytes:
    """The rows as TensorBoard's records; with the format's own record before the ``first``.

    Made here and appended like any file: the writers of torch and TensorBoard write from a thread, which loses up to
    two minutes of events when the process is killed and is gone for good after a full disk.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    if first:
        writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    for row in rows:
        values = [Summary.Value(tag=name, simple_value=row[name]) for name in row if name not in ("step", "time")]
        event = Event(wall_time=row.get("time", 0), step=int(row["step"]), summary=Summary(value=values))
        writer.write(event.SerializeToString())
    return buffer.getvalue()


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The records of a run folder's ``metrics.jsonl``, in order; lines that are no whole record are left out."""
    path = run_dir / "metrics.jsonl"
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
            if _is_record(row):
                rows.append(row)
    return rows


def _is_record(row: Any) -> bool:
    """Whether ``row`` is a tick's record: a step, and numbers of a size that all who read it can take."""
    return (
        isinstance(row, dict)
        and row.keys() >= {"step", *TICK}
        and all(name.isprintable() for name in row)
        and all(type(value) in (int, float) and abs(value) < 1e308 for value in row.values())
        and type(row["step"]) is int
        and 0 <= row["step"] < 2**63
    )


def format_row(row: Mapping[str, float]) -> str:
    """A tick in words: ``2,310 images/s, loss_d 1.21, loss_g 0.93, D(x) 0.58, D(G(z)) 0.41``, and its scores if any."""
    scores = "".join(f", {words.format(row[name])}" for name, words in SCORES.items() if name in row)
    return (
        f"{row['images_per_second']:,.0f} images/s, loss_d {row['loss_d']:.2f}, loss_g {row['loss_g']:.2f}, "
        f"D(x) {row['d_real']:.2f}, D(G(z)) {row['d_fake']:.2f}{scores}"
    )


def tell(line: str) -> None:
    """Print ``line``. Where whoever was reading is gone, or its disk is full, the run goes on, silently."""
    try:
        print(line, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


class _Bar(tqdm):
    """A bar whose end and time left also know about ``max_seconds``."""

    def __init__(self, stopwatch: Stopwatch, max_seconds: float | None, **kwargs: Any) -> None:
        self.stopwatch, self.max_seconds = stopwatch, max_seconds
        self.first_seconds = stopwatch.seconds
        super().__init__(**kwargs)

    def restart(self, step: int) -> None:
        """Begin again at ``step``, and count the time from now."""
        self.reset()
        self.first_seconds = self.stopwatch.seconds
        self.n = self.initial = step

    @property
    def format_dict(self) -> dict[str, Any]:
        facts = super().format_dict
        done = facts["n"] - facts["initial"]
        if not done:
            return facts | {"left": "?"}
        steps_left = facts["total"] - facts["n"]
        if self.max_seconds is not None:
            seconds_a_step = (self.stopwatch.seconds - self.first_seconds) / done
            steps_left = min(steps_left, max(0, round((self.max_seconds - self.stopwatch.seconds) / seconds_a_step)))
        left = tqdm.format_interval(steps_left * facts["elapsed"] / done)
        return facts | {"total": facts["n"] + steps_left, "left": left}


class Display:
    """Shows a run: a bar on a terminal, one line a tick elsewhere (a log file, a pipe)."""

    def __init__(self, step: int, steps: int, stopwatch: Stopwatch, max_seconds: float | None) -> None:
        self._bar = _Bar(
            stopwatch,
            max_seconds,
            initial=step,
            total=steps,
            disable=None,  # tqdm: off where standard error is no terminal
            dynamic_ncols=True,
            mininterval=0.2,
            bar_format="{percentage:3.0f}%|{bar:10}| step {n:,}/{total:,}, {left} left{postfix}",
        )

    def step(self) -> None:
        """One more step is done."""
        self._bar.update()

    def tick(self, row: Mapping[str, float]) -> None:
        """Show a tick's record."""
        if self._bar.disable:
            tell(f"step {row['step']:,}/{self._bar.total:,}: {format_row(row)}")
        else:
            self._bar.set_postfix_str(format_row(row))

    def say(self, line: str) -> None:
        """Tell something out of the ordinary, on standard error, above the bar."""
        with contextlib.suppress(OSError):  # a log on a full disk must not end the run either
            tqdm.write(f"gan-train: {line}", file=sys.stderr)

    def rewind(self, step: int) -> None:
        """The run has gone back to ``step``."""
        self._bar.restart(step)

    def close(self) -> None:
        self._bar.close()


def mean_std(values: Iterable[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); None in place of the latter for a single value."""
    data = torch.tensor(list(values), dtype=torch.float64)
    return data.mean().item(), data.std().item() if len(data) > 1 else None
