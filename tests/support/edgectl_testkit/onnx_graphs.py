"""ONNX graphs as people bring them: shorthand for their parts, a camera's, a recurrent one's, a quantised one's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["camera", "constant", "graph", "gru", "linear", "quantised", "value"]

Shape = Sequence[int | str]


def value(name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """An input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, *shape: int, dtype: Any = np.float32) -> onnx.TensorProto:
    """Weights, the same for one name and shape."""
    seed = [len(shape), *shape, *name.encode()]
    return numpy_helper.from_array(np.random.default_rng(seed).normal(0, 0.3, shape).astype(dtype), name)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 20,
    ir: int = 10,
    opsets: Sequence[onnx.OperatorSetIdProto] = (),
) -> onnx.ModelProto:
    """A model of these, unchecked."""
    made = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset), *opsets], ir_version=ir)


def linear(
    inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto], *, opset: int = 20, ir: int = 10
) -> onnx.ModelProto:
    """x @ w + b, from the first input to the first output."""
    nodes = [helper.make_node("Gemm", [inputs[0].name, "w", "b"], [outputs[0].name])]
    return graph(nodes, inputs, outputs, [constant("w", 4, 2), constant("b", 2)], opset=opset, ir=ir)


def camera(shape: Shape) -> onnx.ModelProto:
    """Frames of this shape to an action, by the mean of each channel."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["p"]),
        helper.make_node("Flatten", ["p"], ["q"]),
        helper.make_node("Gemm", ["q", "w", "b"], ["action"]),
    ]
    constants = [constant("w", 3, 2), constant("b", 2)]
    return graph(nodes, [value("images", shape)], [value("action", [shape[0], 2])], constants)


def gru() -> onnx.ModelProto:
    """An observation and a hidden state to an action and the next hidden state."""
    nodes = [
        helper.make_node("Concat", ["obs", "h_in"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "w"], ["m"]),
        helper.make_node("Tanh", ["m"], ["h_out"]),
        helper.make_node("MatMul", ["h_out", "v"], ["action"]),
    ]
    inputs, outputs = [value("obs", [1, 4]), value("h_in", [1, 3])], [value("action", [1, 2]), value("h_out", [1, 3])]
    return graph(nodes, inputs, outputs, [constant("w", 7, 3), constant("v", 3, 2)])


def quantised(opset: int = 20) -> onnx.ModelProto:
    """One matrix product, with quantisation on both sides."""
    scalars = {"s": np.float32(0.03), "z": np.uint8(128), "ws": np.float32(0.01), "wz": np.int8(0)}
    integers = np.random.default_rng(5).integers(-127, 127, (4, 2)).astype(np.int8)
    constants = [numpy_helper.from_array(integers, "wq")]
    constants += [numpy_helper.from_array(np.array(number), name) for name, number in scalars.items()]
    nodes = [
        helper.make_node("QuantizeLinear", ["obs", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["w"]),
        helper.make_node("MatMul", ["d", "w"], ["action"]),
    ]
    return graph(nodes, [value("obs", [1, 4])], [value("action", [1, 2])], constants, opset=opset)
