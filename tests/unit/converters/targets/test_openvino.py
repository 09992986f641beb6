from __future__ import annotations

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper

from contracts.target import TargetContract, convolution_graph, frames, ignore, run
from edgectl_converters.targets.base import BuildRequest
from edgectl_converters.targets.openvino import OpenVinoTarget
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import PrecisionError, RouteError, RuntimeMissingError


def deepened(model):
    """The graph with two matrices of 64 rows more between its means and its last product, where it has that one."""
    rng = np.random.default_rng(3)
    last = next((node for node in model.graph.node if list(node.input) == ["m", "matrix"]), None)
    if last is not None:
        for name, shape in (("wide", (8, 64)), ("deep", (64, 64)), ("narrow", (64, 8))):
            values = rng.normal(0, 0.2, shape).astype(np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        nodes = [
            helper.make_node("MatMul", ["m", "wide"], ["m1"]),
            helper.make_node("MatMul", ["m1", "deep"], ["m2"]),
            helper.make_node("MatMul", ["m2", "narrow"], ["m3"]),
        ]
        last.input[0] = "m3"
        for index, node in enumerate(nodes):
            model.graph.node.insert(3 + index, node)
    return model


class TestOpenVinoTarget(TargetContract):
    target_name = "openvino"
    schemes = ("fp32", "bf16", "w16/a32", "int8", "w4g64/a32")

    def model(self):
        # Four-bit weights need a matrix as deep as a group of them.
        return deepened(super().model())

    @pytest.mark.parametrize("scheme", ["w16/a32", "w4g64/a32"])
    def test_small_weights_compute_in_fp32_and_are_counted(self, chosen, tmp_path, scheme):
        graph = self.save(self.model(), tmp_path)
        exact = self.build(chosen, graph, tmp_path / "exact", "fp32")
        _, there = run(chosen, exact, tmp_path / "exact", "fp32", frames(4))
        for variant in chosen.variants(scheme):
            built = self.build(chosen, graph, tmp_path / variant, scheme, variant)
            precision, here = run(chosen, built, tmp_path / variant, scheme, frames(4))
            assert precision == "fp32"
            assert 0 < np.abs(here - there).max() < (0.01 if scheme == "w16/a32" else 0.15) * np.ptp(there)
            (gate,) = built.gates
            left = chosen.needs_ranking(variant)
            assert ("kept_in_fp32" in built.settings) == left
            assert gate.value == (1.0 if scheme == "w16/a32" or left else 2.0)
            assert ("i4" in gate.note) == (scheme == "w4g64/a32")
        sizes = {path: path.with_suffix(".bin").stat().st_size for path in tmp_path.rglob("*.xml")}
        assert min(sizes.values()) < 0.6 * sizes[tmp_path / "exact" / "model.xml"]

    def test_a_graph_without_deep_matrices_has_no_four_bit_weights(self, chosen, tmp_path):
        graph = super().save(convolution_graph(), tmp_path)
        with pytest.raises(PrecisionError, match="0 of 0 products"):
            self.build(chosen, graph, tmp_path / "out", "w4g64/a32")

    def test_an_npu_takes_int8_of_fixed_shapes_and_the_device_is_told(self, chosen, tmp_path):
        graph = self.save(self.model(), tmp_path)
        self.options = {"device": "NPU"}
        built = self.build(chosen, graph, tmp_path / "int8", "int8")
        assert built.options == {"device": "NPU"}
        with pytest.raises(RouteError, match="not in fp32"):
            self.build(chosen, graph, tmp_path / "fp32", "fp32")
        free = BuildRequest("openvino", "c", "onnx", "", (TensorSpec("x", DType.FLOAT32, (-1, 3)),), (), "int8",
                            "default", "", "", (), self.options)  # fmt: skip
        with pytest.raises(RouteError, match="fixed shapes"):
            chosen.build(free, ignore)
        with pytest.raises(RuntimeMissingError, match="no NPU here; it finds: CPU"):
            run(chosen, built, tmp_path / "int8", "int8", frames(1))

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
