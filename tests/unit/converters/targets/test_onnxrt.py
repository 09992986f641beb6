from __future__ import annotations

import onnx
import pytest
from onnx import helper

from contracts.target import TargetContract, convolution_graph
from edgectl_protos.domain.errors import OperatorError


class TestOnnxRuntimeTarget(TargetContract):
    target_name = "onnxrt"
    schemes = ("fp32", "int8")

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
