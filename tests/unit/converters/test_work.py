from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgectl_converters.work import count
from edgectl_protos.domain.roofline import Work


def write(folder, nodes, inputs, outputs, constants=(), functions=()):
    def port(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "work",
        [port(*one) for one in inputs],
        [port(*one) for one in outputs],
        [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in constants],
    )
    imports = [helper.make_opsetid("", 20), *([helper.make_opsetid("own", 1)] if functions else [])]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10, functions=list(functions))
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def test_a_product_is_two_operations_an_element_and_inner_index(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = write(tmp_path, nodes, [("x", [3, 8, 16])], [("y", [3, 8, 4])], [("w", (16, 4))])
    assert count(path) == Work(2 * 3 * 8 * 4 * 16, 64, 4 * (3 * 8 * 16 + 3 * 8 * 4))


def test_a_transposed_gemm_counts_its_inner_dimension(tmp_path):
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], transA=1)]
    path = write(tmp_path, nodes, [("x", [16, 3])], [("y", [3, 4])], [("w", (16, 4))])
    found = count(path)
    assert found is not None
    assert found.operations == 2 * 3 * 4 * 16


@pytest.mark.parametrize("group", [1, 4])
def test_a_convolution_counts_the_channels_of_its_group(tmp_path, group):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], group=group, pads=[1, 1, 1, 1])]
    path = write(tmp_path, nodes, [("x", [1, 8, 10, 10])], [("y", [1, 12, 10, 10])], [("w", (12, 8 // group, 3, 3))])
    found = count(path)
    assert found is not None
    assert found.operations == 2 * 12 * 100 * (8 // group) * 9


def test_a_transposed_convolution_counts_from_what_enters(tmp_path):
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])]
    path = write(tmp_path, nodes, [("x", [1, 8, 5, 5])], [("y", [1, 6, 10, 10])], [("w", (8, 6, 2, 2))])
    found = count(path)
    assert found is not None
    assert found.operations == 2 * 8 * 25 * 6 * 4


def test_shapes_between_are_inferred_and_functions_opened(tmp_path):
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    function = helper.make_function("own", "Product", ["a", "b"], ["c"], body, [helper.make_opsetid("", 20)])
    nodes = [
        helper.make_node("Product", ["x", "w"], ["h"], domain="own"),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]
    constants = [("w", (16, 32)), ("v", (32, 4))]
    found = count(write(tmp_path, nodes, [("x", [2, 16])], [("y", [2, 4])], constants, [function]))
    assert found is not None
    assert found.operations == 2 * 2 * 32 * 16 + 2 * 2 * 4 * 32


def test_a_product_of_unknown_shape_is_no_count(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    assert count(write(tmp_path, nodes, [("x", ["rows", 16])], [("y", ["rows", 4])], [("w", (16, 4))])) is None


def test_weights_beside_the_graph_are_counted_and_not_read(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = write(tmp_path, nodes, [("x", [8, 64])], [("y", [8, 64])], [("w", (64, 64))])
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=16)
    (tmp_path / "weights").unlink()
    assert count(path) == Work(2 * 8 * 64 * 64, 4096, 4 * 2 * 8 * 64)
