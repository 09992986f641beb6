from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from contracts.target import TargetContract, convolution_graph, frames, run
from edgectl_protos.domain.errors import OperatorError, PrecisionError


def gemm_graph():
    """The convolutional graph with a second matrix, which is cut out of another, turned, and has a bias."""
    model = convolution_graph()
    rng = np.random.default_rng(3)
    for name, values in (
        ("both", rng.normal(0, 0.5, (7, 4)).astype(np.float32)),
        ("sizes", np.array([4, 3], np.int64)),
        ("bias", rng.normal(0, 0.5, 4).astype(np.float32)),
    ):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    model.graph.node[3].output[0] = "p"
    nodes = [
        helper.make_node("Split", ["both", "sizes"], ["one", "other"], axis=0),
        helper.make_node("Gemm", ["p", "one", "bias"], ["y"], transB=1),
    ]
    model.graph.node.extend(nodes)
    return model


class TestOnnxRuntimeTarget(TargetContract):
    target_name = "onnxrt"
    schemes = ("fp32", "fp16", "int8", "w4g32/a32")

    def test_four_bit_weights_compute_in_fp32_and_are_counted(self, chosen, tmp_path):
        graph = self.save(gemm_graph(), tmp_path)
        exact = self.build(chosen, graph, tmp_path / "exact", "fp32")
        _, there = run(chosen, exact, tmp_path / "exact", "fp32", frames(4))
        for variant in chosen.variants("w4g32/a32"):
            built = self.build(chosen, graph, tmp_path / variant, "w4g32/a32", variant)
            precision, here = run(chosen, built, tmp_path / variant, "w4g32/a32", frames(4))
            assert precision == "fp32"
            assert 0 < np.abs(here - there).max() < 0.1 * np.ptp(there)
            left = chosen.needs_ranking(variant)
            assert ("kept_in_fp32" in built.settings) == left
            assert [(gate.gate, gate.value) for gate in built.gates] == [("weights", 1.0 if left else 2.0)]

    def test_a_graph_without_matrices_has_no_four_bit_weights(self, chosen, tmp_path):
        model = convolution_graph()
        model.graph.node[3].input[1] = "m"
        del model.graph.initializer[1]
        with pytest.raises(PrecisionError, match="0 of 0 products"):
            self.build(chosen, self.save(model, tmp_path), tmp_path / "out", "w4g32/a32")

    def test_fp16_is_stored_in_halves_and_the_board_says_on_which_provider(self, chosen, tmp_path):
        graph = self.save(convolution_graph(), tmp_path)
        self.options = {"provider": "CUDAExecutionProvider"}
        built = self.build(chosen, graph, tmp_path / "out", "fp16")
        assert built.options == self.options
        model = onnx.load(str(tmp_path / "out" / "model.onnx"))
        kinds = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1}
        assert kinds == {onnx.TensorProto.FLOAT16}
        assert {port.type.tensor_type.elem_type for port in (*model.graph.input, *model.graph.output)} == {
            onnx.TensorProto.FLOAT
        }
        self.options = {}
        here = self.build(chosen, graph, tmp_path / "here", "fp16")
        with pytest.raises(PrecisionError, match="fp16 was asked for"):
            run(chosen, here, tmp_path / "here", "fp16", frames(1))

    def test_a_graph_of_an_old_opset_is_raised_to_one_that_quantizes_per_channel(self, chosen, tmp_path):
        model = convolution_graph()
        model.opset_import[0].version = 11
        mean = model.graph.node[2]
        del mean.input[1], model.graph.initializer[2]
        mean.attribute.append(helper.make_attribute("axes", [2, 3]))
        graph = self.save(model, tmp_path)
        self.build(chosen, graph, tmp_path / "out", "int8")
        built = onnx.load(str(tmp_path / "out" / "model.onnx"))
        onnx.checker.check_model(built)
        assert next(entry.version for entry in built.opset_import if entry.domain == "") >= 13

    def test_an_old_graph_that_cannot_be_raised_is_refused(self, chosen, tmp_path):
        model = convolution_graph()
        model.opset_import[0].version = 8
        model.graph.node[1].op_type = "Upsample"
        model.graph.node[1].input.append("axes")
        graph = self.save(model, tmp_path)
        with pytest.raises(OperatorError, match="opset 13"):
            self.build(chosen, graph, tmp_path / "out", "int8")
