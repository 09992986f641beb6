from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgectl_converters.targets.onnx_convolutions import fold_scales

RNG = np.random.default_rng(1)


def constant(name, *shape):
    return numpy_helper.from_array(RNG.normal(0, 0.5, shape).astype(np.float32), name)


def model(nodes, constants, outputs=("y",)):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, None, None]) for name in outputs]
    entering = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 6])
    graph = helper.make_graph(nodes, "g", [entering], ports, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def folded(before):
    """The folded model, which computes what the other does."""
    after = onnx.ModelProto()
    after.CopyFrom(before)
    fold_scales(after)
    onnx.checker.check_model(after)
    x = RNG.normal(0, 1, (1, 3, 6, 6)).astype(np.float32)
    for here, there in zip(
        ReferenceEvaluator(after).run(None, {"x": x}), ReferenceEvaluator(before).run(None, {"x": x}), strict=True
    ):
        np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-5)
    return after.graph


def kinds(graph):
    return [node.op_type for node in graph.node]


@pytest.mark.parametrize("bias", [(), ("bias",)])
def test_what_scales_and_shifts_the_channels_becomes_weights_and_bias(bias):
    nodes = [
        helper.make_node("Conv", ["x", "weight", *bias], ["a"]),
        helper.make_node("Mul", ["scale", "a"], ["b"]),
        helper.make_node("Add", ["b", "shift"], ["c"]),
        helper.make_node("Mul", ["c", "one"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    constants = [constant("weight", 4, 3, 3, 3), constant("bias", 4), constant("scale", 1, 4, 1, 1)]
    graph = folded(model(nodes, [*constants, constant("shift", 4, 1, 1), constant("one", 1, 1, 1, 1)]))
    assert kinds(graph) == ["Conv", "Relu"]
    assert len(graph.initializer) == 2


def test_convolutions_that_share_their_weights_share_the_folded_ones():
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["a"]),
        helper.make_node("Mul", ["a", "scale"], ["b"]),
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("Conv", ["n", "weight"], ["c"]),
        helper.make_node("Mul", ["c", "scale"], ["d"]),
        helper.make_node("Sub", ["b", "d"], ["y"]),
    ]
    graph = folded(model(nodes, [constant("weight", 4, 3, 3, 3), constant("scale", 4, 1, 1)]))
    assert kinds(graph) == ["Conv", "Neg", "Conv", "Sub"]
    assert len(graph.initializer) == 2
    assert graph.node[0].input[1:] == graph.node[2].input[1:]


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param([helper.make_node("Mul", ["a", "wide"], ["y"])], id="a constant that differs within a channel"),
        pytest.param([helper.make_node("Mul", ["a", "a"], ["y"])], id="a square"),
        pytest.param(
            [helper.make_node("Mul", ["a", "scale"], ["b"]), helper.make_node("Add", ["b", "a"], ["y"])],
            id="a result that another node reads",
        ),
    ],
)
def test_nothing_else_is_folded(nodes):
    convolution = helper.make_node("Conv", ["x", "weight"], ["a"])
    constants = [constant("weight", 4, 3, 3, 3), constant("scale", 4, 1, 1), constant("wide", 1, 4, 4, 4)]
    assert kinds(folded(model([convolution, *nodes], constants))) == ["Conv", *(node.op_type for node in nodes)]


def test_an_output_of_the_graph_stays():
    nodes = [helper.make_node("Conv", ["x", "weight"], ["a"]), helper.make_node("Mul", ["a", "scale"], ["y"])]
    graph = folded(model(nodes, [constant("weight", 4, 3, 3, 3), constant("scale", 4, 1, 1)], outputs=("a", "y")))
    assert kinds(graph) == ["Conv", "Mul"]
