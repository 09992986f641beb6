"""The builder comes from its toolchain, made in the checkout's `.cache/tests` once; here it is that toolchain's Python
which runs the builder's worker, as in a conversion.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from contracts.target import INPUTS, OUTPUTS, TargetContract, convolution_graph, ignore
from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_converters.targets.registry import target
from edgectl_converters.toolchain import Toolchains
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import RouteError, ToolchainError

CACHE = Path(__file__).resolve().parents[4] / ".cache" / "tests"


@pytest.fixture(autouse=True)
def builder(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        found = Toolchains(CACHE, CACHE / "config").get("tensorrt_rtx", print)
    except ToolchainError as exc:
        pytest.skip(exc.message)
    monkeypatch.setattr(sys, "executable", str(found.python))


class TestTensorRtRtxTarget(TargetContract):
    target_name = "tensorrt_rtx"
    schemes = ("fp32", "fp16", "int8")
    options: ClassVar = {"sm": "8.6"}

    def run(self, chosen: Target, built: Built, out: Path, scheme: str, values: Any) -> tuple[str, Any]:
        pytest.skip("this machine has no NVIDIA GPU that would run the engine")

    def test_int8_is_int8_and_near(self, chosen: Target, tmp_path: Path) -> None:
        built = self.build(chosen, self.save(convolution_graph(), tmp_path), tmp_path / "out", "int8")
        assert (built.settings["calibration_calls"], built.settings["layers_int8"]) == ("4", "1")
        assert built.settings["left_in_fp32"] == "1 of 2 layers: matrix"

    def test_weights_outside_of_the_graph_come_along(self, chosen: Target, tmp_path: Path) -> None:
        import onnx

        inside = self.build(chosen, self.save(convolution_graph(), tmp_path), tmp_path / "one", "fp32")
        (tmp_path / "outside").mkdir()
        outside = tmp_path / "outside" / "graph.onnx"
        model = convolution_graph()
        onnx.save(model, str(outside), save_as_external_data=True, location="graph.data", size_threshold=100)
        self.build(chosen, outside, tmp_path / "two", "fp32")
        # Byte for byte the same engine: no weight became something else.
        assert (tmp_path / "one" / inside.entry).read_bytes() == (tmp_path / "two" / inside.entry).read_bytes()


def request(tmp_path: Path, **changes: Any) -> BuildRequest:
    import onnx

    onnx.save(convolution_graph(), str(tmp_path / "graph.onnx"))
    (tmp_path / "out").mkdir(exist_ok=True)
    np.savez(tmp_path / "calls.npz", x=np.zeros((2, 1, 3, 16, 16), np.float32))
    made = BuildRequest(
        runtime="tensorrt_rtx",
        component="c",
        form="onnx",
        graph=str(tmp_path / "graph.onnx"),
        inputs=INPUTS,
        outputs=OUTPUTS,
        scheme="fp16",
        variant="default",
        calibration=str(tmp_path / "calls.npz"),
        out=str(tmp_path / "out"),
        options={"sm": "8.6"},
    )
    return replace(made, **changes)


def test_a_board_that_does_not_say_its_gpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RouteError, match="builds for a compute capability, and none is known") as caught:
        target("tensorrt_rtx").build(request(tmp_path, options={}), ignore)
    assert "--board" in caught.value.hint


def test_one_engine_may_serve_several_gpus(tmp_path: Path) -> None:
    built = target("tensorrt_rtx").build(request(tmp_path, options={"sm": "8.6 8.9 12.0"}), ignore)
    assert built.settings["compute_capability"] == "8.6 8.9 12.0"
    assert built.settings["layers_fp16"] == "2"
    assert built.recipe is None
    assert [(gate.gate, gate.passed, gate.note) for gate in built.gates] == [
        ("layers", True, "2 in fp16, read back from the builder")
    ]


def test_a_free_shape_is_refused_before_the_build(tmp_path: Path) -> None:
    free = (TensorSpec("x", DType.FLOAT32, (-1, 3, 16, 16)),)
    with pytest.raises(RouteError, match=r"'x' is float32\[-1, 3, 16, 16\]"):
        target("tensorrt_rtx").build(request(tmp_path, inputs=free), ignore)
