"""A run in numbers: what a tick reports, where it is kept, and how it is shown while it goes on."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from tqdm import tqdm

from gan_cli.files import naming, write_atomic

LOSSES = ("loss_d", "loss_g")


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

    @property
    def seconds(self) -> float:
        """The seconds counted so far."""
        return self._counted + (time.perf_counter() - self._since if self._since is not None else 0.0)


class Window:
    """What the steps since the last tick left behind, kept as device tensors so that no step waits for the device."""

    def __init__(self) -> None:
        self._losses: dict[str, list[Tensor]] = {name: [] for name in LOSSES}
        self._logits: dict[str, list[Tensor]] = {"real": [], "fake": []}

    def add_discriminator(self, loss: Tensor, real_logits: Tensor, fake_logits: Tensor) -> None:
        """One discriminator step's loss (a scalar) and logits ``[N]``."""
        self._losses["loss_d"].append(loss.detach())
        self._logits["real"].append(real_logits.detach())
        self._logits["fake"].append(fake_logits.detach())

    def add_generator(self, loss: Tensor) -> None:
        """One generator step's loss (a scalar)."""
        self._losses["loss_g"].append(loss.detach())

    def summary(self) -> dict[str, float]:
        """Means over the window: both losses, D(x), D(G(z)) and V(D, G) of Goodfellow et al. 2014, equation 1.

        ``value``, V(D, G) = E log D(x) + E log(1 - D(G(z))), lies at or below 0; at equilibrium, where D = 1/2, it is
        -log 4 = -1.386. All are taken from the discriminator's steps, before each of its updates.
        """
        real, fake = (torch.cat(self._logits[name]).float() for name in ("real", "fake"))
        names = [*LOSSES, "d_real", "d_fake", "value"]
        means = [torch.stack(self._losses[name]).mean() for name in LOSSES]
        means += [real.sigmoid().mean(), fake.sigmoid().mean(), logsigmoid(real).mean() + logsigmoid(-fake).mean()]
        return dict(zip(names, torch.stack(means).tolist(), strict=True))  # the window's one wait for the device


class Log:
    """``metrics.jsonl`` and TensorBoard events of a run folder, a record a tick; goes on after ``step`` on a resume."""

    def __init__(self, run_dir: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = run_dir / "metrics.jsonl"
        kept = [row for row in read_metrics(run_dir) if row["step"] <= step]
        write_atomic(self._path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self._file = self._path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(run_dir), purge_step=step + 1 if step else None)

    def write(self, row: Mapping[str, float]) -> None:
        """Append one tick's record; it is on disk when this returns."""
        with naming(self._path):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        for name, value in row.items():
            if name != "step":
                self._events.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        self._file.close()
        self._events.close()


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The records of a run folder's ``metrics.jsonl``, in order; lines that were cut off are left out."""
    path = run_dir / "metrics.jsonl"
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def format_row(row: Mapping[str, float]) -> str:
    """A tick in words: ``2,310 images/s, loss_d 1.21, loss_g 0.93, D(x) 0.58, D(G(z)) 0.41``."""
    return (
        f"{row['images_per_second']:,.0f} images/s, loss_d {row['loss_d']:.2f}, loss_g {row['loss_g']:.2f}, "
        f"D(x) {row['d_real']:.2f}, D(G(z)) {row['d_fake']:.2f}"
    )


class _Bar(tqdm):
    """A bar whose end and time left also know about ``max_seconds``."""

    def __init__(self, stopwatch: Stopwatch, max_seconds: float | None, **kwargs: Any) -> None:
        self.stopwatch, self.max_seconds = stopwatch, max_seconds
        self.first_seconds = stopwatch.seconds
        super().__init__(**kwargs)

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
            try:
                print(f"step {row['step']:,}/{self._bar.total:,}: {format_row(row)}", flush=True)
            except BrokenPipeError:  # whoever was reading is gone; the run goes on, silently
                sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        else:
            self._bar.set_postfix_str(format_row(row))

    def close(self) -> None:
        self._bar.close()


def mean_std(values: Iterable[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); None in place of the latter for a single value."""
    data = torch.tensor(list(values), dtype=torch.float64)
    return data.mean().item(), data.std().item() if len(data) > 1 else None
