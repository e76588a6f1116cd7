"""A generator as a program of torch.export, and the comparison of every export with torch."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BytesIO
from typing import NamedTuple

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from gan_cli.errors import UserError, one_line
from gan_cli.exports.subject import Inputs, Subject

LIMITS = {torch.float32: 1e-3, torch.float16: 2 / 127.5}  # of the largest error, for outputs in [-1, 1]


class Checked(NamedTuple):
    """The largest absolute error of an export at one batch: the shape of its first input, and the error."""

    shape: tuple[int, ...]
    error: float


def traced(subject: Subject) -> ExportedProgram:
    """The program of ``subject``, with its dynamic axes. UserError if torch is too old, or can't trace the network."""
    shapes = [{axis: Dim.DYNAMIC for axis in subject.dynamic.get(name, {})} for name in subject.inputs]
    varargs = (shapes[0], tuple(shapes[1:])) if len(shapes) > 1 else (shapes[0],)
    try:
        with torch.no_grad(), _any_size():
            return torch.export.export(subject.network, tuple(subject.inputs.values()), dynamic_shapes=varargs)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"torch.export can't trace this generator: {one_line(error)}") from error


def _any_size() -> AbstractContextManager[None]:
    """Within this context, a dynamic axis of a trace may also have the size 1, as the innermost maps of a U-Net do."""
    from torch.fx.experimental import _config

    if not hasattr(_config, "backed_size_oblivious"):
        raise UserError(f"gan-export needs torch 2.9 or newer for this file, and this is {torch.__version__}")
    return _config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]


def saved(program: ExportedProgram) -> bytes:
    """The file of ``program``, ``.pt2``."""
    file = BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def loaded(content: bytes) -> Callable[[Inputs], Tensor]:
    """The function in a ``.pt2`` file, by the names of its inputs."""
    module = torch.export.load(BytesIO(content)).module()
    return lambda inputs: module(*inputs.values())


@torch.inference_mode()
def check(subject: Subject, exported: Callable[[Inputs], Tensor], dtype: torch.dtype) -> list[Checked]:
    """The largest error of ``exported`` at each trial of ``subject``. UserError if it is over the limit of ``dtype``.

    Outputs outside of [-1, 1] are clamped first, as in a picture; points are compared as they are.
    """
    found = []
    for inputs in subject.trials():
        outputs = subject.reference(inputs), exported(inputs)
        a, b = outputs if subject.output == "points" else (output.clamp(-1, 1) for output in outputs)
        shape, error = tuple(next(iter(inputs.values())).shape), float((a - b).abs().max())
        if not error <= LIMITS[dtype]:  # NaN is over the limit too
            raise UserError(
                f"the export differs from torch by {error:.2g} for {next(iter(inputs))} {list(shape)}, more than "
                f"{LIMITS[dtype]:.2g}: no file is written" + ("; try dtype=fp32" if dtype is torch.float16 else "")
            )
        found.append(Checked(shape, error))
    return found
