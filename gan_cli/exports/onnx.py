"""ONNX files, by torch's own exporter. They need ``pip install 'gan-cli[export]'``."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from gan_cli.errors import UserError, one_line
from gan_cli.exports.subject import Inputs, Subject

DEFAULTS = {"truncation": 1.0}  # inputs that may be left out


def check_installed() -> None:
    """UserError unless the packages are there that write an ONNX file and run it."""
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]:
        raise UserError(f".onnx needs {', '.join(missing)}: pip install 'gan-cli[export]'")


def converted(program: ExportedProgram, subject: Subject, opset: int | None, facts: Mapping[str, str]) -> bytes:
    """The ONNX file of ``program``, with ``facts`` in its metadata.

    Its inputs and its output have the names of ``subject``; the dynamic axes have theirs. An input of
    :data:`DEFAULTS` may be left out. UserError if the exporter fails.
    """
    import onnx

    try:
        with _quiet():
            made = torch.onnx.export(
                program, input_names=list(subject.inputs), output_names=[subject.output], opset_version=opset,
                dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
        assert made is not None
        model = made.model_proto
    except Exception as error:  # the exporter wraps whatever went wrong
        raise UserError(f"torch can't write this generator as ONNX: {one_line(error)}") from error
    for value in (*model.graph.input, *model.graph.output):
        axes = subject.dynamic.get(value.name, next(iter(subject.dynamic.values())))
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param:
                dim.dim_param = axes.get(axis, dim.dim_param)
    for name in DEFAULTS.keys() & subject.inputs.keys():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(DEFAULTS[name]), name))
    onnx.helper.set_model_props(model, dict(facts))
    model.producer_name = "gan-cli"
    onnx.checker.check_model(model)
    return model.SerializeToString()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings about itself."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def loaded(content: bytes) -> Callable[[Inputs], Tensor]:
    """The function in an ONNX file, by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run(None, {name: x.numpy() for name, x in inputs.items()})[0])
