from dataclasses import replace

import numpy as np
import openvino
import pytest

from contracts.runtime import OnnxRuntimeContract
from edgectl_agent.worker.runtimes.openvino import OpenVinoRuntime
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import BundleError, PrecisionError, RuntimeMissingError

CAPABILITIES = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class TestOpenVino(OnnxRuntimeContract):
    runtime_name = "openvino"
    library = "openvino"


def facts_of(path, component):
    return OpenVinoRuntime().load(path, component, 1).facts


def test_f32_is_pinned_even_where_the_processor_would_like_bf16(fp32_graph, component):
    facts = facts_of(fp32_graph, component)
    assert (facts.precision, facts.provider) == ("fp32", "CPU")


def test_a_quantised_graph_is_computed_by_integer_kernels(int8_graph, component):
    assert facts_of(int8_graph, replace(component, scheme="int8")).precision == "int8"


@pytest.mark.skipif("BF16" not in CAPABILITIES, reason="this processor has no bf16 kernels")
def test_bf16_asked_for_is_bf16_used(fp32_graph, component):
    asked = replace(component, options={"INFERENCE_PRECISION_HINT": "bf16"})
    assert facts_of(fp32_graph, asked).precision == "bf16"


def test_a_hint_without_kernels_is_refused(fp32_graph, component, monkeypatch):
    # As on a processor with neither: OpenVINO itself would compute in another precision and not say so.
    real = openvino.Core.get_property
    monkeypatch.setattr(
        openvino.Core,
        "get_property",
        lambda core, device, name: ["FP32"] if name == "OPTIMIZATION_CAPABILITIES" else real(core, device, name),
    )
    for hint, name in (("bf16", "BF16"), ("f16", "FP16")):
        asked = replace(component, options={"INFERENCE_PRECISION_HINT": hint})
        with pytest.raises(PrecisionError, match=f"no {name} kernels"):
            OpenVinoRuntime().load(fp32_graph, asked, 1)
    assert OpenVinoRuntime().probe().precisions == ("fp32",)


def test_an_array_bound_once_is_not_copied_again(fp32_graph, component):
    graph = OpenVinoRuntime().load(fp32_graph, component, 1)
    array = np.zeros((1, 3, 16, 16), np.float32)
    graph.infer({"x": array})
    assert graph._bound["x"] is array


def test_ports_are_found_by_any_of_their_names(fp32_graph, component, tmp_path):
    # A conversion to OpenVINO's own format merges tensors, and a port keeps the names of all of them.
    model = openvino.Core().read_model(fp32_graph)
    model.inputs[0].get_tensor().add_names({"a.image", "z.image"})
    model.outputs[0].get_tensor().add_names({"a.chunk", "z.chunk"})
    openvino.save_model(model, tmp_path / "names.xml", compress_to_fp16=False)
    image = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    expected = OpenVinoRuntime().load(fp32_graph, component, 1).infer({"x": image})["action"]
    for there, here in (("x", "action"), ("a.image", "a.chunk"), ("z.image", "z.chunk")):
        named = replace(
            component,
            inputs=(TensorSpec(there, DType.FLOAT32, (1, 3, 16, 16)),),
            outputs=(TensorSpec(here, DType.FLOAT32, (1, 2, 2)),),
        )
        found = OpenVinoRuntime().load(tmp_path / "names.xml", named, 1).infer({there: image})
        assert list(found) == [here]
        np.testing.assert_allclose(found[here], expected, atol=1e-6)


def test_a_device_that_is_not_here_or_may_not_be_asked_for_is_refused(fp32_graph, component):
    told = replace(component, options={"device": "NPU"})
    with pytest.raises(RuntimeMissingError, match="no NPU here; it finds: CPU"):
        facts_of(fp32_graph, told)
    with pytest.raises(BundleError, match="may not ask for the device 'GPU'"):
        facts_of(fp32_graph, replace(told, options={"device": "GPU"}))
