"""The example's policy, which carries its export, for every target: no toolchain, no torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl_converters.assignment import Assignment
from edgectl_converters.bundle import read_bundle
from edgectl_converters.conversion import Workshop, run_conversion
from edgectl_converters.inspect import inspect
from edgectl_converters.plan import ConvertRequest
from edgectl_converters.toolchain import Toolchains

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "press_pad"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("runtime", "scheme"),
    [
        ("reference", "fp32"),
        ("onnxrt", "fp32"),
        ("onnxrt", "int8"),
        ("openvino", "fp32"),
        ("openvino", "int8"),
    ],
)
def test_it_passes_its_gates_and_two_caches_give_one_release(tmp_path, runtime, scheme):
    assert inspect(EXAMPLE / "policy").toolchain_of(("onnx",)) == "host"
    request = ConvertRequest(EXAMPLE / "policy", Assignment.of(runtime, scheme), footage=EXAMPLE / "footage")
    releases = set()
    for name in ("one", "two"):
        cache = tmp_path / name
        shop = Workshop(cache, Toolchains(cache, tmp_path / "config"))
        result = run_conversion(request, shop, print)
        manifest, _ = read_bundle(result.bundle_dir)
        assert all(gate.passed and not gate.pending for gate in manifest.gates)
        assert run_conversion(request, shop, print).cached
        assert not list((cache / "toolchains").glob("lerobot-*"))
        releases.add(result.release)
    assert len(releases) == 1
