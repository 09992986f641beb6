"""What the device will build from: here ONNX Runtime runs the typed graph, in the types that it has kernels for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from contracts.target import TargetContract, convolution_graph, run
from edgectl_converters.targets.base import Built, Target
from edgectl_converters.targets.registry import target


def precision_in(model: Any) -> str:
    """What a builder takes from the graph: the type of what enters the first convolution."""
    made = {name: node for node in model.graph.node for name in node.output}
    before = made.get(next(node for node in model.graph.node if node.op_type == "Conv").input[0])
    return "int8" if before is not None and before.op_type == "DequantizeLinear" else "fp32"


class TestTensorRtTarget(TargetContract):
    target_name = "tensorrt"
    schemes = ("fp32", "fp16", "bf16", "int8")

    def run(self, chosen: Target, built: Built, out: Path, scheme: str, values: Any) -> tuple[str, Any]:
        _, outputs = run(target("onnxrt"), replace(built, recipe=None), out, "fp32", values)
        return precision_in(onnx.load(str(out / built.entry))), outputs

    def test_the_device_is_told_how_to_build(self, chosen: Target, tmp_path: Path) -> None:
        built = self.build(chosen, self.save(convolution_graph(), tmp_path), tmp_path / "out", "fp16")
        assert built.recipe is not None
        assert built.recipe.builder == "tensorrt"
        assert json.loads(built.recipe.options["profile"]) == {"x": [1, 3, 16, 16]}
        assert set(built.recipe.options) == {"profile", "workspace_mib", "timing_cache"}

    @pytest.mark.parametrize("scheme", ["fp16", "bf16", "int8"])
    def test_precision_stands_in_the_graph(self, chosen: Target, tmp_path: Path, scheme: str) -> None:
        self.build(chosen, self.save(convolution_graph(), tmp_path), tmp_path / "out", scheme)
        model = onnx.load(str(tmp_path / "out" / "model.onnx"))
        kinds = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16, "int8": onnx.TensorProto.INT8}
        weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 2}
        assert set(weights.values()) == {kinds[scheme]}
        assert all(node.name.rpartition("_")[0] == node.op_type for node in model.graph.node)

    def test_int8_has_neither_zero_points_nor_unsigned_nor_integer_biases(self, chosen: Target, tmp_path: Path) -> None:
        self.build(chosen, self.save(convolution_graph(), tmp_path), tmp_path / "out", "int8")
        graph = onnx.load(str(tmp_path / "out" / "model.onnx")).graph
        weights = {tensor.name: tensor for tensor in graph.initializer}
        points = [n.input[2] for n in graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
        assert points
        for point in points:
            assert weights[point].data_type == onnx.TensorProto.INT8
            assert not onnx.numpy_helper.to_array(weights[point]).any()
        assert not {t.data_type for t in graph.initializer} & {onnx.TensorProto.UINT8, onnx.TensorProto.INT32}
