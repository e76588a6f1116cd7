"""A program of torch.export as a small graph of a few operators, which ``runtime.js`` of the page runs.

Whatever depends on no input is computed here, once, and becomes a constant: the weights times their gains, batch
normalisation's scale and shift. Values are numbered: the inputs, then the constants, then the nodes, in order. A node
is ``{"op", "in", "shape", …}``: the numbers of the values that it takes, the shape of the value that it makes, and the
operator's own attributes. Each batch has one image.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from gan_cli.errors import UserError

aten = torch.ops.aten
SMALL = 4096  # constants of at most so many numbers stay in float32
Described = dict[str, Any]  # a node whose "in" holds values, each a Node or a constant, and no numbers yet


class Graph(NamedTuple):
    """``inputs``, each a name and a shape, ``nodes`` as JSON holds them, ``constants`` in float32 or float16."""

    inputs: Sequence[tuple[str, Sequence[int]]]
    nodes: Sequence[Mapping[str, Any]]
    constants: Sequence[Tensor]


def graph_of(program: ExportedProgram, names: Sequence[str], dtype: torch.dtype) -> Graph:
    """The graph of ``program``, which was traced at fixed sizes; ``names`` are those of its inputs.

    Constants of more than :data:`SMALL` numbers are rounded to ``dtype``. UserError, which names the operator, if the
    program has one that ``runtime.js`` has not.
    """
    program = program.run_decompositions()
    signature = program.graph_signature
    held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    held |= signature.inputs_to_lifted_tensor_constants
    stored = {**dict(program.named_parameters()), **dict(program.named_buffers()), **program.constants}
    known: dict[Node, Any] = {}  # the values that depend on no input
    inputs = []
    with torch.no_grad():
        for node in program.graph.nodes:
            if node.op == "placeholder" and node.name in held:
                known[node] = stored[held[node.name]].detach()
            elif node.op == "placeholder":
                inputs.append(node)
            elif node.op == "call_function" and all(of in known for of in node.all_input_nodes):
                known[node] = node.target(*_filled(node.args, known), **_filled(node.kwargs, known))
        (output,) = program.graph.output_node().args[0]
        made = _needed(output, inputs, known)
    nodes = [node for node in program.graph.nodes if node in made]
    constants = {id(value): value for node in nodes for value in made[node]["in"] if isinstance(value, Tensor)}
    numbers = {key: i for i, key in enumerate([*inputs, *constants, *nodes])}
    return Graph(
        [(name, _shape(node)) for name, node in zip(names, inputs, strict=True)],
        [{**made[node], "in": [numbers[_key(value)] for value in made[node]["in"]]} for node in nodes],
        [value.float().to(torch.float32 if value.numel() <= SMALL else dtype) for value in constants.values()],
    )


def _key(value: Node | Tensor) -> Node | int:
    return id(value) if isinstance(value, Tensor) else value


def _filled(arguments: Any, known: Mapping[Node, Any]) -> Any:
    """``arguments`` of a node, each node among them replaced by its known value."""
    return torch.fx.node.map_arg(arguments, lambda node: known.get(node, node))


def _shape(node: Node) -> list[int]:
    found = node.meta["val"]
    return [int(side) for side in found.shape] if isinstance(found, Tensor) else []


def _needed(output: Node, inputs: Sequence[Node], known: Mapping[Node, Any]) -> dict[Node, Described]:
    """What ``output`` needs, itself included, described. An assertion of the program is not among it."""
    made: dict[Node, Described] = {}
    waiting = [output]
    while waiting:
        node = waiting.pop()
        if node not in made and node not in inputs:
            made[node] = {**_described(node, known), "shape": _shape(node)}
            waiting += [value for value in made[node]["in"] if isinstance(value, Node)]
    return made


def _described(node: Node, known: Mapping[Node, Any]) -> Described:
    """``node`` in the operators of ``runtime.js``. UserError for one that it has not."""
    args = _filled(node.args, known)
    if node.target is operator.getitem:
        return _part(node.args[0], args[1], known)  # type: ignore[arg-type]
    kind = _KINDS.get(node.target)
    found = kind(*args, **_filled(node.kwargs, known)) if kind else None
    if found is None:
        raise UserError(
            f"the page can't run the operator {node.target} of this generator; out=FILE.onnx or FILE.pt2 holds it"
        )
    return found


def _part(of: Node, index: int, known: Mapping[Node, Any]) -> Described:
    """The element ``index`` of ``of``, a node that makes several values."""
    args = _filled(of.args, known)
    if of.target is aten.split_with_sizes.default:
        x, sizes, *axis = args
        return {"op": "slice", "in": [x], "axis": axis[0] if axis else 0, "start": sum(sizes[:index])}
    x, weight, bias, mean, variance, _, epsilon = args  # batch normalisation, folded into a product and a sum
    scale = (1 if weight is None else weight) * (variance + epsilon).rsqrt()
    return {"op": "affine", "in": [x, scale, (0 if bias is None else bias) - mean * scale]}


def _unary(op: str) -> Callable[..., Described]:
    return lambda x: {"op": op, "in": [x]}


def _binary(op: str) -> Callable[..., Described | None]:
    def described(a: Any, b: Any, alpha: float = 1) -> Described | None:
        if alpha != 1:
            return None
        return {"op": op, "in": [a, b]} if isinstance(b, Node | Tensor) else {"op": op, "in": [a], "scalar": b}

    return described


def _reduced(op: str) -> Callable[..., Described]:
    def described(x: Node, axes: Sequence[int], keepdim: bool = False, dtype: Any = None) -> Described:
        return {"op": "reduce", "in": [x], "by": op, "axes": [axis % len(_shape(x)) for axis in axes]}

    return described


def _convolution(
    x: Node, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], transposed: bool, _output_padding: Sequence[int], groups: int,
) -> Described | None:  # fmt: skip
    if not isinstance(weight, Tensor) or {*dilation} != {1}:
        return None
    values = [x, weight] if bias is None else [x, weight, bias]
    found = {"stride": [*stride], "padding": [*padding], "groups": groups, "kernel": [*weight.shape]}
    return {"op": "conv_transpose" if transposed else "conv", "in": values, **found}


def _upsampled(op: str) -> Callable[..., Described | None]:
    def described(x: Node, size: Any, *options: Any) -> Described | None:
        return {"op": op, "in": [x]} if not (op == "bilinear" and options[0]) else None  # no align_corners

    return described


def _softmax(x: Node, axis: int, half_to_float: bool) -> Described | None:
    return {"op": "softmax", "in": [x]} if axis % len(_shape(x)) == len(_shape(x)) - 1 else None


def _sliced(x: Node, axis: int = 0, start: int | None = None, end: Any = None, step: int = 1) -> Described | None:
    side = _shape(x)[axis]
    first = max(0, (start or 0) + (side if (start or 0) < 0 else 0))
    return {"op": "slice", "in": [x], "axis": axis % len(_shape(x)), "start": first} if step == 1 else None


def _joined(values: Sequence[Any], axis: int = 0) -> Described:
    return {"op": "cat", "in": [*values], "axis": axis}


def _reshaped(x: Node, *_: Any, **options: Any) -> Described:
    return {"op": "reshape", "in": [x]}


_KINDS: dict[Any, Callable[..., Described | None]] = {
    **{getattr(aten, name).default: _unary(name) for name in
       ("relu", "tanh", "sigmoid", "sin", "cos", "rsqrt", "sqrt", "exp", "neg", "abs", "reciprocal")},
    **{getattr(aten, name).Tensor: _binary(name) for name in ("add", "sub", "mul", "div", "eq")},
    **{getattr(aten, name).Scalar: _binary(name) for name in ("add", "sub", "mul", "div", "eq")},
    **{reshaping: _reshaped for reshaping in (
        aten.view.default, aten.unsqueeze.default, aten.squeeze.dims, aten.clone.default, aten._to_copy.default,
        aten.alias.default)},
    aten.leaky_relu.default: lambda x, slope=0.01: {"op": "leaky_relu", "in": [x], "slope": slope},
    aten.pow.Tensor_Scalar: _binary("pow"),
    aten.mean.dim: _reduced("mean"),
    aten.sum.dim_IntList: _reduced("sum"),
    aten.amax.default: _reduced("max"),
    aten._softmax.default: _softmax,
    aten.mm.default: lambda a, b: {"op": "matmul", "in": [a, b]},
    aten.bmm.default: lambda a, b: {"op": "matmul", "in": [a, b]},
    aten.addmm.default: lambda c, a, b: {"op": "matmul", "in": [a, b, c]},
    aten.convolution.default: _convolution,
    aten.embedding.default: lambda weight, index, *_: {"op": "embedding", "in": [weight, index]},
    aten.permute.default: lambda x, axes: {"op": "permute", "in": [x], "axes": [*axes]},
    aten.expand.default: lambda x, sizes, **_: {"op": "expand", "in": [x]},
    aten.slice.Tensor: _sliced,
    aten.cat.default: _joined,
    aten.upsample_bilinear2d.vec: _upsampled("bilinear"),
    aten.upsample_nearest2d.vec: _upsampled("nearest"),
}  # fmt: skip
