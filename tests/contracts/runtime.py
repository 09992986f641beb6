"""What every runtime must do. Bind it in the runtime's test file: a class with its name and its library."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgectl_agent.worker.release import Release, read_release
from edgectl_agent.worker.runtimes.base import Runtime
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.artifact import Precision, TensorSpec
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    NotFoundError,
    OperatorError,
    RuntimeMissingError,
    ShapeError,
    StateError,
)
from edgectl_testkit.bundles import (
    ACTION_DIM,
    CHUNK,
    HEIGHT,
    STATE_DIM,
    WIDTH,
    release_dir,
    tiny_bundle,
    tiny_graph,
)


def graph_inputs(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    frame = (1, 3, HEIGHT, WIDTH)
    return {
        "top": random.standard_normal(frame).astype(np.float32),
        "wrist": random.standard_normal(frame).astype(np.float32),
        "state": random.standard_normal((1, STATE_DIM)).astype(np.float32),
    }


def expected_action(inputs: dict[str, np.ndarray]) -> np.ndarray:
    total = inputs["top"].mean() + inputs["wrist"].mean() + 0.5 * inputs["state"].sum()
    base = 0.01 * np.arange(CHUNK)[:, None] + 0.1 * np.arange(ACTION_DIM)
    return (total + base)[None]


class RuntimeContract:
    """Inherited by one test class per runtime."""

    runtime_name: str
    library: str
    """The module whose absence makes the runtime unusable."""

    @pytest.fixture
    def release(self, tmp_path: Path) -> Release:
        bundle, _ = tiny_bundle(tmp_path / "bundle", runtime=self.runtime_name)
        return read_release(release_dir(bundle, tmp_path / "release"))

    @pytest.fixture
    def artifact(self, release: Release) -> Path:
        return release.path(release.component.artifact)

    @pytest.fixture
    def runtime(self, release: Release, artifact: Path) -> Runtime:
        runtime = create(self.runtime_name)
        runtime.load(artifact, release.component, 1)
        return runtime

    def test_computes_the_graph(self, runtime):
        inputs = graph_inputs()
        action = runtime.infer(inputs)["action"]
        assert action.shape == (1, CHUNK, ACTION_DIM)
        np.testing.assert_allclose(action, expected_action(inputs), atol=1e-5)

    def test_a_second_inference_sees_what_changed_in_the_same_arrays(self, runtime):
        inputs = graph_inputs()
        runtime.infer(inputs)
        for array in inputs.values():
            array += 1
        np.testing.assert_allclose(runtime.infer(inputs)["action"], expected_action(inputs), atol=1e-5)

    def test_inputs_may_lie_anyhow_in_memory(self, runtime):
        inputs = graph_inputs()
        strided = np.asarray(inputs["top"].transpose(0, 2, 3, 1).copy()).transpose(0, 3, 1, 2)
        inputs["top"] = strided
        inputs["wrist"].flags.writeable = False
        np.testing.assert_allclose(runtime.infer(inputs)["action"], expected_action(inputs), atol=1e-5)
        strided += 2
        np.testing.assert_allclose(runtime.infer(inputs)["action"], expected_action(inputs), atol=1e-5)

    def test_reads_back_the_precision_of_an_fp32_graph(self, release, artifact):
        facts = create(self.runtime_name).load(artifact, release.component, 1)
        assert facts.precision is Precision.FP32
        assert facts.provider
        assert facts.version

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            (lambda inputs: inputs.pop("state"), "'state' .* was not given"),
            (lambda inputs: inputs.update(depth=np.zeros(1)), "no input 'depth'"),
            (lambda inputs: inputs.update(state=np.zeros((1, 4), np.float32)), r"\[1, 3\], got .*\[1, 4\]"),
            (lambda inputs: inputs.update(state=np.zeros((1, 3))), "takes float32.* got float64"),
        ],
        ids=["missing", "unknown", "shape", "type"],
    )
    def test_refuses_inputs_that_do_not_fit(self, runtime, change, complaint):
        inputs = graph_inputs()
        change(inputs)
        with pytest.raises(ShapeError, match=complaint):
            runtime.infer(inputs)

    def test_names_an_operator_it_does_not_know(self, release, artifact):
        model = onnx.load_from_string(tiny_graph())
        model.graph.node[3].op_type = "Frobnicate"
        model.graph.node[3].name = "halve"
        artifact.write_bytes(model.SerializeToString())
        with pytest.raises(OperatorError, match="Frobnicate"):
            create(self.runtime_name).load(artifact, release.component, 1)

    def test_refuses_a_truncated_artifact(self, release, artifact):
        artifact.write_bytes(artifact.read_bytes()[:200])
        with pytest.raises(BundleCorruptError, match=artifact.name):
            create(self.runtime_name).load(artifact, release.component, 1)

    def test_refuses_an_artifact_that_is_not_there(self, release, artifact):
        artifact.unlink()
        with pytest.raises((BundleCorruptError, NotFoundError), match=artifact.name):
            create(self.runtime_name).load(artifact, release.component, 1)

    def test_refuses_a_graph_that_the_manifest_does_not_describe(self, release, artifact):
        other = TensorSpec("depth", release.component.inputs[0].dtype, release.component.inputs[0].shape)
        for change in ({"inputs": (other, *release.component.inputs[1:])}, {"outputs": (other,)}):
            with pytest.raises(BundleError, match="the manifest says depth"):
                create(self.runtime_name).load(artifact, replace(release.component, **change), 1)

    def test_infers_nothing_before_load_or_after_close(self, runtime):
        with pytest.raises(StateError):
            create(self.runtime_name).infer(graph_inputs())
        runtime.close()
        runtime.close()
        with pytest.raises(StateError):
            runtime.infer(graph_inputs())

    def test_probe_says_what_it_offers(self):
        facts = create(self.runtime_name).probe()
        assert (facts.name, facts.problem) == (self.runtime_name, "")
        assert facts.version
        assert facts.providers
        assert Precision.FP32 in facts.precisions

    def test_a_missing_library_is_said_with_what_installs_it(self, release, artifact, monkeypatch):
        for name in [name for name in sys.modules if name.split(".")[0] == self.library]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, self.library, None)
        with pytest.raises(RuntimeMissingError, match=f"{self.runtime_name} cannot be imported") as caught:
            create(self.runtime_name).load(artifact, release.component, 1)
        assert f"edgectl-agent[{self.runtime_name}]" in caught.value.hint
        facts = create(self.runtime_name).probe()
        assert "cannot be imported" in facts.problem
        assert facts.precisions == ()
