"""Any ONNX graph becomes a bundle."""

import numpy as np
import onnx
import pytest

from edgectl_converters.bundle import read_bundle
from edgectl_converters.targets.registry import target
from edgectl_protos.domain.errors import RouteError
from edgectl_testkit.bundles import tiny_graph


@pytest.mark.parametrize("runtime", ["reference", "onnxrt", "openvino"])
def test_any_onnx_graph_becomes_a_bundle(convert_graph, runtime):
    manifest, _ = read_bundle(convert_graph(tiny_graph(), runtime).bundle_dir)
    assert manifest.provenance.source == "onnx"
    assert manifest.golden is not None
    assert manifest.golden.count == 8
    assert all(gate.passed for gate in manifest.gates)


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        (("pred", "action"), [5]),
        (("pred", "action"), [1, 5]),
        (("action", "other"), [3, 2]),
        (("action", "other"), [1, 4, 2]),
        (("y", "z"), [2, 4, 2]),
    ],
)
def test_outputs_of_any_name_and_rank_pass_on_the_device(convert_graph, shape, names):
    nodes = [onnx.helper.make_node("Neg", ["x"], [names[0]]), onnx.helper.make_node("Abs", ["x"], [names[1]])]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", *names)]
    graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:])
    opsets = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    result = convert_graph(model, shapes={"x": tuple(shape)})
    assert result.manifest.components[0].inputs[0].shape == tuple(shape)
    assert result.manifest.program.action == names[0]
    assert {gate.subject for gate in result.manifest.gates} >= {"policy", "executed", names[1]}


@pytest.mark.parametrize("runtime", ["onnxrt", "openvino"])
def test_a_state_is_fed_back_in_every_runtime(convert_graph, runtime):
    helper = onnx.helper
    nodes = [helper.make_node("Add", ["obs", "h_in"], ["s"]), helper.make_node("Tanh", ["s"], ["h_out"])]
    nodes.append(helper.make_node("Neg", ["h_out"], ["action"]))
    values = {
        name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3])
        for name in ("obs", "h_in", "action", "h_out")
    }
    graph = helper.make_graph(nodes, "g", [values["obs"], values["h_in"]], [values["action"], values["h_out"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    manifest = convert_graph(model, runtime).manifest
    assert manifest.program.states == ("h_out",)
    assert {gate.subject for gate in manifest.gates if gate.gate.startswith("parity")} >= {"executed", "h_out"}
    assert all(gate.passed for gate in manifest.gates)


def halves() -> onnx.ModelProto:
    helper = onnx.helper
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT16, [1, 8]) for name in ("x", "y")]
    weights = onnx.numpy_helper.from_array(np.linspace(-1, 1, 64).reshape(8, 8).astype(np.float16), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", values[:1], values[1:], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_a_graph_of_halves_is_judged_as_such(convert_graph):
    manifest = convert_graph(halves()).manifest
    (component,) = manifest.components
    assert (component.scheme, component.tolerance) == ("fp32", target("onnxrt").tolerance("fp16"))


def test_a_graph_that_is_something_already_is_built_in_nothing_else(convert_graph):
    with pytest.raises(RouteError, match="fp16 already and is taken as it is"):
        convert_graph(halves(), scheme="int8")
