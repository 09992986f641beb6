"""On the simulator, in this process with the provider of the toolchain, and once in the toolchain's own interpreter."""

from __future__ import annotations

import functools
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from contracts.runtime import RuntimeContract, expected_action, graph_inputs
from edgectl_agent.worker.runtimes import qnn
from edgectl_agent.worker.runtimes.registry import create
from edgectl_converters.targets.base import BuildRequest, Built
from edgectl_converters.targets.registry import target
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, PrecisionError, RuntimeMissingError
from edgectl_testkit.bundles import tiny_component, tiny_graph
from edgectl_testkit.toolchains import packages_of, toolchain_of

NEAR = 0.02


@pytest.fixture(autouse=True)
def provider(monkeypatch: pytest.MonkeyPatch) -> None:
    # At the end, so that nothing else comes from there.
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages_of("qnn"))])


@functools.cache
def built() -> tuple[Built, dict[str, bytes]]:
    """The tiny policy as a context for SoC 57, by its own target."""
    component = tiny_component(runtime="qnn", scheme="w8a16")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "graph.onnx").write_bytes(tiny_graph())
        (work / "out").mkdir()
        calls = [graph_inputs(seed) for seed in range(16)]
        # Changed inputs of the contract stay inside of what was seen.
        calls += [{name: value + 2 for name, value in call.items()} for call in calls]
        np.savez(work / "calls.npz", **{name: np.stack([call[name] for call in calls]) for name in calls[0]})
        request = BuildRequest(
            runtime="qnn",
            component="act",
            form="onnx",
            graph=str(work / "graph.onnx"),
            inputs=component.inputs,
            outputs=component.outputs,
            scheme="w8a16",
            variant="default",
            calibration=str(work / "calls.npz"),
            out=str(work / "out"),
            options={"soc_id": "57", "htp_arch": "v75"},
        )
        made = target("qnn").build(request, print)
        return made, {path.name: path.read_bytes() for path in (work / "out").iterdir()}


def component(**changes: str) -> Component:
    made, _ = built()
    return replace(tiny_component(runtime="qnn", scheme="w8a16"), options=made.options | changes)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    for name, data in built()[1].items():
        (tmp_path / name).write_bytes(data)
    return tmp_path / "model.onnx"


class TestQnnRuntime(RuntimeContract):
    runtime_name = "qnn"
    library = "onnxruntime_qnn"
    tolerance = NEAR
    precision = "int16"

    def files(self) -> dict[str, bytes]:
        return built()[1]

    def made_of(self, component: Component) -> Component:
        return replace(component, scheme="w8a16", options=built()[0].options)

    def give_it_an_unknown_operator(self, artifact: Path) -> str:
        model = onnx.load(str(artifact), load_external_data=False)
        model.graph.node[0].op_type, model.graph.node[0].domain = "Frobnicate", ""
        artifact.write_bytes(model.SerializeToString())
        return "Frobnicate"


def test_it_says_that_it_is_the_simulator(artifact):
    facts = create("qnn").probe()
    assert (facts.providers, facts.precisions) == (("QNN HTP simulator",), ("int8", "int16"))
    graph = create("qnn").load(artifact, component(), 1)
    assert (graph.facts.provider, graph.facts.simulated) == ("QNN HTP simulator", True)
    assert "SDK 2." in graph.facts.version


def test_it_says_so_from_another_interpreter_as_well(artifact):
    runtime = create("qnn", str(toolchain_of("qnn").python))
    graph = runtime.load(artifact, component(), 1)
    assert (graph.facts.provider, graph.facts.simulated) == ("QNN HTP simulator", True)
    found = graph.infer(graph_inputs())["action"]
    np.testing.assert_allclose(found, expected_action(graph_inputs()), atol=NEAR)
    graph.close()


def test_a_context_with_a_byte_changed_is_refused(artifact):
    context = artifact.with_suffix(".bin")
    data = bytearray(context.read_bytes())
    data[len(data) // 2] ^= 255
    context.write_bytes(data)
    with pytest.raises(BundleCorruptError, match=r"model\.bin is not the context"):
        create("qnn").load(artifact, component(), 1)
    context.unlink()
    with pytest.raises(BundleCorruptError, match=r"model\.bin"):
        create("qnn").load(artifact, component(), 1)


@pytest.mark.parametrize(("option", "value"), [("soc_id", "69"), ("htp_arch", "79")])
def test_a_context_for_another_soc_is_refused_though_it_would_load(artifact, option, value):
    with pytest.raises(BundleError, match=r"for SoC 57 \(v75\), the board"):
        create("qnn").load(artifact, component(**{option: value}), 1)


def test_a_context_of_another_sdk_is_refused(artifact, monkeypatch):
    monkeypatch.setattr(qnn, "_sdk", lambda: "2.48.0")
    with pytest.raises(BundleError, match=r"made with QNN SDK 2\..*here is 2\.48\.0"):
        create("qnn").load(artifact, component(), 1)


def test_an_artifact_that_says_something_else_than_its_manifest_is_refused(artifact):
    with pytest.raises(BundleError, match="the manifest says v2:6:2.60"):
        create("qnn").load(artifact, component(compatibility="v2:6:2.60.0:5.60.0:75:57:0:0"), 1)
    with pytest.raises(PrecisionError, match="computes in fp32"):
        create("qnn").load(artifact, component(precision="fp32"), 1)
    less = component()
    less.options.pop("context_sha256")
    with pytest.raises(BundleError, match="does not say its context_sha256"):
        create("qnn").load(artifact, less, 1)


def test_a_graph_that_the_context_does_not_hold_is_left_to_no_cpu(artifact):
    model = onnx.load_from_string(tiny_graph())
    artifact.write_bytes(tiny_graph())
    with pytest.raises(BundleError, match="for no device"):
        create("qnn").load(artifact, component(), 1)
    turned = helper.make_node("Transpose", ["top"], ["turned"], perm=[0, 1, 3, 2])
    product = helper.make_node("MatMul", ["top", "turned"], ["square"])
    model.graph.node.extend([turned, product, helper.make_node("Det", ["square"], ["outside"])])
    model.graph.output.append(helper.make_tensor_value_info("outside", TensorProto.FLOAT, [1, 3]))
    artifact.write_bytes(model.SerializeToString())
    with pytest.raises(BundleCorruptError, match="fallback to CPU EP"):
        create("qnn").load(artifact, component(), 1)


def test_a_computer_with_neither_the_processor_nor_its_simulator_says_so(artifact, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "no Hexagon processor" in create("qnn").probe().problem
    with pytest.raises(RuntimeMissingError, match="no Hexagon processor"):
        create("qnn").load(artifact, component(), 1)
