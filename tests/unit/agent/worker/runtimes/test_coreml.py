"""The contract on a double of the library: Core ML runs on Apple's systems only. What is read from a real package is
tested where one is written, with the target.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.runtime import RuntimeContract, expected_action, graph_inputs
from edgectl_agent.worker.runtimes.base import Runtime
from edgectl_agent.worker.runtimes.coreml import CoreMlRuntime
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, RuntimeMissingError
from edgectl_testkit.bundles import tiny_component
from edgectl_testkit.mlprogram_doubles import fake_library, package_files

ENTRY = "model.mlpackage"
NAMES = {"state": "state_workaround"}
MODEL = "Data/com.apple.CoreML/model.mlmodel"


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake_library()
    monkeypatch.setitem(sys.modules, "coremltools", module)
    monkeypatch.setitem(sys.modules, "coremltools.proto", module.proto)


def described(**changes: object) -> Component:
    component = replace(tiny_component(runtime="coreml"), entry=ENTRY, options={"ports": json.dumps(NAMES)})
    return replace(component, **changes)


def written(folder: Path, **said: object) -> Path:
    for name, data in package_files(NAMES, ENTRY, **said).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / ENTRY


class TestCoreMlRuntimeOnDoubles(RuntimeContract):
    runtime_name = "coreml"
    library = "coremltools"
    entry = ENTRY

    def create(self) -> Runtime:
        return CoreMlRuntime("darwin")

    def files(self) -> dict[str, bytes]:
        return package_files(NAMES, ENTRY)

    def made_of(self, component: Component) -> Component:
        return replace(component, entry=self.entry, options={"ports": json.dumps(NAMES)})

    def truncate(self, artifact: Path) -> None:
        super().truncate(artifact / MODEL)

    def test_refuses_an_option_that_a_bundle_may_not_set(self, runtime, artifact, component):
        with pytest.raises(BundleError, match="NO_SUCH_OPTION, which coreml does not take"):
            runtime.load(artifact, replace(component, options={**component.options, "NO_SUCH_OPTION": "1"}), 1)

    @pytest.mark.skip(reason="Core ML names operators when it compiles a package, on Apple's systems")
    def test_names_an_operator_it_does_not_know(self) -> None: ...


def test_elsewhere_it_says_that_it_runs_on_macos_only_whatever_is_installed(tmp_path):
    runtime = CoreMlRuntime("linux")
    with pytest.raises(RuntimeMissingError, match="coreml runs on macOS only, and this is linux"):
        runtime.load(written(tmp_path), described(), 1)
    facts = runtime.probe()
    assert (facts.problem, facts.precisions) == ("coreml runs on macOS only, and this is linux", ())


@pytest.mark.parametrize(("code", "precision"), [(10, "fp16"), (11, "fp32")])
def test_the_precision_is_that_of_the_operators_with_weights(tmp_path, code, precision):
    operations = [["const", 11], ["conv", code], ["linear", code], ["cast", 11], ["add", 11]]
    graph = CoreMlRuntime("darwin").load(written(tmp_path, operations=operations), described(), 1)
    assert graph.facts.precision == precision


def test_types_that_core_ml_lacks_are_put_into_those_that_it_has(tmp_path):
    inputs = tuple(
        replace(spec, dtype=DType.INT64) if spec.name == "state" else spec for spec in tiny_component().inputs
    )
    graph = CoreMlRuntime("darwin").load(written(tmp_path), described(inputs=inputs), 1)
    given = graph_inputs() | {"state": np.array([[1, 2, 3]], np.int64)}
    np.testing.assert_allclose(graph.infer(given)["action"], expected_action(given), atol=1e-5)
    given["state"] += 1
    np.testing.assert_allclose(graph.infer(given)["action"], expected_action(given), atol=1e-5)


@pytest.mark.parametrize("text", ["[", "[]", '"x"', "3"])
def test_names_of_ports_that_cannot_be_read_are_refused(tmp_path, text):
    with pytest.raises(BundleError, match="which ports have other names"):
        CoreMlRuntime("darwin").load(written(tmp_path), described(options={"ports": text}), 1)


def test_a_port_of_another_shape_or_type_is_refused(tmp_path):
    outputs = (TensorSpec("action", DType.FLOAT32, (1, 9, 9)),)
    with pytest.raises(BundleError, match=r"the graph's 'action' is \[1, 4, 2\]"):
        CoreMlRuntime("darwin").load(written(tmp_path), described(outputs=outputs), 1)
    strange = written(tmp_path, output=[["action", [1, 4, 2], 7]])
    with pytest.raises(BundleError, match="type 7"):
        CoreMlRuntime("darwin").load(strange, described(), 1)


def test_a_package_without_a_file_or_an_ml_program_is_refused_by_name(tmp_path):
    with pytest.raises(BundleError, match="holds no ML Program"):
        CoreMlRuntime("darwin").load(written(tmp_path, type="neuralNetwork"), described(), 1)
    (tmp_path / ENTRY / "Manifest.json").unlink()
    with pytest.raises(BundleCorruptError, match=r"model\.mlpackage has no Manifest\.json"):
        CoreMlRuntime("darwin").load(tmp_path / ENTRY, described(), 1)
