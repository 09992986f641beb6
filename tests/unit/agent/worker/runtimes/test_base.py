from dataclasses import replace

import onnx
import pytest

from edgectl_agent.worker.runtimes.base import bulk_precision, fits, sentence
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import BundlePathError
from edgectl_testkit.bundles import tiny_component, tiny_graph


def test_the_precision_of_most_kernels_that_carry_weight_is_that_of_the_graph(component):
    assert bulk_precision(["fp32", "int8", "int8"], ["fp32"] * 9, component) == "int8"
    assert bulk_precision([], ["bf16"], component) == "bf16"
    assert bulk_precision([], [], component) == "fp32"


def test_without_such_kernels_a_type_of_the_graphs_own_ports_is_what_was_asked_for(component):
    half = replace(component, outputs=(TensorSpec("action", DType.FLOAT16, (1, 2, 2)),))
    assert bulk_precision([], ["fp16"], half) == "fp32"
    assert bulk_precision([], ["fp16"], component) == "fp16"
    assert bulk_precision(["fp16"], [], half) == "fp16"
    assert bulk_precision([], ["fp32"], replace(half, scheme="int8")) == "fp32"


@pytest.mark.parametrize(
    ("shape", "spec", "fit"),
    [((1, 3), (1, 3), True), ((1, 3), (-1, 3), True), ((1, 3), (1, 4), False), ((3,), (1, 3), False)],
)
def test_a_free_dimension_takes_any_size_and_no_other_does(shape, spec, fit):
    assert fits(shape, spec) is fit


def test_a_vendor_message_becomes_one_bearable_line():
    assert sentence(RuntimeError("a\n  b\n\nc")) == "a b c"
    assert len(sentence(RuntimeError("x" * 5000))) == 400
    assert sentence(ValueError()) == "ValueError"


@pytest.mark.parametrize("called", ["model.onnx", "model.bin"])
@pytest.mark.parametrize("name", ["onnxrt", "openvino", "reference"])
def test_a_graph_that_names_a_file_outside_its_folder_is_refused_before_the_runtime_sees_it(
    tmp_path, monkeypatch, name, called
):
    model = onnx.load_from_string(tiny_graph())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    (tmp_path / called).write_bytes(model.SerializeToString())
    runtime = create(name)
    monkeypatch.setattr(type(runtime), "_load", lambda *_: pytest.fail("the runtime saw it"))
    with pytest.raises(BundlePathError, match="outside its folder"):
        runtime.load(tmp_path / called, tiny_component(runtime=name), 1)
