"""A small convolutional graph, in fp32 and quantised by ONNX Runtime's own quantizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.parity import Tolerance

SHAPE = (1, 3, 16, 16)


def convolutional_graph() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    weights = {
        "w0": random.standard_normal((8, 3, 3, 3)).astype(np.float32) * 0.2,
        "w1": random.standard_normal((8, 8, 3, 3)).astype(np.float32) * 0.2,
        "w2": random.standard_normal((8, 4)).astype(np.float32),
        "shape": np.array([1, 2, 2], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], name="c0", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"], name="r0"),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], name="c1", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c1"], ["g"], name="g"),
        helper.make_node("Flatten", ["g"], ["f"], name="f"),
        helper.make_node("MatMul", ["f", "w2"], ["m"], name="m"),
        helper.make_node("Reshape", ["m", "shape"], ["action"], name="a"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, 2, 2])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def component() -> Component:
    return Component(
        name="full",
        runtime="any",
        scheme="fp32",
        entry="full.onnx",
        inputs=(TensorSpec("x", DType.FLOAT32, SHAPE),),
        outputs=(TensorSpec("action", DType.FLOAT32, (1, 2, 2)),),
        tolerance=Tolerance(5e-3, 2.5e-2, 5e-3, 0.0),
    )


@pytest.fixture
def fp32_graph(tmp_path: Path) -> Path:
    path = tmp_path / "fp32.onnx"
    onnx.save(convolutional_graph(), path)
    return path


@pytest.fixture
def int8_graph(tmp_path: Path, fp32_graph: Path) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            random = np.random.default_rng(1)
            self._items = iter([{"x": random.standard_normal(SHAPE).astype(np.float32)} for _ in range(4)])

        def get_next(self):
            return next(self._items, None)

    path = tmp_path / "int8.onnx"
    quantize_static(
        fp32_graph,
        path,
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    return path


@pytest.fixture
def fp16_graph(tmp_path: Path) -> Path:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    path = tmp_path / "fp16.onnx"
    onnx.save(convert_float_to_float16(convolutional_graph(), keep_io_types=True), path)
    return path
