from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgectl_converters.targets.onnx_constants import fold_constants


def model_of(nodes, constants):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 3]) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    made = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_what_is_computed_from_constants_alone_is_a_constant():
    weights = np.arange(18, dtype=np.float32).reshape(6, 3)
    nodes = [
        helper.make_node("Split", ["w"], ["a", "b"], axis=0, num_outputs=2),
        helper.make_node("Transpose", ["b"], ["bt"], perm=[1, 0]),
        helper.make_node("MatMul", ["a", "bt"], ["c"]),
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0]),
        helper.make_node("MatMul", ["xt", "c"], ["z"]),
        helper.make_node("Add", ["z", "bt"], ["y"]),
    ]
    model = model_of(nodes, {"w": weights})
    fold_constants(model)
    assert [node.output[0] for node in model.graph.node] == ["xt", "z", "y"]
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert set(values) == {"bt", "c"}
    np.testing.assert_array_equal(values["bt"], weights[3:].T)
    np.testing.assert_allclose(values["c"], weights[:3] @ weights[3:].T)


def test_rounded_weights_stay_rounded():
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    constants = {"w": np.eye(3, dtype=np.float32), "scale": np.float32(0.1), "zero": np.int8(0)}
    model = model_of(nodes, constants)
    fold_constants(model)
    assert [node.op_type for node in model.graph.node] == ["QuantizeLinear", "DequantizeLinear", "MatMul"]


def test_a_graph_without_such_nodes_is_left_as_it_is():
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": np.eye(3, dtype=np.float32)})
    before = model.SerializeToString(deterministic=True)
    fold_constants(model)
    assert model.SerializeToString(deterministic=True) == before
