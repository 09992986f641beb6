"""What every target must do. Bind it in the target's test file: a class with its name and precisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgectl_converters.passes.fold_frames import fold_frames
from edgectl_converters.targets.base import Target
from edgectl_converters.targets.registry import target
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.errors import OperatorError
from edgectl_testkit.bundles import CAMERAS, STATE, tiny_arrays, tiny_golden, tiny_graph, tiny_policy


def convolution_graph() -> Any:
    """A convolution and a matrix product, so that there is something to quantise."""
    rng = np.random.default_rng(1)
    kernel = onnx.numpy_helper.from_array(rng.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32), "kernel")
    matrix = onnx.numpy_helper.from_array(rng.normal(0, 0.3, (8, 4)).astype(np.float32), "matrix")
    axes = onnx.numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("ReduceMean", ["r", "axes"], ["m"], keepdims=0, name="mean"),
        helper.make_node("MatMul", ["m", "matrix"], ["y"], name="product"),
    ]
    graph = helper.make_graph(
        nodes,
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [kernel, matrix, axes],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def frames(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(2)
    return [{"x": rng.normal(0, 1, (1, 3, 16, 16)).astype(np.float32)} for _ in range(count)]


def ignore(text: str) -> None:
    """Progress that nobody reads."""


class TargetContract:
    """Inherited by one test class per target."""

    target_name: str
    precisions: tuple[Precision, ...]

    @pytest.fixture
    def chosen(self) -> Target:
        return target(self.target_name)

    def save(self, model: Any, folder: Path) -> Path:
        path = folder / "graph.onnx"
        onnx.save(model, str(path))
        return path

    def build(self, chosen: Target, graph: Path, out: Path, precision: Precision, calibration: Any = ()) -> Any:
        out.mkdir()
        return chosen.build(graph, out, precision, chosen.variants(precision)[0], list(calibration), ignore)

    def test_it_says_what_it_is_called_and_builds(self, chosen):
        assert chosen.name == self.target_name
        assert chosen.precisions == self.precisions
        assert chosen.packages

    def test_a_folded_graph_gives_the_actions_of_the_specification(self, chosen, tmp_path):
        model = onnx.load_from_string(tiny_graph())
        policy, arrays, golden = tiny_policy(), tiny_arrays(), tiny_golden(cases=2)
        fold_frames(model, policy.observations, arrays)
        graph = self.save(model, tmp_path)
        built = self.build(chosen, graph, tmp_path / "out", Precision.FP32)
        cases = []
        for case in range(2):
            state = golden[f"in.{STATE}"][case] * arrays[f"pre.{STATE}.mul"] + arrays[f"pre.{STATE}.add"]
            feeds = {name.rsplit(".", 1)[1]: golden[f"in.{name}"][case][None] for name in CAMERAS}
            cases.append(feeds | {"state": state[None].astype(np.float32)})
        evaluation = chosen.evaluate(tmp_path / "out" / built.artifact, built.options, cases)
        assert evaluation.precision is Precision.FP32
        found = np.concatenate([outputs["action"] for outputs in evaluation.outputs]) * 2 + 1
        np.testing.assert_allclose(found, golden["out.action"], rtol=1e-4, atol=1e-4)

    def test_outputs_of_one_case_survive_the_next(self, chosen, tmp_path):
        graph = self.save(convolution_graph(), tmp_path)
        built = self.build(chosen, graph, tmp_path / "out", Precision.FP32)
        path = tmp_path / "out" / built.artifact
        one, two = frames(2)
        together = chosen.evaluate(path, built.options, [one, two]).outputs
        alone = chosen.evaluate(path, built.options, [one]).outputs
        np.testing.assert_array_equal(together[0]["y"], alone[0]["y"])
        assert not np.array_equal(together[0]["y"], together[1]["y"])

    def test_int8_is_int8_and_near(self, chosen, tmp_path):
        if Precision.INT8 not in chosen.precisions:
            pytest.skip(f"{self.target_name} builds no int8")
        graph = self.save(convolution_graph(), tmp_path)
        cases = frames(4)
        exact = self.build(chosen, graph, tmp_path / "fp32", Precision.FP32)
        built = self.build(chosen, graph, tmp_path / "int8", Precision.INT8, cases)
        evaluation = chosen.evaluate(tmp_path / "int8" / built.artifact, built.options, cases)
        expected = chosen.evaluate(tmp_path / "fp32" / exact.artifact, exact.options, cases)
        assert evaluation.precision is Precision.INT8
        assert built.settings["calibration_cases"] == "4"
        here = np.concatenate([outputs["y"] for outputs in evaluation.outputs])
        there = np.concatenate([outputs["y"] for outputs in expected.outputs])
        assert 0 < np.abs(here - there).max() < 0.1 * np.ptp(there)

    @pytest.mark.parametrize("domain", ["", "our.lab"])
    def test_an_unknown_operator_is_named(self, chosen, tmp_path, domain):
        model = convolution_graph()
        model.graph.node[1].op_type = "FancyRelu"
        model.graph.node[1].domain = domain
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))
        graph = self.save(model, tmp_path)
        with pytest.raises(OperatorError, match="FancyRelu"):  # noqa: PT012 - some learn it when they load
            built = self.build(chosen, graph, tmp_path / "out", Precision.FP32)
            chosen.evaluate(tmp_path / "out" / built.artifact, built.options, frames(1))

    def test_nothing_but_the_artifact_is_left(self, chosen, tmp_path):
        graph = self.save(convolution_graph(), tmp_path)
        for precision in chosen.precisions:
            built = self.build(chosen, graph, tmp_path / precision.value, precision, frames(2))
            stem = Path(built.artifact).stem
            assert {path.stem for path in (tmp_path / precision.value).iterdir()} == {stem}

    def test_the_same_build_again_gives_the_same_bytes(self, chosen, tmp_path):
        graph = self.save(convolution_graph(), tmp_path)
        for precision in chosen.precisions:
            builds = []
            for name in ("one", "two"):
                folder = tmp_path / f"{precision.value}-{name}"
                self.build(chosen, graph, folder, precision, frames(4))
                builds.append({path.name: path.read_bytes() for path in folder.iterdir()})
            assert builds[0] == builds[1]

    def test_the_graph_handed_in_is_left_as_it_was(self, chosen, tmp_path):
        graph = self.save(convolution_graph(), tmp_path)
        before = graph.read_bytes()
        for precision in chosen.precisions:
            self.build(chosen, graph, tmp_path / precision.value, precision, frames(2))
        assert graph.read_bytes() == before
