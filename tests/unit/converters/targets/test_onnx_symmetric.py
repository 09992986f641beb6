"""How much of a component stays int8, measured on the graph that a builder is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from contracts.target import ignore
from edgectl_converters.targets.base import BuildRequest
from edgectl_converters.targets.onnx_symmetric import quantise_symmetric
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import ParityError, RouteError

X = TensorSpec("x", DType.FLOAT32, (1, 16))
Y = TensorSpec("y", DType.FLOAT32, (1, 4))


def chain(outlier: float, layers: int = 6) -> onnx.ModelProto:
    """Layers one after the other; what enters the first has one feature that is so much larger than the others."""
    random = np.random.default_rng(0)
    scale = np.ones(16, np.float32)
    scale[0] = outlier
    weights = [onnx.numpy_helper.from_array(scale, "scale")]
    nodes = [helper.make_node("Mul", ["x", "scale"], ["h0"])]
    for at in range(layers):
        values = random.normal(0, 0.25, (16, 4 if at == layers - 1 else 16)).astype(np.float32)
        if at == 0:
            values[0] = 0.0
        weights.append(onnx.numpy_helper.from_array(values, f"w{at}"))
        nodes.append(helper.make_node("MatMul", [f"h{at}", f"w{at}"], ["y" if at == layers - 1 else f"h{at + 1}"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph(nodes, "chain", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def request_of(tmp_path: Path):
    def make(model: onnx.ModelProto) -> tuple[BuildRequest, Path, Path]:
        onnx.save(model, str(tmp_path / "graph.onnx"))
        np.savez(tmp_path / "calls.npz", x=np.random.default_rng(1).normal(0, 1, (24, 1, 16)).astype(np.float32))
        request = BuildRequest(
            *("stub", "c", "onnx", str(tmp_path / "graph.onnx"), (X,), (Y,), "int8", "default"),
            *(str(tmp_path / "calls.npz"), str(tmp_path)),
        )
        return request, tmp_path / "graph.onnx", tmp_path / "int8.onnx"

    return make


def test_a_component_that_stands_it_is_int8_as_a_whole(request_of) -> None:
    said = quantise_symmetric(*request_of(chain(1.0)), ignore)
    assert said["quantised_layers"] == "6"
    assert "left_in_fp32" not in said
    assert 0 < float(said["int8_error"]) < 0.1


def test_a_layer_whose_input_has_an_outlier_stays_in_fp32_and_is_named(request_of) -> None:
    request, graph, out = request_of(chain(1000.0))
    said = quantise_symmetric(request, graph, out, ignore)
    assert said["left_in_fp32"] == "1 of 6 layers: w0"
    assert float(said["int8_error"]) < 0.1
    stored = {t.name: t.data_type for t in onnx.load(str(out)).graph.initializer}
    assert stored["w0"] == TensorProto.FLOAT


def test_a_component_that_does_not_stand_it_is_refused_with_the_figure(request_of) -> None:
    with pytest.raises(ParityError, match=r"'c' in int8 is off by .* with 1 of 2 layers in fp32; 0\.1 is allowed"):
        quantise_symmetric(*request_of(replace_both(chain(1000.0, layers=2))), ignore)


def replace_both(model: onnx.ModelProto) -> onnx.ModelProto:
    """Both layers read what has the outlier: keeping one does not help."""
    second = model.graph.node[2]
    weights = next(t for t in model.graph.initializer if t.name == "w0")
    model.graph.initializer.append(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights)[:, :4], "w2"))
    model.graph.node[1].input[1] = "w2"
    model.graph.node[1].output[0] = "left"
    values = onnx.numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "w1")).copy()
    values[0] = 0.0
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "w3"))
    second.input[0], second.input[1], second.output[0] = "h0", "w3", "right"
    model.graph.node.append(helper.make_node("Add", ["left", "right"], ["y"]))
    return model


def test_a_component_without_weights_is_refused(request_of) -> None:
    model = chain(1.0)
    del model.graph.node[1:]
    model.graph.node[0].output[0] = "y"
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 16
    request, graph, out = request_of(model)
    with pytest.raises(RouteError, match="no layer with constant weights"):
        quantise_symmetric(replace(request, outputs=(replace(Y, shape=(1, 16)),)), graph, out, ignore)
