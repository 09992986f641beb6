"""The graph by which the rate of a machine is measured: large matrix products in a row, and next to nothing else."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_products"]

_ROWS, _WIDTH, _LAYERS, _SUMS = 512, 1024, 6, 4
_SEED = 0


def write_products(path: Path) -> Path:
    """Write the graph: six products of [512, 1024] by [1024, 1024] in float32, then a mean over the rows, of which
    four sums are the output [4]. So few are seldom all near 0, where rounding would be all that is left of them.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(_SEED)
    weights = [
        # The deviation of what passes stays about 1, as far as it is rounded.
        numpy_helper.from_array(rng.normal(0, _WIDTH**-0.5, (_WIDTH, _WIDTH)).astype(np.float32), f"w{layer}")
        for layer in range(_LAYERS)
    ]
    nodes = [helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"x{layer + 1}"]) for layer in range(_LAYERS)]
    nodes.append(helper.make_node("ReduceMean", [f"x{_LAYERS}", "axes"], ["mean"], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["mean", "sums"], ["out"]))
    sums = rng.normal(0, 1, (_WIDTH, _SUMS)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, [_ROWS, _WIDTH])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [_SUMS])],
        [*weights, numpy_helper.from_array(sums, "sums"), numpy_helper.from_array(np.array([0]), "axes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path
