"""What a graph is stored in already."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgectl_converters.sources.onnx_operators import stored_schemes
from edgectl_testkit.onnx_graphs import constant, graph, linear, quantised, value


@pytest.mark.parametrize("opset", [17, 20, 21])
def test_a_quantised_graph_is_int8_already(bench, opset):
    model = quantised(opset)
    assert bench.card(model).schemes == ("int8", "fp32")
    exported = bench.export(model)
    assert exported.components[0].stored == "int8"
    assert bench.golden["out.action"].any()


def test_a_graph_whose_weights_alone_are_quantised_computes_in_fp32(bench):
    model = quantised()
    del model.graph.node[:2]
    model.graph.node[1].input[0] = "obs"
    assert bench.card(model).schemes == ()


@pytest.mark.parametrize("operator", ["MatMulInteger", "QLinearMatMul", "ConvInteger"])
def test_a_graph_of_integer_operators_is_int8_already(operator):
    model = graph([helper.make_node(operator, ["x", "w"], ["y"])], [value("x", [1, 4])], [value("y", [1, 2])])
    assert stored_schemes(model) == ("int8", "fp32")
    model.graph.node.extend(helper.make_node("Gemm", ["y", "v"], [f"z{i}"]) for i in range(2))
    assert stored_schemes(model) == ()


def test_a_graph_of_halves_is_fp16_already(bench):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    half = TensorProto.FLOAT16
    model = graph(
        nodes, [value("x", [1, 4], half)], [value("y", [1, 2], half)], [constant("w", 4, 2, dtype=np.float16)]
    )
    assert bench.card(model).schemes == ("fp16", "fp32")
    assert bench.card(linear([value("x", [1, 4])], [value("y", [1, 2])])).schemes == ()
    without = graph([helper.make_node("Tanh", ["x"], ["y"])], [value("x", [1, 4], half)], [value("y", [1, 4], half)])
    assert bench.card(without).schemes == ("fp16", "fp32")
