from dataclasses import replace

import numpy as np
import openvino
import pytest

from contracts.runtime import RuntimeContract
from edgectl_agent.worker.runtimes.openvino import OpenVinoRuntime
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.errors import BundleError, PrecisionError

CAPABILITIES = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class TestOpenVino(RuntimeContract):
    runtime_name = "openvino"
    library = "openvino"


def test_f32_is_pinned_even_where_the_processor_would_like_bf16(fp32_graph, component):
    facts = OpenVinoRuntime().load(fp32_graph, component, 1)
    assert (facts.precision, facts.provider) == (Precision.FP32, "CPU")


def test_a_quantised_graph_is_computed_by_integer_kernels(int8_graph, component):
    facts = OpenVinoRuntime().load(int8_graph, replace(component, precision=Precision.INT8), 1)
    assert facts.precision is Precision.INT8


@pytest.mark.skipif("BF16" not in CAPABILITIES, reason="this processor has no bf16 kernels")
def test_bf16_asked_for_is_bf16_used(fp32_graph, component):
    asked = replace(component, options={"INFERENCE_PRECISION_HINT": "bf16"})
    assert OpenVinoRuntime().load(fp32_graph, asked, 1).precision is Precision.BF16


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
    assert OpenVinoRuntime().probe().precisions == (Precision.FP32,)


def test_an_option_that_openvino_does_not_know_is_refused(fp32_graph, component):
    with pytest.raises(BundleError, match="NO_SUCH_OPTION"):
        OpenVinoRuntime().load(fp32_graph, replace(component, options={"NO_SUCH_OPTION": "1"}), 1)


def test_an_array_bound_once_is_not_copied_again(fp32_graph, component):
    runtime = OpenVinoRuntime()
    runtime.load(fp32_graph, component, 1)
    array = np.zeros((1, 3, 16, 16), np.float32)
    runtime.infer({"x": array})
    assert runtime._bound["x"] is array
