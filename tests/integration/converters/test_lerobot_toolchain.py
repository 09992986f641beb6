"""The lerobot toolchain of each version, made from its lock: LeRobot saves, loads and exports, and agrees with us."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from edgectl_converters.convert import ConvertRequest, convert, export_checkpoint
from edgectl_converters.inspect import inspect
from edgectl_converters.toolchain import VERSIONS, Toolchain, Toolchains
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.errors import ToolchainError

ROOT = Path(__file__).resolve().parents[3]
# Kept in the checkout, so that only the first run of the tests waits for the installation.
CACHE = ROOT / ".cache" / "tests"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=VERSIONS)
def config(request, tmp_path_factory) -> Path:
    """Settings of a user who chose this version."""
    folder = tmp_path_factory.mktemp("config")
    try:
        Toolchains(CACHE, folder).use_version("lerobot", request.param)
    except ToolchainError as exc:
        pytest.skip(exc.message)
    return folder


@pytest.fixture(scope="module")
def lerobot(config) -> Toolchain:
    return Toolchains(CACHE, config).get("lerobot", print)


@pytest.fixture(scope="module")
def checkpoint(lerobot, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("checkpoint") / "act"
    script = ROOT / "tools" / "bench" / "act_checkpoint.py"
    subprocess.run([str(lerobot.python), str(script), str(out), "small"], check=True, env=lerobot.environment())
    return out


@pytest.fixture
def folders(config, tmp_path):
    # Steps of its own, the toolchain of all.
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "toolchains").symlink_to(CACHE / "toolchains")
    return {"cache_dir": cache, "config_dir": config, "progress": print}


@pytest.mark.parametrize("runtime", ["onnxrt", "openvino"])
def test_final_actions_agree_with_lerobots_own_pipeline(lerobot, checkpoint, folders, runtime):
    result = convert(ConvertRequest(checkpoint, runtime, Precision.FP32), **folders)
    figures = {gate.gate: gate.value for gate in result.manifest.gates}
    assert figures["parity.max_abs_of_range"] <= 1e-4
    assert result.manifest.golden.reference.startswith(f"lerobot {lerobot.versions['lerobot']}")
    assert {step.feature: step.mode for step in result.manifest.policy.pre}["observation.state"] == "MIN_MAX"
    again = convert(ConvertRequest(checkpoint, runtime, Precision.FP32), **folders)
    assert again.cached
    assert again.release == result.release


def test_a_carried_export_is_the_same_graph_without_torch(checkpoint, folders, tmp_path):
    copy = tmp_path / "act"
    shutil.copytree(checkpoint, copy)
    folder = export_checkpoint(copy, footage=None, **folders)
    assert (folder / "graph.onnx").stat().st_size < (copy / "model.safetensors").stat().st_size / 10
    assert inspect(copy).toolchain == "host"
    converted = convert(ConvertRequest(copy, "onnxrt", Precision.FP32), **folders)
    exports = sorted((folders["cache_dir"] / "steps").glob("*/full.onnx"))
    weights = []
    for path in exports:
        if (path.parent / "golden.npz").exists():
            graph = onnx.load(str(path)).graph
            weights.append({i.name: numpy_helper.to_array(i).tobytes() for i in graph.initializer})
    assert len(weights) == 2
    assert weights[0] == weights[1]
    assert converted.manifest.provenance.steps[0].toolchain == "lerobot"


def test_a_changed_weight_makes_the_carried_export_stale(checkpoint, folders, tmp_path):
    copy = tmp_path / "act"
    shutil.copytree(checkpoint, copy)
    export_checkpoint(copy, footage=None, **folders)
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(data)
    card = inspect(copy)
    assert card.toolchain == "lerobot"
    assert any("model.safetensors has changed" in note for note in card.notes)


def test_tokens_are_not_cut_apart_in_the_exported_graph(checkpoint, folders):
    convert(ConvertRequest(checkpoint, "onnxrt", Precision.FP32), **folders)
    graph = next(iter((folders["cache_dir"] / "steps").glob("*/golden.npz"))).with_name("full.onnx")
    operators = [node.op_type for node in onnx.load(str(graph)).graph.node]
    # Two cameras of 3×3 tokens each would be 18 slices.
    assert operators.count("Slice") < 18


def test_an_environment_without_lerobot_is_refused(tmp_path):
    with pytest.raises(ToolchainError, match="is not a Python with lerobot"):
        Toolchains(tmp_path, tmp_path).use("lerobot", Path("/usr/bin/env"))
