"""What every target must do. Bind it in the target's test file: a class with its name and schemes.

A target never runs what it writes: the device's runtime does, here as in the gates.
"""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgectl_agent.worker.runtimes.registry import create
from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_converters.targets.registry import target
from edgectl_protos.domain.artifact import DType, TensorSpec, precision_of
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import OperatorError
from edgectl_protos.domain.parity import Tolerance

INPUTS = (TensorSpec("x", DType.FLOAT32, (1, 3, 16, 16)),)
OUTPUTS = (TensorSpec("y", DType.FLOAT32, (1, 4)),)


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


def frames(count: int) -> Any:
    return np.random.default_rng(2).normal(0, 1, (count, 1, 3, 16, 16)).astype(np.float32)


def ignore(text: str) -> None:
    """Progress that nobody reads."""


def run(chosen: Target, built: Built, out: Path, scheme: str, values: Any) -> tuple[str, Any]:
    """The precision that the device's runtime reads back, and its outputs."""
    component = Component(
        "c",
        chosen.name,
        scheme,
        built.entry,
        INPUTS,
        OUTPUTS,
        Tolerance(1.0, 1.0, 1.0, 1.0),
        built.options,
        built.states,
    )
    graph = create(chosen.name).load(out / built.entry, component, 1)
    try:
        outputs = np.stack([np.array(graph.infer({"x": value})["y"]) for value in values])
        return graph.facts.precision, outputs
    finally:
        graph.close()


class TargetContract:
    """Inherited by one test class per target."""

    target_name: str
    schemes: tuple[str, ...]
    plain: str = "fp32"
    """The scheme that is nearest to the reference, and how near, in parts of the largest output."""
    near: float = 1e-4
    options: Mapping[str, str] = {}
    """What a board says to it."""

    @pytest.fixture
    def chosen(self) -> Target:
        return target(self.target_name)

    def model(self) -> Any:
        """A graph that every scheme can be built from."""
        return convolution_graph()

    def save(self, model: Any, folder: Path) -> Path:
        path = folder / "graph.onnx"
        onnx.save(model, str(path))
        return path

    def build(self, chosen: Target, graph: Path, out: Path, scheme: str, variant: str = "") -> Built:
        # A scheme may have a slash.
        out.mkdir(parents=True)
        calibration = ""
        if chosen.needs_calibration(scheme):
            calibration = str(out.with_suffix(".npz"))
            np.savez(calibration, x=frames(4))
        request = BuildRequest(
            runtime=chosen.name,
            component="c",
            form="onnx",
            graph=str(graph),
            inputs=INPUTS,
            outputs=OUTPUTS,
            scheme=scheme,
            variant=variant or chosen.variants(scheme)[0],
            calibration=calibration,
            out=str(out),
            options=dict(self.options),
        )
        if chosen.needs_ranking(request.variant):
            request = replace(request, ranking=chosen.rank(request, ignore).layers)
        return chosen.build(request, ignore)

    def run(self, chosen: Target, built: Built, out: Path, scheme: str, values: Any) -> tuple[str, Any]:
        """As `run`; overridden where this host cannot run what the target builds."""
        return run(chosen, built, out, scheme, values)

    def test_it_says_what_it_is_called_reads_and_builds(self, chosen: Target) -> None:
        assert chosen.name == self.target_name
        assert chosen.schemes == self.schemes
        assert set(chosen.reads) <= {"onnx", "pt2"}
        for scheme in chosen.schemes:
            assert chosen.variants(scheme)
            assert 0 < chosen.tolerance(scheme).rmse < 1

    def test_every_package_that_it_imports_keys_its_builds(self, chosen: Target) -> None:
        by_module = importlib.metadata.packages_distributions()
        for cls in type(chosen).__mro__[:-1]:
            tree = ast.parse(Path(inspect.getfile(cls)).read_text())
            named = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
            named += [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
            for module in {name.split(".")[0] for name in named} - set(sys.stdlib_module_names):
                if not module.startswith("edgectl_"):
                    assert set(by_module[module]) & set(chosen.packages), module

    def test_what_it_builds_runs_on_the_device_as_the_reference_does(self, chosen: Target, tmp_path: Path) -> None:
        graph = self.save(convolution_graph(), tmp_path)
        built = self.build(chosen, graph, tmp_path / "out", self.plain)
        expected = self.build(target("reference"), graph, tmp_path / "expected", "fp32")
        precision, found = self.run(chosen, built, tmp_path / "out", self.plain, frames(2))
        _, there = run(target("reference"), expected, tmp_path / "expected", "fp32", frames(2))
        assert precision == precision_of(self.plain)
        np.testing.assert_allclose(found, there, rtol=0, atol=self.near * np.abs(there).max())

    def test_int8_is_int8_and_near(self, chosen: Target, tmp_path: Path) -> None:
        if "int8" not in chosen.schemes:
            pytest.skip(f"{self.target_name} builds no int8")
        graph = self.save(convolution_graph(), tmp_path)
        exact = self.build(chosen, graph, tmp_path / "fp32", "fp32")
        _, there = self.run(chosen, exact, tmp_path / "fp32", "fp32", frames(4))
        for variant in chosen.variants("int8"):
            built = self.build(chosen, graph, tmp_path / variant, "int8", variant)
            precision, here = self.run(chosen, built, tmp_path / variant, "int8", frames(4))
            assert precision == precision_of("int8")
            assert built.settings["calibration_calls"] == "4"
            assert 0 < np.abs(here - there).max() < 0.1 * np.ptp(there)
            assert ("kept_in_fp32" in built.settings) == chosen.needs_ranking(variant)

    @pytest.mark.parametrize("domain", ["", "our.lab"])
    def test_an_unknown_operator_is_named(self, chosen: Target, tmp_path: Path, domain: str) -> None:
        model = convolution_graph()
        model.graph.node[1].op_type = "FancyRelu"
        model.graph.node[1].domain = domain
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))
        graph = self.save(model, tmp_path)
        with pytest.raises(OperatorError, match="FancyRelu"):  # noqa: PT012 - some learn it when they load
            built = self.build(chosen, graph, tmp_path / "out", self.plain)
            self.run(chosen, built, tmp_path / "out", self.plain, frames(1))

    def test_only_the_artifact_is_left_and_its_entry_is_in_it(self, chosen: Target, tmp_path: Path) -> None:
        graph = self.save(self.model(), tmp_path)
        for scheme in chosen.schemes:
            built = self.build(chosen, graph, tmp_path / scheme, scheme)
            files = {path.name for path in (tmp_path / scheme).iterdir()}
            assert not built.entry or built.entry in files
            assert {Path(name).stem for name in files} == {Path(built.entry).stem}

    def test_weights_outside_of_the_graph_come_along(self, chosen: Target, tmp_path: Path) -> None:
        inside = self.save(convolution_graph(), tmp_path)
        (tmp_path / "outside").mkdir()
        outside = tmp_path / "outside" / "graph.onnx"
        onnx.save(
            convolution_graph(), str(outside), save_as_external_data=True, location="graph.data", size_threshold=100
        )
        assert (outside.parent / "graph.data").exists()
        expected = self.build(chosen, inside, tmp_path / "one", self.plain)
        built = self.build(chosen, outside, tmp_path / "two", self.plain)
        for path in outside.parent.iterdir():
            path.unlink()
        here = self.run(chosen, built, tmp_path / "two", self.plain, frames(1))
        there = self.run(chosen, expected, tmp_path / "one", self.plain, frames(1))
        np.testing.assert_array_equal(here[1], there[1])

    def test_the_same_build_again_gives_the_same_bytes(self, chosen: Target, tmp_path: Path) -> None:
        graph = self.save(self.model(), tmp_path)
        ways = {one: chosen.variants(one) for one in chosen.schemes}
        # The last keeps most layers.
        for scheme, variant in [(one, way) for one in ways for way in dict.fromkeys((ways[one][0], ways[one][-1]))]:
            builds = []
            for name in ("one", "two"):
                folder = tmp_path / f"{scheme}-{variant}-{name}"
                self.build(chosen, graph, folder, scheme, variant)
                files = [path for path in folder.rglob("*") if path.is_file()]
                builds.append({path.relative_to(folder).as_posix(): path.read_bytes() for path in files})
            assert builds[0] == builds[1]

    def test_the_graph_handed_in_is_left_as_it_was(self, chosen: Target, tmp_path: Path) -> None:
        graph = self.save(self.model(), tmp_path)
        before = graph.read_bytes()
        for scheme in chosen.schemes:
            self.build(chosen, graph, tmp_path / scheme, scheme)
        assert graph.read_bytes() == before
