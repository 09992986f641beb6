from dataclasses import replace
from pathlib import Path

import pytest

from contracts.runtime import RuntimeContract
from edgectl_agent.worker.runtimes.onnxrt import OnnxRuntime, kernel_precisions
from edgectl_protos.domain.artifact import DType, Precision, TensorSpec
from edgectl_protos.domain.errors import BundleCorruptError, OperatorError, PrecisionError


class TestOnnxRuntime(RuntimeContract):
    runtime_name = "onnxrt"
    library = "onnxruntime"


def test_an_fp32_graph_is_computed_in_fp32(fp32_graph, component):
    facts = OnnxRuntime().load(fp32_graph, component, 1)
    assert (facts.precision, facts.provider) == (Precision.FP32, "CPUExecutionProvider")


def test_a_quantised_graph_is_computed_by_integer_kernels(int8_graph, component):
    facts = OnnxRuntime().load(int8_graph, replace(component, precision=Precision.INT8), 1)
    assert facts.precision is Precision.INT8


def test_an_fp32_graph_that_claims_to_be_int8_is_reported_as_what_it_is(fp32_graph, component):
    facts = OnnxRuntime().load(fp32_graph, replace(component, precision=Precision.INT8), 1)
    assert facts.precision is Precision.FP32


def test_fp16_is_refused_where_it_would_be_computed_in_fp32(fp16_graph, component):
    with pytest.raises(PrecisionError, match="would compute in fp32"):
        OnnxRuntime().load(fp16_graph, replace(component, precision=Precision.FP16), 1)


def test_the_inference_that_loading_needs_is_the_first_one_and_timed_apart(fp32_graph, component):
    assert OnnxRuntime().load(fp32_graph, component, 1).first_inference_s > 0


def test_options_are_session_entries_and_a_bad_one_is_refused(fp32_graph, component):
    good = replace(component, options={"session.intra_op.allow_spinning": "0"})
    assert OnnxRuntime().load(fp32_graph, good, 1).precision is Precision.FP32
    bad = replace(component, options={"session.intra_op.allow_spinning": "maybe" * 2000})
    with pytest.raises(BundleCorruptError):
        OnnxRuntime().load(fp32_graph, bad, 1)


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


def test_only_kernels_that_carry_weight_are_counted_if_there_are_any():
    graph = [kernel("Relu", "float"), kernel("Add", "float"), kernel("QLinearConv", "uint8")]
    assert list(kernel_precisions(graph)) == [Precision.INT8]
    assert list(kernel_precisions(graph[:2])) == [Precision.FP32] * 2
    assert list(kernel_precisions([kernel("MatMul", "float16")])) == [Precision.FP16]
