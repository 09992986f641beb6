from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgectl_converters.targets.onnx_blocks import matrices, pack, to_blocks


def unpacked(blocks, scales, depth):
    levels = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*blocks.shape[:2], -1)
    values = (levels.astype(np.float32) - 8) * scales[:, :, None]
    return values.reshape(len(blocks), -1)[:, :depth]


@pytest.mark.parametrize("depth", [32, 50, 7])
def test_weights_come_back_within_half_a_step_of_their_block_and_the_largest_exactly(depth):
    columns = np.random.default_rng(0).normal(0, 1, (5, depth)).astype(np.float32)
    columns[2] = 0
    blocks, scales = pack(columns)
    assert (blocks.shape, blocks.dtype) == ((5, -(-depth // 32), 16), np.uint8)
    back = unpacked(blocks, scales, depth)
    step = np.repeat(np.abs(scales), 32, axis=1)[:, :depth]
    # Seven is the largest step on the other side: what would be eight is a whole one off.
    assert (np.abs(back - columns) <= 1.0001 * step).all()
    assert (np.abs(back - columns) <= 0.5001 * step).mean() > 0.9
    largest = np.abs(columns[:, :32]).argmax(axis=1)
    np.testing.assert_allclose(back[range(5), largest], columns[range(5), largest], rtol=1e-6)


def graph(nodes, constants):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 40]) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    made = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_only_products_with_whole_constant_matrices_are_taken_and_the_model_is_left_alone():
    square = np.random.default_rng(1).normal(0, 1, (40, 40)).astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], alpha=0.5),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("Gemm", ["b", "w"], ["c"], transB=1),
        helper.make_node("MatMul", ["c", "v"], ["y"]),
    ]
    model = graph(nodes, {"w": square, "v": square})
    before = model.SerializeToString(deterministic=True)
    assert matrices(model) == {"w": ["b", "c"], "v": ["y"]}
    made = to_blocks(model, ["w"])
    assert model.SerializeToString(deterministic=True) == before
    assert [node.op_type for node in made.graph.node] == ["Gemm", "MatMulNBits", "MatMulNBits", "MatMul"]
    assert {name for node in made.graph.node[1:3] for name in node.input} >= {"w.rows.blocks", "w.columns.scales"}
    assert {"w", "v"} < {tensor.name for tensor in made.graph.initializer}
    onnx.checker.check_model(to_blocks(model, ["v"]))
