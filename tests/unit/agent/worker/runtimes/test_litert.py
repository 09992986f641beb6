from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.runtime import RuntimeContract
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, ShapeError
from edgectl_testkit.bundles import tiny_component
from edgectl_testkit.tflite import Operator, Tensor, convolution_file, tiny_file, write_file


class TestLiteRtRuntime(RuntimeContract):
    runtime_name = "litert"
    library = "ai_edge_litert"
    entry = "model.tflite"

    def files(self) -> dict[str, bytes]:
        return {"model.tflite": tiny_file()}

    def give_it_an_unknown_operator(self, artifact: Path) -> str:
        artifact.write_bytes(tiny_file(unknown="Frobnicate"))
        return "Frobnicate"


def component_of(scheme: str, *specs: TensorSpec, outputs: int = 1) -> Component:
    made = tiny_component(runtime="litert")
    return replace(
        made, scheme=scheme, entry="model.tflite", inputs=specs[:-outputs], outputs=specs[len(specs) - outputs :]
    )


def load(folder: Path, data: bytes, component: Component):
    (folder / "model.tflite").write_bytes(data)
    return create("litert").load(folder / "model.tflite", component, 1)


X = TensorSpec("x", DType.FLOAT32, (1, 4, 4, 3))
Y = TensorSpec("y", DType.FLOAT32, (1, 4, 4, 8))


@pytest.mark.parametrize(("stored", "precision"), [("float32", "fp32"), ("int8", "int8")])
def test_the_precision_is_that_of_the_layers_in_the_file(tmp_path, stored, precision):
    graph = load(tmp_path, convolution_file(stored), component_of("fp32", X, Y))
    assert (graph.facts.precision, graph.facts.provider) == (precision, "XNNPACK")


def test_a_layer_that_the_delegate_leaves_is_said(tmp_path):
    tensors = [
        Tensor("x", (1, 2, 4, 4, 3)),
        Tensor("kernel", (1, 1, 1, 3, 8), values=0.5),
        Tensor("bias", (8,), values=0.0),
        Tensor("c", (1, 2, 4, 4, 8)),
        Tensor("two", (1,), values=2.0),
        Tensor("y", (1, 2, 4, 4, 8)),
    ]
    strides = {"strideD": 1, "strideH": 1, "strideW": 1, "dilationDFactor": 1}
    operators = [
        Operator("CONV_3D", ("x", "kernel", "bias"), ("c",), strides),
        Operator("MUL", ("c", "two"), ("y",)),
    ]
    specs = (TensorSpec("x", DType.FLOAT32, (1, 2, 4, 4, 3)), TensorSpec("y", DType.FLOAT32, (1, 2, 4, 4, 8)))
    graph = load(tmp_path, write_file(tensors, operators, ("x",), ("y",)), component_of("fp32", *specs))
    assert graph.facts.provider == "XNNPACK, without 1 CONV_3D"
    found = graph.infer({"x": np.ones(specs[0].shape, np.float32)})["y"]
    np.testing.assert_allclose(found, np.full(specs[1].shape, 3.0))


def counter(tmp_path):
    """n + 1 of the integers n, which the file stores in 32 bits and the manifest calls 64."""
    tensors = [Tensor("n", (1, 3), "int32"), Tensor("one", (1,), "int32", 1), Tensor("m", (1, 3), "int32")]
    data = write_file(tensors, [Operator("ADD", ("n", "one"), ("m",))], ("n",), ("m",))
    specs = (TensorSpec("n", DType.INT64, (1, 3)), TensorSpec("m", DType.INT64, (1, 3)))
    return load(tmp_path, data, component_of("fp32", *specs))


def test_integers_of_64_bits_go_through_a_file_that_stores_32(tmp_path):
    graph = counter(tmp_path)
    found = graph.infer({"n": np.array([[-5, 0, 2**31 - 2]])})["m"]
    assert found.dtype == np.int64
    assert found.tolist() == [[-4, 1, 2**31 - 1]]


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1])
def test_an_integer_that_does_not_fit_is_refused(tmp_path, value):
    with pytest.raises(ShapeError, match="'n' is stored as int32, and holds a value that does not fit"):
        counter(tmp_path).infer({"n": np.array([[0, value, 1]])})


def test_another_type_than_the_manifest_says_is_refused(tmp_path):
    wrong = replace(X, dtype=DType.INT64)
    with pytest.raises(BundleError, match="'x' of the graph is float32; the manifest says int64"):
        load(tmp_path, convolution_file(), component_of("fp32", wrong, Y))


def test_a_free_shape_is_refused(tmp_path):
    with pytest.raises(BundleError, match="fixed shapes"):
        load(tmp_path, convolution_file(), component_of("fp32", replace(X, shape=(-1, 4, 4, 3)), Y))


def test_a_file_without_a_signature_is_bound_by_its_tensors(tmp_path):
    tiny = replace(tiny_component(runtime="litert"), entry="model.tflite")
    zeros = {spec.name: np.zeros(spec.shape, np.float32) for spec in tiny.inputs}
    named = np.array(load(tmp_path, tiny_file(), tiny).infer(zeros)["action"])
    bare = load(tmp_path, tiny_file(signatures=()), tiny).infer(zeros)["action"]
    np.testing.assert_array_equal(bare, named)


def test_several_signatures_are_refused_by_name(tmp_path):
    tiny = replace(tiny_component(runtime="litert"), entry="model.tflite")
    with pytest.raises(BundleError, match=r"2 signatures \(decode, prefill\)"):
        load(tmp_path, tiny_file(signatures=("prefill", "decode")), tiny)


def test_a_file_that_was_written_short_is_refused_wherever_it_ends(tmp_path):
    data = convolution_file()
    specs = component_of("fp32", X, Y)
    load(tmp_path, data, specs)
    for length in range(0, len(data) - 8, 97):
        with pytest.raises(BundleCorruptError, match=r"model\.tflite"):
            load(tmp_path, data[:length], specs)
