from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.runtime import OnnxRuntimeContract
from edgectl_agent.worker.runtimes.onnxrt import OnnxRuntime, kernel_precisions, placed
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    OperatorError,
    PrecisionError,
    RuntimeMissingError,
)


class TestOnnxRuntime(OnnxRuntimeContract):
    runtime_name = "onnxrt"
    library = "onnxruntime"


def facts_of(path, component):
    return OnnxRuntime().load(path, component, 1).facts


def test_an_fp32_graph_is_computed_in_fp32(fp32_graph, component):
    facts = facts_of(fp32_graph, component)
    assert (facts.precision, facts.provider) == ("fp32", "CPUExecutionProvider")


def test_a_quantised_graph_is_computed_by_integer_kernels(int8_graph, component):
    assert facts_of(int8_graph, replace(component, scheme="int8")).precision == "int8"


def test_an_fp32_graph_that_claims_to_be_int8_is_reported_as_what_it_is(fp32_graph, component):
    assert facts_of(fp32_graph, replace(component, scheme="int8")).precision == "fp32"


def test_fp16_is_refused_where_it_would_be_computed_in_fp32(fp16_graph, component):
    with pytest.raises(PrecisionError, match="would use fp32"):
        facts_of(fp16_graph, replace(component, scheme="fp16"))


def test_the_inference_that_loading_needs_is_the_first_one_and_timed_apart(fp32_graph, component):
    assert facts_of(fp32_graph, component).first_inference_s > 0


@pytest.mark.parametrize("alone", [True, False])
def test_options_are_session_entries_and_a_bad_one_is_refused(fp32_graph, component, alone):
    good = replace(component, options={"session.force_spinning_stop": "0"})
    assert OnnxRuntime().load(fp32_graph, good, 1, alone=alone).facts.precision == "fp32"
    bad = replace(component, options={"session.force_spinning_stop": "maybe" * 2000})
    with pytest.raises(BundleCorruptError):
        OnnxRuntime().load(fp32_graph, bad, 1, alone=alone)


def test_a_precision_that_cannot_be_read_back_is_refused(tmp_path, component):
    from onnx import TensorProto, helper, save

    free = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xy"]
    node = helper.make_node("MatMul", ["x", "y"], ["action"])
    out = helper.make_tensor_value_info("action", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph([node], "free", free, [out]), opset_imports=[helper.make_opsetid("", 18)]
    )
    model.ir_version = 10
    save(model, tmp_path / "free.onnx")
    specs = tuple(TensorSpec(name, DType.FLOAT32, (-1, 3)) for name in "xy")
    with pytest.raises(PrecisionError, match="cannot be read back"):
        OnnxRuntime().load(tmp_path / "free.onnx", replace(component, inputs=specs), 1)


def test_a_graph_without_weights_need_not_run_on_zeros(tmp_path, component):
    from onnx import TensorProto, helper, save

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [6])
    shape = helper.make_tensor_value_info("shape", TensorProto.INT64, [2])
    out = helper.make_tensor_value_info("action", TensorProto.FLOAT, [2, 3])
    graph = helper.make_graph([helper.make_node("Reshape", ["x", "shape"], ["action"])], "g", [x, shape], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    save(model, tmp_path / "reshape.onnx")
    specs = (TensorSpec("x", DType.FLOAT32, (6,)), TensorSpec("shape", DType.INT64, (2,)))
    asked = replace(component, inputs=specs, outputs=(TensorSpec("action", DType.FLOAT32, (2, 3)),))
    loaded = OnnxRuntime().load(tmp_path / "reshape.onnx", asked, 1)
    assert (loaded.facts.precision, loaded.facts.first_inference_s) == ("fp32", 0.0)
    x = np.arange(6, dtype=np.float32)
    found = loaded.infer({"x": x, "shape": np.array([2, 3])})
    np.testing.assert_array_equal(found["action"], x.reshape(2, 3))


@pytest.mark.parametrize(
    ("sentence", "operator", "node"),
    [
        (
            'In Node, ("relu0", Bad, "", -1), Error No Op registered for Bad with domain_version',
            "Bad",
            "relu0",
        ),
        ("Fatal error: acme:Bad(-1) is not a registered function/op", "acme:Bad", ""),
        ("Could not find an implementation for Bad(18) node with name 'n7'", "Bad", "n7"),
    ],
)
def test_every_way_of_not_knowing_an_operator_is_one_error(sentence, operator, node):
    error = OnnxRuntime()._load_error(RuntimeError(sentence), Path("x.onnx"))
    assert isinstance(error, OperatorError)
    assert f"operator {operator}" in error.message
    assert node in error.message


def kernel(op, kind):
    return {"op_name": op, "provider": "CPUExecutionProvider", "input_type_shape": [{kind: [1]}]}


def test_kernels_that_carry_weight_are_told_from_the_others():
    graph = [kernel("Relu", "float"), kernel("Add", "int64"), kernel("QLinearConv", "uint8")]
    assert kernel_precisions(graph) == (["int8"], ["fp32"])
    assert kernel_precisions([kernel("MatMul", "float16")]) == (["fp16"], [])


def test_a_provider_that_is_not_here_is_said_and_the_cpu_is_not_taken_for_it(fp32_graph, component):
    with pytest.raises(RuntimeMissingError, match="no CUDAExecutionProvider here; it has: .*CPUExecutionProvider"):
        facts_of(fp32_graph, replace(component, options={"provider": "CUDAExecutionProvider"}))
    with pytest.raises(BundleError, match="may not ask for 'AzureExecutionProvider'"):
        facts_of(fp32_graph, replace(component, options={"provider": "AzureExecutionProvider"}))
    assert facts_of(fp32_graph, replace(component, options={"provider": "CPUExecutionProvider"})).precision == "fp32"


CUDA = "CUDAExecutionProvider"


def test_what_carries_weight_is_all_on_the_provider_and_the_rest_is_counted():
    here = [kernel("Conv", "float") | {"provider": CUDA}] * 3
    assert placed(CUDA, here) == CUDA
    assert placed(CUDA, [*here, kernel("Shape", "int64")]) == f"{CUDA} (1 of 4 kernels on the CPU)"
    with pytest.raises(PrecisionError, match="MatMul on CPUExecutionProvider where CUDA"):
        placed(CUDA, [*here, kernel("MatMul", "float")])
    with pytest.raises(PrecisionError, match="none of 2 kernels"):
        placed(CUDA, [kernel("Add", "float")] * 2)
    with pytest.raises(PrecisionError, match="Conv on CUDA"):
        placed("CPUExecutionProvider", here)


def test_an_engine_of_many_operators_is_as_precise_as_it_was_allowed():
    engine = kernel("TRTKernel_graph_main_0", "float")
    assert kernel_precisions([engine], "fp16") == (["fp16"], [])
    assert kernel_precisions([engine]) == (["fp32"], [])
