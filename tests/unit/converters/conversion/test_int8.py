"""Quantisation: what it needs to know, and what becomes of an attempt that misses its gate."""

import numpy as np
import onnx
import pytest

from edgectl_protos.domain.errors import ParityError, RouteError


def frames_graph(divisor):
    """Means of the channels of frames [1, 3, 8, 8] of floats, divided first where there is a divisor."""
    tensor, f = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    nodes = [onnx.helper.make_node("Div" if divisor else "Add", ["frame", "k"], ["scaled"])]
    nodes.append(onnx.helper.make_node("Conv", ["scaled", "w"], ["map"]))
    nodes.append(onnx.helper.make_node("GlobalAveragePool", ["map"], ["pooled"]))
    nodes.append(onnx.helper.make_node("Flatten", ["pooled"], ["action"]))
    weights = np.random.default_rng(0).normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
    values = [onnx.numpy_helper.from_array(np.float32(divisor or 0), "k"), onnx.numpy_helper.from_array(weights, "w")]
    ports = [tensor("frame", f, [1, 3, 8, 8])], [tensor("action", f, [1, 4])]
    graph = onnx.helper.make_graph(nodes, "g", *ports, values)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)


def test_int8_is_refused_where_nothing_shows_how_bright_frames_are(convert_graph):
    assert convert_graph(frames_graph(255), scheme="int8").manifest.golden.inputs_kind == "synthetic"
    found = convert_graph(frames_graph(0))
    assert found.manifest.golden.inputs_kind == "synthetic, unproved range"
    with pytest.raises(RouteError, match="frame takes frames of float32, and nothing shows in which range") as caught:
        convert_graph(frames_graph(0), scheme="int8")
    assert "frame.npy" in caught.value.hint


def four_products(outliers):
    """Four products, the last `outliers` of which see one feature that is a thousand times wider, and unused."""
    rng = np.random.default_rng(3)
    weights = [rng.normal(0, 1, (8, 4)).astype(np.float32) for _ in range(4)]
    wide = np.array([1000.0] + [1.0] * 7, np.float32)
    # Golden cases may go beyond what the calibration saw: not behind a tanh.
    nodes = [onnx.helper.make_node("Tanh", ["x"], ["t"]), onnx.helper.make_node("Mul", ["t", "wide"], ["h"])]
    for index, matrix in enumerate(weights):
        seen = "h" if index >= 4 - outliers else "t"
        matrix[0] *= seen == "t"
        nodes.append(onnx.helper.make_node("MatMul", [seen, f"w{index}"], [f"p{index}"]))
    nodes.append(onnx.helper.make_node("Sum", [f"p{index}" for index in range(4)], ["y"]))
    constants = [onnx.numpy_helper.from_array(matrix, f"w{index}") for index, matrix in enumerate(weights)]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])],
        [*constants, onnx.numpy_helper.from_array(wide, "wide")],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def test_int8_that_misses_its_gate_is_mended_by_keeping_the_layer_that_loses_most(convert_graph):
    said = []
    result = convert_graph(four_products(1), scheme="int8", say=said.append)
    built = next(tool for tool in result.manifest.provenance.tools if tool.name.startswith("build"))
    assert built.options["variant"] == "keep-5"
    assert built.options["kept_in_fp32"] == "1 of 4 layers: w3"
    assert [text.split(" ")[0] for text in said if "did not pass" in text] == ["default", "convolutions"]
    assert any(gate.gate == "precision" and "int8" in gate.note for gate in result.manifest.gates)


def test_int8_that_cannot_be_mended_is_refused_with_what_the_nearest_was_off_by(convert_graph):
    complaint = r"none of default, .* passed the gate; the nearest, keep-\d+: executed: .* in y\["
    with pytest.raises(ParityError, match=complaint) as refused:
        convert_graph(four_products(4), scheme="int8")
    assert refused.value.hint
