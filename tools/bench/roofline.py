"""The floor under a policy on this machine: its operations, at the rate of the best large matrix product measured here.

A multiplication with its addition counts as two operations; matrix products, fully connected layers and convolutions
are counted, from the shapes of the graphs, each component as often as an inference runs it.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SIZE = (512, 1024, 1024)
_LAYERS = 6
_ROUNDS = 15


def operations(graph: Path) -> float:
    """Operations of one run of an ONNX graph with fixed shapes."""
    model = onnx.shape_inference.infer_shapes(onnx.load(str(graph)), data_prop=True)
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    shapes = {v.name: [dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in values}
    shapes |= {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    return sum(_operations_of(node, shapes) for node in model.graph.node)


def _operations_of(node: Any, shapes: dict[str, list[int]]) -> float:
    out = math.prod(shapes.get(node.output[0], [0]))
    if node.op_type == "MatMul":
        return 2.0 * out * shapes.get(node.input[0], [0])[-1]
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return 2.0 * out * shapes.get(node.input[0], [0, 0])[0 if transposed else -1]
    if node.op_type == "Conv":
        return 2.0 * out * math.prod(shapes.get(node.input[1], [0, 0])[1:])
    return 0.0


def measured_rate(hint: str, threads: int) -> float:
    """Operations a second of six large matrix products in a row, by OpenVINO at this precision."""
    import openvino

    rows, inner, columns = _SIZE
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for layer in range(_LAYERS):
        weights.append(numpy_helper.from_array(rng.normal(0, 0.03, (inner, columns)).astype(np.float32), f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"x{layer + 1}"]))
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, [rows, inner])],
        [helper.make_tensor_value_info(f"x{_LAYERS}", TensorProto.FLOAT, [rows, columns])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "products.onnx"
        onnx.save(model, str(path))
        options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        request = openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()
    feeds = {"x0": rng.normal(size=(rows, inner)).astype(np.float32)}
    times = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        request.infer(feeds)
        times.append(time.perf_counter() - started)
    return 2.0 * rows * inner * columns * _LAYERS / statistics.median(times[3:])
