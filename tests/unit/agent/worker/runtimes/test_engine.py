"""What the engines' runtime does beside the contract, on doubles of GPU and library: refusals, captures, the check."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent import futures
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.runtime import expected_action, graph_inputs
from edgectl_agent.worker.runtimes.cuda import Cuda
from edgectl_agent.worker.runtimes.engine import EngineRuntime
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    DeviceError,
    EdgectlError,
    PrecisionError,
    RuntimeMissingError,
)
from edgectl_testkit.bundles import tiny_component, tiny_graph
from edgectl_testkit.engine_doubles import FakeDriver, fake_library, refusing_library


class DoubleRuntime(EngineRuntime):
    """A runtime over the double's library."""

    name = "double"
    library = "engine_double"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "model.engine").write_bytes(tiny_graph())
    return tmp_path / "model.engine"


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DoubleRuntime]:
    def make(driver: FakeDriver | None = None, **library: str) -> DoubleRuntime:
        found = driver or FakeDriver()
        monkeypatch.setitem(sys.modules, "engine_double", fake_library(found, **library))
        return DoubleRuntime(lambda: Cuda(found))

    return make


COMPONENT = replace(tiny_component(runtime="double"), entry="model.engine")


@pytest.mark.parametrize("captures", [True, False])
def test_what_runs_is_captured_where_it_can_be_and_launched_where_not(runtime, artifact, captures):
    driver = FakeDriver(captures=captures)
    graph = runtime(driver).load(artifact, COMPONENT, 1)
    before = driver.launches
    for seed in (0, 1):
        inputs = graph_inputs(seed)
        np.testing.assert_allclose(graph.infer(inputs)["action"], expected_action(inputs), atol=1e-5)
    assert driver.launches - before == (2 if captures else 0)
    assert graph.facts.first_inference_s > 0
    graph.close()
    assert not driver.blocks
    assert not driver.captured


def test_the_probe_runs_a_kernel_and_says_for_what_there_are_some(runtime, monkeypatch):
    facts = runtime().probe()
    assert (facts.problem, facts.providers) == ("", ("Double of a GPU",))
    assert set(facts.precisions) == {"fp32", "fp16", "int8", "bf16"}
    monkeypatch.setattr(FakeDriver, "cuStreamSynchronize", lambda self, stream: 1)
    assert "refused cuStreamSynchronize" in runtime().probe().problem


def test_a_library_that_builds_nothing_for_this_gpu_says_so_in_its_probe(runtime, monkeypatch):
    made = runtime()
    builder = sys.modules["engine_double"].Builder
    monkeypatch.setattr(builder, "build_serialized_network", lambda self, network, config: None)
    assert "double 10.3.0 does not run on Double of a GPU (SM 8.7)" in made.probe().problem


def test_what_it_builds_is_bound_to_version_and_gpu(runtime):
    found = runtime(version="10.7.0").bound_to()
    assert (found["version"], found["sm"], found["gpu"]) == ("10.7.0", "8.7", "Double of a GPU")


@pytest.mark.parametrize(
    ("said", "error", "complaint"),
    [
        # As the library writes them, typed from its documentation and from issues about it.
        (
            "The engine plan file is not compatible with this version of the library, expecting library version "
            "10.3.0.26 got 10.7.0, please rebuild.",
            RuntimeMissingError,
            "built for another GPU or version .*got 10.7.0",
        ),
        (
            "The engine plan file is generated on an incompatible device, expecting compute 8.7 got compute 8.6, "
            "please rebuild.",
            RuntimeMissingError,
            "built for another GPU or version .*got compute 8.6",
        ),
        ("Serialization assertion magicTagRead failed", BundleCorruptError, "is not an engine"),
    ],
)
def test_an_engine_of_another_gpu_or_version_is_refused_with_what_it_says(
    artifact, monkeypatch, said, error, complaint
):
    monkeypatch.setitem(sys.modules, "engine_double", refusing_library(said))
    with pytest.raises(error, match=complaint):
        DoubleRuntime(lambda: Cuda(FakeDriver())).load(artifact, COMPONENT, 1)


@pytest.mark.parametrize(("datatype", "scheme"), [("Float", "fp16"), ("Half", "fp32"), ("", "fp16")])
def test_an_engine_of_another_precision_than_its_scheme_is_refused(runtime, artifact, datatype, scheme):
    from onnx import TensorProto, helper

    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1.0, 0.0, 0.0, 1.0])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "product", ports[:1], ports[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    artifact.write_bytes(model.SerializeToString())
    specs = [replace(COMPONENT.inputs[0], name=name, shape=(1, 2)) for name in ("x", "y")]
    component = replace(COMPONENT, scheme=scheme, inputs=(specs[0],), outputs=(specs[1],))
    with pytest.raises(PrecisionError):
        runtime(datatype=datatype).load(artifact, component, 1)


def test_a_gpu_without_memory_for_the_buffers_is_named(runtime, artifact):
    with pytest.raises(DeviceError, match="no memory left"):
        runtime(FakeDriver(memory_bytes=1000)).load(artifact, COMPONENT, 1)


def test_a_free_shape_is_refused(runtime, artifact):
    free = replace(COMPONENT, inputs=(replace(COMPONENT.inputs[0], shape=(-1, 3, 8, 8)), *COMPONENT.inputs[1:]))
    with pytest.raises(BundleError, match="runs graphs of fixed shape"):
        runtime().load(artifact, free, 1)


def test_an_input_of_another_type_is_refused(runtime, artifact):
    from edgectl_protos.domain.artifact import DType

    other = replace(COMPONENT.inputs[0], dtype=DType.UINT8)
    with pytest.raises(BundleError, match="of the engine is float32.*the manifest says uint8"):
        runtime().load(artifact, replace(COMPONENT, inputs=(other, *COMPONENT.inputs[1:])), 1)


def test_another_thread_than_the_one_that_loaded_may_compute_and_close(runtime, artifact):
    graph = runtime().load(artifact, COMPONENT, 1)
    inputs = graph_inputs()
    with futures.ThreadPoolExecutor(1) as pool:
        found = pool.submit(lambda: graph.infer(inputs)["action"].copy()).result()
        np.testing.assert_allclose(found, expected_action(inputs), atol=1e-5)
        pool.submit(graph.close).result()


def test_a_run_that_fails_is_a_failure_of_the_device(runtime, artifact, monkeypatch):
    graph = runtime().load(artifact, COMPONENT, 1)
    monkeypatch.setattr(FakeDriver, "cuGraphLaunch", lambda self, ready, stream: 1)
    with pytest.raises(EdgectlError, match="refused cuGraphLaunch: invalid argument"):
        graph.infer(graph_inputs())
