"""What every runtime must do. Bind it in the runtime's test file: a class with its name and its library; one that
reads ONNX binds `OnnxRuntimeContract`.

A runtime that reads something else than ONNX overrides `files`, `entry` and the hooks that damage the artifact.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgectl_agent.worker.runtimes.base import Graph, Runtime
from edgectl_agent.worker.runtimes.registry import create
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    EdgectlError,
    NotFoundError,
    OperatorError,
    RuntimeMissingError,
    ShapeError,
    StateError,
)
from edgectl_protos.domain.parity import Tolerance
from edgectl_testkit.bundles import ACTION_DIM, CHUNK, HEIGHT, STATE_DIM, WIDTH, tiny_component, tiny_graph


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
    entry: str = "model.onnx"
    """What the runtime opens, below the component's folder; empty for the folder itself."""
    tolerance: float = 1e-5
    precision: str = "fp32"
    """In which `files` computes."""

    # --- what a runtime that reads no ONNX overrides ---

    def files(self) -> dict[str, bytes]:
        """The artifact that computes `tiny_graph`: paths below the component's folder, with their bytes."""
        return {"model.onnx": tiny_graph()}

    def give_it_an_unknown_operator(self, artifact: Path) -> str:
        """Change the artifact to hold an operator that no runtime knows; a pattern of the operator's name."""
        model = onnx.load_from_string(tiny_graph())
        model.graph.node[3].op_type = "Frobnicate"
        model.graph.node[3].name = "halve"
        artifact.write_bytes(model.SerializeToString())
        return "Frobnicate"

    def truncate(self, artifact: Path) -> None:
        """Cut the artifact off, as a full disk would."""
        artifact.write_bytes(artifact.read_bytes()[:200])

    def remove(self, artifact: Path) -> None:
        """Take away what the runtime opens."""
        if artifact.is_dir():
            shutil.rmtree(artifact)
        else:
            artifact.unlink()

    def create(self) -> Runtime:
        """The runtime, nothing imported yet."""
        return create(self.runtime_name)

    def made_of(self, component: Component) -> Component:
        """The component as this runtime wants it described."""
        return replace(component, entry=self.entry)

    # --- fixtures ---

    @pytest.fixture
    def component(self) -> Component:
        return self.made_of(tiny_component(runtime=self.runtime_name))

    @pytest.fixture
    def artifact(self, tmp_path: Path, component: Component) -> Path:
        folder = tmp_path / component.folder
        for name, data in self.files().items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder / component.entry if component.entry else folder

    @pytest.fixture
    def runtime(self) -> Iterator[Runtime]:
        runtime = self.create()
        yield runtime
        runtime.close()

    @pytest.fixture
    def graph(self, runtime: Runtime, artifact: Path, component: Component) -> Iterator[Graph]:
        graph = runtime.load(artifact, component, 1)
        yield graph
        graph.close()

    def check(self, found: np.ndarray, inputs: dict[str, np.ndarray]) -> None:
        np.testing.assert_allclose(found, expected_action(inputs), atol=self.tolerance)

    # --- what is computed ---

    def test_computes_the_graph(self, graph):
        inputs = graph_inputs()
        action = graph.infer(inputs)["action"]
        assert (action.shape, action.dtype) == ((1, CHUNK, ACTION_DIM), np.float32)
        self.check(action, inputs)

    def test_a_second_inference_sees_what_changed_in_the_same_arrays(self, graph):
        inputs = graph_inputs()
        graph.infer(inputs)
        for array in inputs.values():
            array += 1
        self.check(graph.infer(inputs)["action"], inputs)

    def test_other_arrays_may_come_at_every_call(self, graph):
        for seed in (0, 1, 0):
            inputs = graph_inputs(seed)
            self.check(graph.infer(inputs)["action"], inputs)

    def test_inputs_may_lie_anyhow_in_memory(self, graph):
        inputs = graph_inputs()
        strided = np.asarray(inputs["top"].transpose(0, 2, 3, 1).copy()).transpose(0, 3, 1, 2)
        inputs["top"] = strided
        inputs["wrist"].flags.writeable = False
        self.check(graph.infer(inputs)["action"], inputs)
        strided += 2
        self.check(graph.infer(inputs)["action"], inputs)

    def test_the_outputs_of_fixed_shape_are_the_same_arrays_at_every_call(self, graph):
        first = graph.infer(graph_inputs(0))
        kept = first["action"]
        second = graph.infer(graph_inputs(1))
        assert second["action"] is kept
        self.check(kept, graph_inputs(1))

    # --- forks ---

    def test_a_fork_has_buffers_of_its_own(self, graph):
        fork = graph.fork()
        mine, its = graph_inputs(0), graph_inputs(1)
        action = graph.infer(mine)["action"]
        other = fork.infer(its)["action"]
        assert not np.shares_memory(action, other)
        self.check(action, mine)
        self.check(other, its)
        self.check(graph.infer(mine)["action"], mine)
        self.check(other, its)

    def test_a_fork_is_the_same_component_and_can_be_forked(self, graph):
        fork = graph.fork()
        assert fork.component == graph.component
        assert (fork.facts.precision, fork.facts.provider) == (graph.facts.precision, graph.facts.provider)
        self.check(fork.fork().infer(graph_inputs())["action"], graph_inputs())

    def test_closing_a_fork_leaves_the_graph_and_closing_the_graph_closes_its_forks(self, graph):
        one, two = graph.fork(), graph.fork()
        one.close()
        self.check(graph.infer(graph_inputs())["action"], graph_inputs())
        graph.close()
        for fork in (one, two):
            with pytest.raises(StateError):
                fork.infer(graph_inputs())

    # --- facts ---

    def test_reads_back_the_precision_of_the_graph(self, graph):
        assert graph.facts.precision == self.precision
        assert graph.facts.provider
        assert graph.facts.version

    def test_probe_says_what_it_offers(self, runtime):
        facts = runtime.probe()
        assert (facts.name, facts.problem) == (self.runtime_name, "")
        assert facts.version
        assert facts.providers
        assert self.precision in facts.precisions

    # --- refusals ---

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
    def test_refuses_inputs_that_do_not_fit_and_goes_on(self, graph, change, complaint):
        graph.infer(graph_inputs(1))
        inputs = graph_inputs()
        change(inputs)
        with pytest.raises(ShapeError, match=complaint):
            graph.infer(inputs)
        self.check(graph.infer(graph_inputs())["action"], graph_inputs())

    def test_names_an_operator_it_does_not_know(self, runtime, artifact, component):
        operator = self.give_it_an_unknown_operator(artifact)
        with pytest.raises(OperatorError, match=operator):
            runtime.load(artifact, component, 1)

    def test_refuses_a_truncated_artifact(self, runtime, artifact, component):
        self.truncate(artifact)
        with pytest.raises(BundleCorruptError, match=artifact.name):
            runtime.load(artifact, component, 1)

    def test_refuses_an_artifact_that_is_not_there(self, runtime, artifact, component):
        self.remove(artifact)
        with pytest.raises((BundleCorruptError, NotFoundError), match=artifact.name):
            runtime.load(artifact, component, 1)

    def test_refuses_a_graph_that_the_manifest_does_not_describe(self, runtime, artifact, component):
        other = TensorSpec("depth", component.inputs[0].dtype, component.inputs[0].shape)
        for change in ({"inputs": (other, *component.inputs[1:])}, {"outputs": (other,)}):
            with pytest.raises(BundleError, match="the manifest says depth"):
                runtime.load(artifact, replace(component, **change), 1)

    def test_refuses_an_output_of_another_shape_than_the_manifest_says(self, runtime, artifact, component):
        # At load, or at the first inference; never an action of the wrong shape.
        wrong = replace(component, outputs=(TensorSpec("action", DType.FLOAT32, (1, CHUNK + 1, ACTION_DIM)),))
        with pytest.raises(EdgectlError):
            runtime.load(artifact, wrong, 1).infer(graph_inputs())

    def test_refuses_an_option_that_a_bundle_may_not_set(self, runtime, artifact, component):
        with pytest.raises(BundleError, match=f"NO_SUCH_OPTION, which {self.runtime_name} does not take"):
            runtime.load(artifact, replace(component, options={"NO_SUCH_OPTION": "1"}), 1)

    def test_refuses_a_component_that_takes_a_text(self, runtime, artifact, component):
        text = TensorSpec("task", DType.TEXT, ())
        with pytest.raises(BundleError, match="takes or gives a text, 'task'"):
            runtime.load(artifact, replace(component, inputs=(*component.inputs, text)), 1)

    def test_infers_nothing_after_close_and_may_be_closed_twice(self, graph):
        graph.close()
        graph.close()
        with pytest.raises(StateError):
            graph.infer(graph_inputs())
        with pytest.raises(StateError):
            graph.fork()

    def test_a_missing_library_is_said_with_what_installs_it(self, artifact, component, monkeypatch):
        for name in [name for name in sys.modules if name.split(".")[0] == self.library]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, self.library, None)
        with pytest.raises(RuntimeMissingError, match=f"{self.runtime_name} cannot be imported") as caught:
            self.create().load(artifact, component, 1)
        assert f"edgectl-agent[{self.runtime_name}]" in caught.value.hint
        facts = self.create().probe()
        assert "cannot be imported" in facts.problem
        assert facts.precisions == ()


def scaled_graph() -> bytes:
    """y = x [n, 3] * t [] and u [] = 2 * t, as ONNX bytes."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])]
    inputs.append(helper.make_tensor_value_info("t", TensorProto.FLOAT, []))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])]
    outputs.append(helper.make_tensor_value_info("u", TensorProto.FLOAT, []))
    nodes = [helper.make_node("Mul", ["x", "t"], ["y"]), helper.make_node("Add", ["t", "t"], ["u"])]
    graph = helper.make_graph(nodes, "scaled", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


_ODD: dict[str, tuple[DType, tuple[int, ...], int]] = {
    "a/b:0": (DType.FLOAT32, (2, 3), TensorProto.FLOAT),
    "none": (DType.FLOAT32, (0, 3), TensorProto.FLOAT),
    "flags": (DType.BOOL, (2,), TensorProto.BOOL),
    "big": (DType.UINT64, (2,), TensorProto.UINT64),
    "half": (DType.FLOAT16, (2,), TensorProto.FLOAT16),
}


def odd_graph() -> bytes:
    """Every input of `_ODD` comes out as `<name>.out`, passed through, but for `flags`, which are turned around."""
    ports = [
        [helper.make_tensor_value_info(f"{name}{end}", kind, shape) for name, (_, shape, kind) in _ODD.items()]
        for end in ("", ".out")
    ]
    nodes = [helper.make_node("Not" if name == "flags" else "Identity", [name], [f"{name}.out"]) for name in _ODD]
    graph = helper.make_graph(nodes, "odd", *ports)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


class OnnxRuntimeContract(RuntimeContract):
    """What a runtime that reads ONNX must do beside it: graphs have more kinds of shapes than other formats."""

    def scaled(self, artifact: Path, rows: int) -> Component:
        """A component of `scaled_graph` with this many rows, -1 for any, and its artifact written."""
        artifact.write_bytes(scaled_graph())
        x, t, y, u = (
            TensorSpec(name, DType.FLOAT32, shape)
            for name, shape in (("x", (rows, 3)), ("t", ()), ("y", (rows, 3)), ("u", ()))
        )
        return Component(
            "scaled", self.runtime_name, "fp32", "model.onnx", (x, t), (y, u), Tolerance(5e-3, 2.5e-2, 5e-3, 0.0)
        )

    def test_a_number_without_dimensions_goes_in_and_comes_out(self, runtime, artifact):
        graph = runtime.load(artifact, self.scaled(artifact, 2), 1)
        x, t = np.ones((2, 3), np.float32), np.array(2, np.float32)
        for value in (2, 5):
            t[...] = value
            found = graph.infer({"x": x, "t": t})
            assert (found["u"].shape, float(found["u"])) == ((), 2 * value)
            np.testing.assert_array_equal(found["y"], np.full((2, 3), value))
        np.testing.assert_array_equal(graph.infer({"x": x, "t": np.float32(7)})["y"], np.full((2, 3), 7))

    def test_a_free_dimension_may_have_another_size_at_every_call(self, runtime, artifact):
        graph = runtime.load(artifact, self.scaled(artifact, -1), 1)
        kept = []
        for rows in (2, 5, 1, 2):
            x = np.random.default_rng(rows).standard_normal((rows, 3)).astype(np.float32)
            outputs = graph.infer({"x": x, "t": np.array(rows, np.float32)})
            # A number is an array too.
            assert isinstance(outputs["u"], np.ndarray)
            found = outputs["y"]
            np.testing.assert_allclose(found, x * rows, rtol=1e-6)
            kept.append((found, x * rows))
        # What came before is not written over: a cache of free length is fed back.
        for found, expected in kept:
            np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_empty_boolean_unsigned_and_half_tensors_go_through_under_any_name(self, runtime, artifact):
        artifact.write_bytes(odd_graph())
        inputs, outputs = (
            tuple(TensorSpec(f"{name}{end}", dtype, shape) for name, (dtype, shape, _) in _ODD.items())
            for end in ("", ".out")
        )
        component = Component(
            "odd", self.runtime_name, "fp32", "model.onnx", inputs, outputs, Tolerance(5e-3, 2.5e-2, 5e-3, 0.0)
        )
        graph = runtime.load(artifact, component, 1)
        # Nothing of it carries weight: it is computed as it is written.
        assert graph.facts.precision == "fp32"
        for high in (0, 2**63):
            feeds = {
                "a/b:0": np.arange(6, dtype=np.float32).reshape(2, 3) + (high > 0),
                "none": np.zeros((0, 3), np.float32),
                "flags": np.array([high > 0, True]),
                "big": np.array([high, 7], np.uint64),
                "half": np.array([0.5, high > 0], np.float16),
            }
            found = graph.infer(feeds)
            for name, value in feeds.items():
                out = found[f"{name}.out"]
                assert (out.dtype, out.shape) == (value.dtype, value.shape)
                np.testing.assert_array_equal(out, ~value if name == "flags" else value)
