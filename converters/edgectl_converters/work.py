"""Counts the work of an exported graph, from its shapes alone: weights beside it are not read.

Counted are matrix products, fully connected layers and convolutions, quantised ones too; everything else takes little
of a policy's time. A graph with a loop, or with a product of unknown shape, is not counted at all: half of a count
would be a floor that is far too low.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgectl_protos.domain.roofline import Work

__all__ = ["count"]

# Where the left operand and the weights stand among a node's inputs.
_PRODUCTS = {"MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3)}
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_LOOPS = frozenset({"Loop", "Scan", "If"})


def count(graph: Path) -> Work | None:
    """The work of one run of an ONNX graph with fixed shapes; None where it cannot be told from the graph."""
    import onnx
    from onnx import helper, inliner

    model = onnx.load(str(graph), load_external_data=False)
    if model.functions:
        model = inliner.inline_local_functions(model)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = _shapes(inferred)
    operations = 0
    for node in inferred.node:
        found = _operations(node, shapes)
        if found is None:
            return None
        operations += found
    given = (attribute for node in inferred.node if node.op_type == "Constant" for attribute in node.attribute)
    constants = [attribute.t for attribute in given if attribute.HasField("t")]
    weights = sum(math.prod(tensor.dims) for tensor in (*inferred.initializer, *constants))
    initialised = {tensor.name for tensor in inferred.initializer}
    ports = [value for value in (*inferred.input, *inferred.output) if value.name not in initialised]
    sizes = [(shapes.get(value.name), value.type.tensor_type.elem_type) for value in ports]
    if any(shape is None or not kind for shape, kind in sizes):
        return None
    widths = [helper.tensor_dtype_to_np_dtype(kind).itemsize for _, kind in sizes]
    moved = sum(math.prod(shape or ()) * width for (shape, _), width in zip(sizes, widths, strict=True))
    return Work(operations, weights, moved)


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    """The shapes that are known to the last dimension, by name."""
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            found[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return found


def _operations(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Operations of a node: 0 of what is not counted, None where its shapes are not known."""
    if node.op_type in _LOOPS:
        return None
    if node.op_type in _PRODUCTS:
        left, out = shapes.get(node.input[_PRODUCTS[node.op_type][0]]), shapes.get(node.output[0])
        return None if not left or out is None else 2 * math.prod(out) * left[-1]
    if node.op_type == "Gemm":
        left, out = shapes.get(node.input[0]), shapes.get(node.output[0])
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return None if not left or out is None else 2 * math.prod(out) * left[0 if transposed else -1]
    if node.op_type in _CONVOLUTIONS:
        kernel, out = shapes.get(node.input[_CONVOLUTIONS[node.op_type]]), shapes.get(node.output[0])
        return None if not kernel or out is None else 2 * math.prod(out) * math.prod(kernel[1:])
    if node.op_type == "ConvTranspose":
        kernel, entering = shapes.get(node.input[1]), shapes.get(node.input[0])
        return None if not kernel or entering is None else 2 * math.prod(entering) * math.prod(kernel[1:])
    return 0
