"""The provider comes from its toolchain; what it makes runs on its simulator."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from contracts.target import OUTPUTS, TargetContract, convolution_graph, frames, ignore, run
from edgectl_converters.targets.base import BuildRequest
from edgectl_converters.targets.qnn import divide
from edgectl_converters.targets.registry import target
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import OperatorError, RouteError
from edgectl_testkit.toolchains import packages_of

BOARD = {"soc_id": "57", "htp_arch": "v75"}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> None:
    # At the end, so that nothing else comes from there.
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages_of("qnn"))])


@pytest.mark.usefixtures("provider")
class TestQnnTarget(TargetContract):
    target_name = "qnn"
    schemes = ("w8a8", "w8a16")
    plain = "w8a16"
    near = 0.02
    options = BOARD

    def test_it_says_what_it_was_made_for_and_of_what(self, chosen, tmp_path):
        graph = self.save(convolution_graph(), tmp_path)
        built = self.build(chosen, graph, tmp_path / "out", "w8a16")
        assert built.options["compatibility"].split(":")[4:6] == ["75", "57"]
        assert (built.options["soc_id"], built.options["htp_arch"]) == ("57", "75")
        assert [gate.note for gate in built.gates] == [
            "one context holds every operator",
            "with weights: 2 in int16",
        ]
        assert built.settings["calibration_calls"] == "4"

    def test_eight_bits_compute_in_eight_bits(self, chosen, tmp_path):
        graph = self.save(convolution_graph(), tmp_path)
        built = self.build(chosen, graph, tmp_path / "out", "w8a8")
        precision, found = run(chosen, built, tmp_path / "out", "w8a8", frames(4))
        finer = self.build(chosen, graph, tmp_path / "finer", "w8a16")
        _, there = run(chosen, finer, tmp_path / "finer", "w8a16", frames(4))
        assert (precision, built.gates[1].note) == ("int8", "with weights: 2 in int8")
        assert 0 < np.abs(found - there).max() < 0.1 * np.abs(there).max()

    def test_another_soc_is_another_context(self, chosen, tmp_path):
        graph = self.save(convolution_graph(), tmp_path)
        one = self.build(chosen, graph, tmp_path / "one", "w8a16")
        self.options = {"soc_id": "69", "htp_arch": "v79"}
        other = self.build(chosen, graph, tmp_path / "other", "w8a16")
        assert other.options["compatibility"].split(":")[4:6] == ["79", "69"]
        assert other.options["context_sha256"] != one.options["context_sha256"]

    def test_what_the_processor_does_not_take_is_named_and_left_to_no_cpu(self, chosen, tmp_path):
        model = convolution_graph()
        nodes = [
            helper.make_node("Reshape", ["c", "square"], ["s"]),
            helper.make_node("Det", ["s"], ["d"]),
            helper.make_node("Unsqueeze", ["d", "two"], ["u"]),
            helper.make_node("Mul", ["r", "u"], ["scaled"]),
        ]
        model.graph.node[2].input[0] = "scaled"
        for index, node in enumerate(nodes):
            model.graph.node.insert(2 + index, node)
        for name, values in (("square", [1, 8, 16, 16]), ("two", [2, 3])):
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
        graph = self.save(model, tmp_path)
        with pytest.raises(OperatorError, match=r"does not take .*Det"):
            self.build(chosen, graph, tmp_path / "out", "w8a16")

    def test_a_normalisation_of_layers_is_in_the_context(self, chosen, tmp_path):
        model = convolution_graph()
        for name, values in (("gain", np.linspace(0.5, 2, 8)), ("shift", np.linspace(-1, 1, 8))):
            model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
        model.graph.node[3].input[0] = "n"
        model.graph.node.insert(3, helper.make_node("LayerNormalization", ["m", "gain", "shift"], ["n"], axis=-1))
        for scheme in chosen.schemes:
            built = self.build(chosen, self.save(model, tmp_path), tmp_path / scheme, scheme)
            assert built.gates[0].gate == "placement"

    def test_a_product_with_a_reciprocal_is_right_as_a_division(self, chosen, tmp_path):
        graph = self.save(normalised(), tmp_path)
        built = self.build(chosen, graph, tmp_path / "out", "w8a16")
        _, found = run(chosen, built, tmp_path / "out", "w8a16", frames(4))
        expected = self.build(target("reference"), graph, tmp_path / "expected", "fp32")
        _, there = run(target("reference"), expected, tmp_path / "expected", "fp32", frames(4))
        assert built.settings["reciprocals"] == "1 written as divisions"
        assert np.corrcoef(found.ravel(), there.ravel())[0, 1] > 0.999


def normalised() -> Any:
    """The convolutional graph, its means divided by their root mean square as language models write it."""
    model = convolution_graph()
    nodes = [
        helper.make_node("Mul", ["m", "m"], ["square"]),
        helper.make_node("ReduceMean", ["square", "last"], ["power"], keepdims=1),
        helper.make_node("Sqrt", ["power"], ["root"]),
        helper.make_node("Reciprocal", ["root"], ["inverse"]),
        helper.make_node("Mul", ["inverse", "m"], ["n"]),
    ]
    model.graph.node[3].input[0] = "n"
    for index, node in enumerate(nodes):
        model.graph.node.insert(3 + index, node)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "last"))
    return model


def test_reciprocals_that_are_used_otherwise_stay():
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "s", "y", "z")]
    nodes = [
        helper.make_node("Reciprocal", ["s"], ["r"]),
        helper.make_node("Mul", ["r", "x"], ["y"]),
        helper.make_node("Add", ["r", "x"], ["z"]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", ports[:2], ports[2:]))
    assert divide(model) == 1
    assert [(node.op_type, list(node.input)) for node in model.graph.node] == [
        ("Reciprocal", ["s"]),
        ("Div", ["x", "s"]),
        ("Add", ["r", "x"]),
    ]
    del model.graph.node[2], model.graph.output[1]
    model.graph.node[1].CopyFrom(nodes[1])
    assert divide(model) == 1
    assert [node.op_type for node in model.graph.node] == ["Div"]


@pytest.mark.parametrize(
    ("shape", "options", "complaint"),
    [
        ((1, 3, -1, 16), BOARD, "fixed shapes"),
        ((1, 3, 16, 16), {}, "does not say soc_id"),
        ((1, 3, 16, 16), {"soc_id": "57"}, "does not say soc_id and htp_arch"),
    ],
)
def test_a_build_without_a_board_or_fixed_shapes_is_refused(shape, options, complaint, tmp_path):
    spec = TensorSpec("x", DType.FLOAT32, shape)
    request = BuildRequest("qnn", "c", "onnx", "", (spec,), OUTPUTS, "w8a8", "default", "", str(tmp_path), (), options)
    with pytest.raises(RouteError, match=complaint):
        target("qnn").build(request, ignore)
