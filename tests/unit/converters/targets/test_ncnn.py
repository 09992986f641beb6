"""pnnx comes from its toolchain, made in the checkout's `.cache/tests` once: its program takes no Python package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from contracts.target import OUTPUTS, TargetContract, ignore
from edgectl_converters.targets.base import BuildRequest
from edgectl_converters.targets.registry import target
from edgectl_converters.toolchain import Toolchains
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import RouteError, ToolchainError

CACHE = Path(__file__).resolve().parents[4] / ".cache" / "tests"


@pytest.fixture(autouse=True)
def pnnx(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        found = Toolchains(CACHE, CACHE / "config").get("ncnn", print)
    except ToolchainError as exc:
        pytest.skip(exc.message)
    packages = next((found.python.parent.parent / "lib").glob("python*/site-packages"))
    # At the end, so that nothing else comes from there.
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])


class TestNcnnTarget(TargetContract):
    target_name = "ncnn"
    schemes = ("fp32",)


@pytest.mark.parametrize(
    "spec", [TensorSpec("x", DType.UINT8, (1, 3, 16, 16)), TensorSpec("x", DType.FLOAT32, (1, 3, -1, -1))]
)
def test_what_ncnn_cannot_take_is_refused_before_the_conversion(spec: TensorSpec, tmp_path: Path) -> None:
    request = BuildRequest(
        "ncnn", "c", "onnx", str(tmp_path / "graph.onnx"), (spec,), OUTPUTS, "fp32", "default", "", str(tmp_path)
    )
    with pytest.raises(RouteError, match="fixed shape"):
        target("ncnn").build(request, ignore)
