"""What several test modules share: small runs and checkpoints, a hostile object, commands in this process."""

import io
import multiprocessing
import os
import signal
import socket
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

import gan_cli
from gan_cli import cli, losses
from gan_cli.networks import conv, maxout, mlp
from gan_cli.noise import Noise
from gan_cli.rundir import checkpoint
from gan_cli.training.device import Compute
from gan_cli.training.games import Average, Penalty
from gan_cli.training.plan import Plan
from gan_cli.training.state import module_tensors

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
ADAM = partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.99), fused=True)
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.5)
NET = {
    "generator": {"_target_": "gan_cli.networks.mlp.Generator", "widths": [8], "norm": True},
    "discriminator": {"_target_": "gan_cli.networks.mlp.Discriminator", "widths": [8]},
    "z_dim": 4,
    "prior": "normal",
}
# The mlp networks with all their layers, narrow: half of a short run is the writing of checkpoints.
NARROW_MLP = ["net=mlp", "net.generator.widths=[8,8,16,32]", "net.discriminator.widths=[32,16]"]
# A run that takes a second.
FAST = [*NARROW_MLP, "batch_size=4", "log_every=1", "sample_every=2", "checkpoint_every=2", "samples=4", "device=cpu"]
SECONDS = 60  # after which a command counts as hung

# Options of a run that belong to one of the small dataclasses of gan_cli.train, by their keywords there.
_GROUPS = {
    "plan": {f.name: f.name for f in fields(Plan)},
    "noise": {"prior": "prior", "z_dim": "z_dim"},
    "penalty": {"penalty": "function", "penalty_interval": "interval", "weight_clip": "clip"},
    "average": {"ema_half_life": "half_life", "ema_ramp": "ramp"},
    "compute": {"device": "device", "bf16": "bf16", "compile": "compile", "graphs": "graphs"},
}
_CLASSES = {"plan": Plan, "noise": Noise, "penalty": Penalty, "average": Average, "compute": Compute}


def train_networks(
    generator, discriminator, dataset, run_dir, *, make_optimizer=ADAM, loss=losses.nonsaturating, **options
):
    """``gan_cli.train`` by flat keywords: those of the dataclasses are sorted into them."""
    grouped = {
        group: cls(**{name: options.pop(word) for word, name in _GROUPS[group].items() if word in options})
        for group, cls in _CLASSES.items()
    }
    return gan_cli.train(
        generator, discriminator, dataset, loss, make_optimizer, make_optimizer, run_dir=run_dir, **grouped, **options
    )


# Options of the generators and discriminators of :func:`train_tiny`: all of their layers, narrow.
NARROW = {
    mlp: ({"widths": (8, 8, 16, 32)}, {"widths": (32, 16)}),
    conv: ({"width": 4}, {"width": 4}),
    maxout: ({"width": 16}, {"width": 16}),
}


def train_tiny(tiny, run_dir, networks=mlp, *, steps, **options):
    """A run of small networks on 8x8 images that writes its files often."""
    torch.manual_seed(0)
    of_generator, of_discriminator = NARROW[networks]
    generator = networks.Generator(tiny.image_shape, 6, **of_generator)
    discriminator = networks.Discriminator(tiny.image_shape, **of_discriminator)
    defaults = {"batch_size": 16, "z_dim": 6, "samples": 4, "log_every": 2, "sample_every": 4, "checkpoint_every": 3}
    return train_networks(generator, discriminator, tiny, run_dir, steps=steps, **{**defaults, **options})


def save_modules(folder, progress, config, modules, **options):
    """A checkpoint in ``folder`` that holds the tensors of ``modules`` by name, and no optimizer."""
    return checkpoint.save(folder, progress, config, module_tensors(modules), **options)


def save_checkpoint(folder, net=NET, **extra):
    """The checkpoint of an untrained generator of :data:`NET`, in the run folder ``folder``."""
    torch.manual_seed(0)
    generator = mlp.Generator((1, 8, 8), 4, widths=(8,))
    config, modules = {"net": net, "image_shape": [1, 8, 8], **extra}, {"generator": generator, "ema": generator}
    return save_modules(folder / "checkpoints", checkpoint.Progress(7, 70, 1.5), config, modules)


class Payload:
    """Unpickled, it would make the canary."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


COMMANDS = {
    "gan-train": cli.train, "gan-sample": cli.sample, "gan-translate": cli.translate, "gan-eval": cli.eval_,
    "gan-project": cli.project, "gan-report": cli.report, "gan-doctor": cli.doctor,
    "gan-export": cli.export,
}  # fmt: skip
# Processes that begin as copies of one that has torch imported: their start takes no time.
_WARM = multiprocessing.get_context("forkserver")
_WARM.set_forkserver_preload(["gan_cli.commands.train", "torch._dynamo"])


class Process:
    """A command in a process of its own, forked from a warm one. Its output goes to the files ``out`` and ``err``."""

    def __init__(self, name, arguments, cwd, out, err, main=None, env=None):
        self.out, self.err = out, err
        out.touch(), err.touch()
        task = (main or COMMANDS[name], [name, *arguments], cwd, out, err, {**os.environ, **(env or {})})
        self._process = _WARM.Process(target=_be, args=task)
        self._process.start()

    def poll(self):
        """The status, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout=SECONDS):
        """The status at the end."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"no end within {timeout} s"
        return self._process.exitcode

    def send_signal(self, signum):
        os.kill(self._process.pid, signum)

    def kill(self):
        self._process.kill()
        self._process.join()


def _be(main, argv, cwd, out, err, env):
    """What the process does."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_TRUNC), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    sys.argv = argv
    try:
        main()
    except Exception:  # as Python itself prints it
        traceback.print_exc()
        sys.exit(1)


def free_port():
    """A port of this machine that no process listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def torchrun(n, name, arguments, folder, main=None):
    """``n`` processes that share a run, as torchrun starts them, each with its output in ``folder``/rank.out, .err."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(n), "OMP_NUM_THREADS": "1"}
    return [
        Process(
            name, arguments, folder, folder / f"{rank}.out", folder / f"{rank}.err", main,
            {**where, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(n)
    ]  # fmt: skip


class Hung(BaseException):
    """Raised by the alarm: nothing catches it on the way."""


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def invoke(main, arguments, name="gan-train", out=None):
    """Run a command (``cli.train``, …) with ``arguments`` in this process; Hung after :data:`SECONDS`.

    Its output goes to ``out``, if that is given.
    """

    def alarm(signum, frame):
        raise Hung

    err = io.StringIO()
    out = io.StringIO() if out is None else out
    previous, argv, stdout = signal.signal(signal.SIGALRM, alarm), sys.argv, sys.stdout
    signal.alarm(SECONDS)
    try:
        sys.argv = [name, *arguments]
        with redirect_stdout(out), redirect_stderr(err):
            main()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        sys.argv, sys.stdout = argv, stdout
    return Done(status, out.getvalue() if isinstance(out, io.StringIO) else "", err.getvalue())
