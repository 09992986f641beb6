"""The example's policy, which carries its export, for every target: no toolchain, no torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl_converters.bundle import read_bundle
from edgectl_converters.convert import ConvertRequest, convert
from edgectl_converters.inspect import inspect
from edgectl_protos.domain.artifact import Precision

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "press_pad"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [
        ("reference", Precision.FP32),
        ("onnxrt", Precision.FP32),
        ("onnxrt", Precision.INT8),
        ("openvino", Precision.FP32),
        ("openvino", Precision.INT8),
    ],
)
def test_it_passes_its_gates_and_two_caches_give_one_release(tmp_path, runtime, precision):
    assert inspect(EXAMPLE / "policy").toolchain == "host"
    request = ConvertRequest(EXAMPLE / "policy", runtime, precision, footage=EXAMPLE / "footage")
    releases = set()
    for name in ("one", "two"):
        folders = {"cache_dir": tmp_path / name, "config_dir": tmp_path / "config"}
        result = convert(request, **folders, progress=print)
        manifest, _ = read_bundle(result.bundle_dir)
        assert all(gate.passed for gate in manifest.gates)
        assert convert(request, **folders, progress=print).cached
        assert not list((tmp_path / name / "toolchains").glob("lerobot-*"))
        releases.add(result.release)
    assert len(releases) == 1
