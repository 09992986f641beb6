from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgectl_converters.sources.frame_ranges import golden_ranges, golden_spread, graph_ranges


def graph(*nodes, shape=(1, 3, 8, 8), **constants):
    """A chain of (operator, inputs after the first, attributes) over the input `frame`."""
    made, last = [], "frame"
    for index, (kind, others, attributes) in enumerate(nodes):
        made.append(helper.make_node(kind, [last, *others], [f"t{index}"], **attributes))
        last = f"t{index}"
    values = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()]
    frame = helper.make_tensor_value_info("frame", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info(last, TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph(made, "g", [frame], [out], values))


MOVED = [("Transpose", [], {"perm": [0, 2, 3, 1]}), ("Cast", [], {"to": 1})]
IMAGENET = np.reshape([0.485, 0.456, 0.406], (1, 3, 1, 1))


@pytest.mark.parametrize(
    ("nodes", "constants", "expected"),
    [
        ([*MOVED, ("Div", ["k"], {})], {"k": 255}, (0, 255)),
        ([("Mul", ["k"], {})], {"k": 1 / 255}, (0, 255)),
        ([("Div", ["k"], {}), ("Sub", ["one"], {})], {"k": 127.5, "one": 1}, (0, 255)),
        ([("Sub", ["m"], {})], {"m": IMAGENET * 255}, (0, 255)),
        ([("Sub", ["m"], {})], {"m": IMAGENET}, (0, 1)),
        ([("Clip", ["low", "high"], {})], {"low": -1, "high": 1}, (-1, 1)),
        ([("Relu", [], {})], {}, None),
        ([("Mul", ["k"], {})], {"k": 2}, None),
        ([("Mul", ["k"], {})], {"k": 0}, None),
        ([("Sub", ["m"], {})], {"m": np.zeros(0)}, None),
        ([("Div", ["elsewhere"], {})], {}, None),
    ],
)
def test_the_first_nodes_show_the_range(nodes, constants, expected):
    assert graph_ranges(graph(*nodes, **constants)) == ({} if expected is None else {"frame": expected})


def test_a_constant_may_be_a_node():
    model = graph(("Div", ["k"], {}))
    value = numpy_helper.from_array(np.float32(255))
    model.graph.node.insert(0, helper.make_node("Constant", [], ["k"], value=value))
    assert graph_ranges(model) == {"frame": (0, 255)}


def test_golden_data_show_ranges_and_spreads(tmp_path):
    file = tmp_path / "g.npz"
    frames = np.linspace(-1, 1, 4 * 3 * 8 * 8, dtype=np.float32).reshape(4, 3, 8, 8)
    state = np.float32([[0, 5], [2, 5]]).repeat(2, axis=0)
    np.savez(file, **{"in.frame": frames, "in.state": state, "in.same": np.ones((4, 1)), "out.action": state})
    assert golden_ranges(file) == {"frame": (-1, 1), "state": (0, 5)}
    spread = golden_spread(file)
    assert spread["state"] == ((1.0, 5.0), (1.0, 0.0))
    assert set(spread) == {"frame", "state", "same"}


def test_golden_data_that_are_not_finite_or_of_one_case_show_nothing(tmp_path):
    file = tmp_path / "g.npz"
    np.savez(file, **{"in.bad": np.float32([[np.inf], [0]]), "in.scalar": np.float32(1), "in.one": np.ones((1, 3))})
    assert golden_ranges(file) == {}
    assert golden_spread(file) == {}
