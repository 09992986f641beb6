"""Both LeRobots, each made from its lock with the Python that version managers keep: a policy that it saved is exported
there, proved here, carried along, and stale when a weight changes. The other policies: `test_lerobot_policies.py`.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from edgectl_converters.assignment import Assignment
from edgectl_converters.conversion import Workshop, export_checkpoint, run_conversion
from edgectl_converters.inspect import inspect
from edgectl_converters.plan import ConvertRequest
from edgectl_converters.sources.base import GOLDEN, Export
from edgectl_converters.steps import StepCache
from edgectl_converters.toolchain import Toolchain, Toolchains
from edgectl_protos.domain.errors import ToolchainError
from edgectl_protos.domain.program import Normalise
from edgectl_testkit import lerobot_policies

ROOT = Path(__file__).resolve().parents[3]
# Kept in the checkout, so that only the first run of the tests waits for the installation.
CACHE = ROOT / ".cache" / "tests"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=["lerobot-0.4", "lerobot-0.6"])
def lerobot(request) -> Toolchain:
    try:
        return Toolchains(CACHE, CACHE / "config").get(request.param, print)
    except ToolchainError as exc:
        pytest.skip(exc.message)


@pytest.fixture(scope="module")
def checkpoint(lerobot, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("checkpoint") / "act"
    command = [str(lerobot.python), str(Path(lerobot_policies.__file__)), "act", str(out)]
    subprocess.run(command, check=True, env=lerobot.environment())
    return out


@pytest.fixture(scope="module")
def converted(lerobot, checkpoint, tmp_path_factory) -> Path:
    """A cache in which the checkpoint was exported and converted, beside the toolchains of all."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "toolchains").symlink_to(CACHE / "toolchains")
    run_conversion(ConvertRequest(checkpoint, Assignment.of("onnxrt", "fp32")), workshop(cache), print)
    return cache


@pytest.fixture
def shop(converted, tmp_path) -> Workshop:
    """A cache of the test's own that starts with that."""
    return workshop(shutil.copytree(converted, tmp_path / "cache", symlinks=True))


def workshop(cache: Path) -> Workshop:
    return Workshop(cache, Toolchains(cache, CACHE / "config"))


def exports(shop: Workshop) -> list[tuple[Path, Export]]:
    cache: StepCache = shop.steps
    keys = [key for key, record, _ in cache.records() if record.kind == "export"]
    found = [cache.find(key, Export) for key in keys]
    return [(one.folder, one.report) for one in found if one is not None]


def test_the_toolchain_follows_from_the_checkpoint(lerobot, checkpoint):
    assert inspect(checkpoint).toolchain == lerobot.name


@pytest.mark.parametrize("runtime", ["onnxrt", "openvino"])
def test_final_actions_agree_with_lerobots_own_pipeline(lerobot, checkpoint, shop, runtime):
    request = ConvertRequest(checkpoint, Assignment.of(runtime, "fp32"))
    result = run_conversion(request, shop, print)
    figures = {(gate.gate, gate.subject): gate.value for gate in result.manifest.gates}
    # In parts of the worst dimension's deviation.
    assert figures["parity.rmse", "executed"] <= 1e-5
    assert figures["parity.worst", "executed"] <= 1e-4
    assert max(value for (_, subject), value in figures.items() if subject == "processing") <= 1e-4
    assert figures["oracle.rmse", "onnxrt"] <= 1e-5
    assert result.manifest.golden.reference.startswith(f"lerobot {lerobot.versions['lerobot']}")
    assert [step.input for step in result.manifest.program.steps if isinstance(step, Normalise)] == [
        "observation.state"
    ]
    again = run_conversion(request, shop, print)
    assert again.cached
    assert again.release == result.release


def test_statistics_inside_the_weights_give_the_same_actions(lerobot, checkpoint, shop, tmp_path):
    old = shutil.copytree(checkpoint, tmp_path / "old")
    weights = load_file(old / "model.safetensors")
    for file in old.glob("*normalizer_processor.safetensors"):
        part = "unnormalize_outputs" if "unnormalizer" in file.name else "normalize_inputs"
        for name, values in load_file(file).items():
            feature, _, statistic = name.rpartition(".")
            weights[f"{part}.so100_buffer_{feature.replace('.', '_')}.{statistic}"] = values
    save_file(weights, old / "model.safetensors")
    for file in old.glob("policy_*"):
        file.unlink()
    run_conversion(ConvertRequest(old, Assignment.of("onnxrt", "fp32")), shop, print)
    one, other = (np.load(folder / GOLDEN) for folder, _ in exports(shop))
    for name in one.files:
        np.testing.assert_array_equal(other[name], one[name])


def test_a_carried_export_is_the_same_graph_without_torch(checkpoint, shop, tmp_path):
    copy = tmp_path / "act"
    shutil.copytree(checkpoint, copy)
    folder = export_checkpoint(copy, shop, print)
    assert (folder / "act.onnx").stat().st_size < (copy / "model.safetensors").stat().st_size / 10
    assert inspect(copy).toolchain_of(("onnx",)) == "host"
    run_conversion(ConvertRequest(copy, Assignment.of("onnxrt", "fp32")), shop, print)
    (one, first), (two, second) = exports(shop)
    assert first == second
    weights = [
        {i.name: onnx.numpy_helper.to_array(i).tobytes() for i in onnx.load(str(path / "act.onnx")).graph.initializer}
        for path in (one, two)
    ]
    assert weights[0] == weights[1]


def test_a_changed_weight_makes_the_carried_export_stale(lerobot, checkpoint, shop, tmp_path):
    copy = tmp_path / "act"
    shutil.copytree(checkpoint, copy)
    export_checkpoint(copy, shop, print)
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(data)
    card = inspect(copy)
    assert card.toolchain == lerobot.name
    assert any("model.safetensors has changed" in note for note in card.notes)


def test_tokens_are_not_cut_apart_in_the_exported_graph(shop):
    ((folder, _),) = exports(shop)
    operators = [node.op_type for node in onnx.load(str(folder / "act.onnx")).graph.node]
    # Two cameras of 3×3 tokens each would be 18 slices.
    assert operators.count("Slice") < 18
