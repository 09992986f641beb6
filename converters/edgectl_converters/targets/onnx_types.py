"""Writes the types of a graph's arithmetic into it: what carries weight in half precision, between casts.

For builders that take precision from the graph alone. Convolutions and products are in the half type, and what only
moves, activates or adds up their results follows them; norms, softmax, reductions, powers, trigonometry and everything
before the first product stay in fp32. Ports stay as they are. The converters that there are make fp16 only, by lists of
operators to leave out, or bring torch along; this one makes both half types, by a list of operators to take in.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_converters.targets.onnx_constants import fold_constants
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import BundleCorruptError, OperatorError, RouteError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["HALVES", "check_pairs", "check_ports", "halve", "heavy_nodes", "name_nodes", "read_fixed"]

HALVES = {"fp16": "FLOAT16", "bf16": "BFLOAT16"}
"""Half types of ONNX by scheme."""

_HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN"})
_MOVES = frozenset(
    {
        *("Reshape", "Transpose", "Concat", "Split", "Slice", "Gather", "Squeeze", "Unsqueeze", "Expand", "Flatten"),
        *("Identity", "Tile", "DepthToSpace", "SpaceToDepth"),
    }
)
_FOLLOWS = frozenset(
    {
        *("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Erf", "Gelu"),
        *("Mish", "Swish", "Add", "Sub", "Mul", "Div", "Neg", "Sum", "Min", "Max", "Clip", "Where"),
        *("MaxPool", "AveragePool", "Resize", "Pad"),
        *_MOVES,
    }
)
_DATA_ONLY = frozenset({"Resize"})
"""Their first input alone is data: scales are fp32 in any precision."""
_TAKEN = frozenset({DType.FLOAT32, DType.FLOAT16, DType.INT8, DType.UINT8, DType.INT32, DType.INT64, DType.BOOL})


def check_ports(runtime: str, specs: Iterable[TensorSpec]) -> None:
    """Refuse ports that no engine has.

    Raises:
        RouteError: a shape is free, or the type is one that engines do not take.
    """
    for spec in specs:
        if -1 in spec.shape or spec.dtype not in _TAKEN:
            raise RouteError(
                f"{runtime} takes fixed shapes of {', '.join(sorted(d.value for d in _TAKEN))}; {spec.name!r} is "
                f"{spec.dtype.value}{list(spec.shape)}",
                hint="another runtime takes it: edgectl inspect CHECKPOINT",
            )


def check_pairs(runtime: str, model: Any) -> None:
    """Refuse a graph that was quantised in another way than engines take.

    Raises:
        OperatorError: a Q/DQ pair has unsigned or 16-bit activations, or a zero point.
    """
    import onnx
    from onnx import numpy_helper

    points = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
            continue
        point = points.get(node.input[2])
        if point is None:
            continue
        kind = onnx.TensorProto.DataType.Name(point.data_type).lower()
        if kind in ("uint8", "uint16", "int16", "int32") or numpy_helper.to_array(point).astype(float).any():
            raise OperatorError(
                f"{runtime} takes int8 without zero points; {node.op_type} of {node.input[0]!r} is {kind}",
                hint="quantise it symmetrically in int8, or let edgectl do it: --scheme int8 on the graph in fp32",
            )


def read_fixed(graph: Path, inputs: Iterable[TensorSpec]) -> Any:
    """An ONNX model, all its weights initializers, its inputs' shapes those of the manifest, and no work on bytes:
    frames are made float32 before anything else, since builders cast bytes and do nothing more.

    Raises:
        BundleCorruptError: it cannot be read.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(graph))
    except (OSError, DecodeError, ValueError) as exc:
        raise BundleCorruptError(f"{graph.name} is no ONNX graph: {exc}") from exc
    _hoist_constants(model.graph)
    fold_constants(model)
    shapes = {spec.name: spec.shape for spec in inputs}
    for port in model.graph.input:
        if port.name in shapes:
            dims = port.type.tensor_type.shape.dim
            del dims[:]
            for size in shapes[port.name]:
                dims.add().dim_value = size
    for port in model.graph.input:
        if port.type.tensor_type.elem_type == onnx.TensorProto.UINT8 and _only_moved(model.graph, port.name):
            for node in model.graph.node:
                node.input[:] = [f"{port.name}.float" if name == port.name else name for name in node.input]
            cast = onnx.helper.make_node("Cast", [port.name], [f"{port.name}.float"], to=onnx.TensorProto.FLOAT)
            model.graph.node.insert(0, cast)
            # What was inferred of the bytes says that they are some.
            del model.graph.value_info[:]
    return model


def _only_moved(graph: Any, name: str) -> bool:
    """Whether a tensor is moved about and then cast, and nothing else; one that is cast at once is as it should be."""
    moved = {name}
    if all(node.op_type == "Cast" for node in graph.node if name in node.input):
        return False
    for node in graph.node:
        if moved & set(node.input) and node.op_type != "Cast":
            if node.op_type not in _MOVES:
                return False
            moved |= set(node.output)
    return not moved & {port.name for port in graph.output}


def heavy_nodes(model: Any) -> list[Any]:
    """The nodes that carry weight."""
    return [node for node in model.graph.node if node.op_type in _HEAVY and node.domain in ("", "ai.onnx")]


def name_nodes(model: Any) -> None:
    """Name every node after its operator: a builder says by these names what became of it."""
    for at, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{at}"


def halve(model: Any, half: str) -> int:
    """Change a model in place: what carries weight computes in this type, FLOAT16 or BFLOAT16; how many nodes do.

    Raises:
        OperatorError: a graph inside the graph would read what is changed.
    """
    import onnx

    graph = model.graph
    for node in graph.node:
        if any(attribute.HasField("g") for attribute in node.attribute):
            raise OperatorError(
                f"{node.op_type} has a graph of its own, and types are not written into those",
                hint="export it without control flow, or convert with --scheme fp32",
            )
    types = _Types(graph, _floats(model), getattr(onnx.TensorProto, half))
    for node in list(graph.node):
        types.take(node)
    del graph.node[:]
    graph.node.extend(types.nodes)
    read = {name for node in graph.node for name in node.input} | {port.name for port in graph.output}
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    # It says what was.
    del graph.value_info[:]
    return types.count


class _Types:
    """Goes through the nodes in their order, which is one in which they can run, and writes the new ones."""

    def __init__(self, graph: Any, floats: set[str], half: int) -> None:
        self._half_type = half
        self._floats = floats
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._graph = graph
        self._outputs = {port.name for port in graph.output}
        self._half: set[str] = set()
        self._made: dict[tuple[str, bool], str] = {}
        self.nodes: list[Any] = []
        self.count = 0

    def take(self, node: Any) -> None:
        """Give a node inputs of its type, and say which type its outputs have."""
        known = node.domain in ("", "ai.onnx")
        heavy = known and node.op_type in _HEAVY
        computed = [name for name in node.input if name in self._floats and name not in self._weights]
        halved = heavy or (known and node.op_type in _FOLLOWS and any(name in self._half for name in computed))
        self.count += heavy
        for at, name in enumerate(node.input):
            if name in self._floats:
                node.input[at] = self._as(name, halved and (at == 0 or node.op_type not in _DATA_ONLY))
        self.nodes.append(node)
        if not halved:
            return
        for at, name in enumerate(node.output):
            if name not in self._floats:
                continue
            if name in self._outputs:
                # A port keeps its type.
                node.output[at] = self._made[name, True] = f"{name}.half"
                self._cast(f"{name}.half", name, 1)
            else:
                self._half.add(name)

    def _as(self, name: str, half: bool) -> str:
        if (name in self._half) == half:
            return name
        if (name, half) not in self._made:
            self._made[name, half] = made = f"{name}.{'half' if half else 'float'}"
            if name in self._weights:
                self._graph.initializer.append(_halved(self._weights[name], made, self._half_type))
            else:
                self._cast(name, made, self._half_type if half else 1)
        return self._made[name, half]

    def _cast(self, source: str, target: str, to: int) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node("Cast", [source], [target], to=to))


def _floats(model: Any) -> set[str]:
    """Names of all tensors of float32."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(_light(model)).graph
    ports = [*model.graph.input, *model.graph.output, *inferred.value_info]
    found = {port.name for port in ports if port.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    return found | {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}


def _light(model: Any) -> Any:
    """The model without its large weights, which inference does not read and a message of 2 GB cannot hold."""
    import onnx

    light = onnx.ModelProto()
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            light.graph.initializer.append(tensor)
    return light


def _hoist_constants(graph: Any) -> None:
    """Turn Constant nodes that hold a tensor into initializers: those are converted once, and within their range."""
    kept = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None) if node.op_type == "Constant" else None
        if value is None:
            kept.append(node)
            continue
        value.name = node.output[0]
        graph.initializer.append(value)
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)


def _halved(tensor: Any, name: str, half: int) -> Any:
    """A weight in the half type; what is beyond its range, as masks are, becomes the largest number that it has."""
    import ml_dtypes
    import numpy as np
    from onnx import TensorProto, numpy_helper

    values = numpy_helper.to_array(tensor)
    kind = np.dtype(np.float16) if half == TensorProto.FLOAT16 else np.dtype(ml_dtypes.bfloat16)
    largest = 65504.0 if half == TensorProto.FLOAT16 else 3.3895e38
    return numpy_helper.from_array(np.clip(values, -largest, largest).astype(kind), name)
