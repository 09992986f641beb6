from __future__ import annotations

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper

from contracts.target import TargetContract
from edgectl_converters.targets.base import BuildRequest
from edgectl_converters.targets.openvino import OpenVinoTarget
from edgectl_protos.domain.artifact import DType, TensorSpec


class TestOpenVinoTarget(TargetContract):
    target_name = "openvino"
    schemes = ("fp32", "bf16", "int8")

    def test_an_operator_that_only_the_reader_of_bytes_knows_is_built(self, tmp_path):
        # As of 2026.4 the reader of files does not know this attribute.
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 5])
        label = helper.make_tensor_value_info("label", TensorProto.INT64, [3])
        loss = helper.make_tensor_value_info("loss", TensorProto.FLOAT, [])
        node = helper.make_node("NegativeLogLikelihoodLoss", ["x", "label"], ["loss"], ignore_index=0)
        graph = helper.make_graph([node], "loss", [x, label], [loss])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, tmp_path / "loss.onnx")
        request = BuildRequest(
            runtime="openvino",
            component="loss",
            form="onnx",
            graph=str(tmp_path / "loss.onnx"),
            inputs=(TensorSpec("x", DType.FLOAT32, (3, 5)), TensorSpec("label", DType.INT64, (3,))),
            outputs=(TensorSpec("loss", DType.FLOAT32, ()),),
            scheme="fp32",
            variant="default",
            calibration="",
            out=str(tmp_path),
        )
        built = OpenVinoTarget().build(request, lambda text: None)
        found = openvino.Core().compile_model(tmp_path / built.entry, "CPU")
        logs = np.arange(15, dtype=np.float32).reshape(3, 5)
        np.testing.assert_allclose(found({"x": logs, "label": np.array([1, 0, 4])})["loss"], -(1 + 14) / 2)
