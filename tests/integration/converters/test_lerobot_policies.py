"""Policies that LeRobot itself saved: exported in their toolchain, run by the executor, compared with LeRobot.

Toolchains are made in the checkout's `.cache/tests`, once; one that was chosen in its `config` is taken instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.runtimes.onnxrt import OnnxRuntime
from edgectl_converters.card import sha256_of
from edgectl_converters.sources.base import ARRAYS, GOLDEN, Export, ExportRequest
from edgectl_converters.sources.lerobot.source import LeRobotSource, carry
from edgectl_converters.toolchain import Toolchain, Toolchains
from edgectl_converters.worker import KIND, REPORT, REQUEST, Kind
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import ToolchainError
from edgectl_protos.domain.parity import Tolerance
from edgectl_testkit import lerobot_policies
from edgectl_testkit.lerobot_policies import KINDS_04, KINDS_06

ROOT = Path(__file__).resolve().parents[3]
CACHE = ROOT / ".cache" / "tests"
CASES = 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def toolchain(name: str) -> Toolchain:
    try:
        return Toolchains(CACHE, CACHE / "config").get(name, print)
    except ToolchainError as exc:
        pytest.skip(exc.message)


def run(found: Toolchain, *arguments: str, plugin: Path, requests: str = "") -> None:
    environment = found.environment()
    environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], str(plugin)])
    command = [str(found.python), *arguments]
    done = subprocess.run(command, env=environment, input=requests, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module", params=[("0.4", kind) for kind in KINDS_04] + [("0.6", kind) for kind in KINDS_06])
def exported(request, tmp_path_factory) -> tuple[Path, Path, str]:
    """A checkpoint, its export's folder, and the toolchain's name."""
    version, kind = request.param
    folder = tmp_path_factory.mktemp(kind)
    name = f"lerobot-{version}"
    found = toolchain(name)
    plugin, checkpoint, out = folder / "plugin", folder / "policy", folder / "out"
    lerobot_policies.write_plugin(plugin) if kind.startswith("pi") else plugin.mkdir()
    out.mkdir()
    run(found, str(Path(lerobot_policies.__file__)), kind, str(checkpoint), plugin=plugin)
    policy = LeRobotSource().card(checkpoint, sha256_of).policy
    np.savez(folder / "observations.npz", **observations(policy))
    asked = ExportRequest("lerobot", str(checkpoint), str(out), str(folder / "observations.npz"), "synthetic", 0)
    (folder / KIND).write_bytes(canonical_bytes(Kind("export")))
    (folder / REQUEST).write_bytes(canonical_bytes(asked))
    run(found, "-m", "edgectl_converters.worker", plugin=plugin, requests=f"{folder}\n")
    assert (folder / REPORT).exists(), [path.read_text() for path in folder.glob("failure.json")]
    return checkpoint, out, name


def observations(policy) -> dict:
    random = np.random.default_rng(0)
    found = {}
    for feature in policy.observations:
        shape = (CASES, *policy.observed(feature).shape)
        if feature.dtype is DType.TEXT:
            found[feature.name] = np.array(["pick up the cube", "open_the drawer\n", " go "])
        elif feature.dtype is DType.UINT8:
            found[feature.name] = random.integers(0, 256, shape, dtype=np.uint8)
        else:
            found[feature.name] = random.normal(0, 1, shape).astype(np.float32)
    return found


def worst_error(export: Export, out: Path) -> float:
    """Of the actions' deviation."""
    runtime, arrays, golden = OnnxRuntime(), dict(np.load(out / ARRAYS)), dict(np.load(out / GOLDEN))
    graphs = {
        one.name: runtime.load(
            out / one.files["onnx"],
            Component(
                one.name,
                "onnxrt",
                "fp32",
                one.files["onnx"],
                one.inputs,
                one.outputs,
                Tolerance(5e-3, 2.5e-2, 5e-3, 0.0),
            ),
            2,
            alone=False,
        )
        for one in export.components
    }
    executor = Executor(export.policy, export.program, arrays, graphs, path_of=lambda name: out / name)
    actions = golden[f"out.{export.program.action}"]
    errors = []
    for case in range(export.cases):
        observed = {feature.name: golden[f"in.{feature.name}"][case] for feature in export.policy.observations}
        noise = {name: golden[f"in.{name}"][case] for name in export.program.noise}
        errors.append(np.abs(executor.run(observed, given=noise) - actions[case]).max())
    return float(max(errors) / actions.std())


def report(out: Path) -> Export:
    return from_bytes(Export, (out.parent / REPORT).read_bytes(), what=REPORT)


def test_the_program_gives_lerobots_own_actions(exported):
    _, out, _ = exported
    assert worst_error(report(out), out) <= 1e-5


def test_the_card_names_the_lerobot_that_wrote_the_checkpoint(exported):
    checkpoint, out, name = exported
    card = LeRobotSource().card(checkpoint, sha256_of)
    assert card.toolchain == name
    assert card.notes == ()
    assert card.components == tuple(component.name for component in report(out).components)
    assert card.policy == report(out).policy


def test_graphs_hold_no_paths_of_the_machine_that_made_them(exported):
    _, out, _ = exported
    for file in out.glob("*.onnx"):
        assert str(Path(sys.prefix).anchor + "tmp").encode() not in file.read_bytes()
        assert b".py" not in file.read_bytes()


def test_what_is_carried_along_is_what_was_exported(exported, tmp_path):
    checkpoint, out, _ = exported
    folder = carry(checkpoint, report(out), out)
    card = LeRobotSource().card(checkpoint, sha256_of)
    assert card.toolchain_of(("onnx",)) == "host", card.notes
    stored = sum(file.stat().st_size for file in folder.glob("*.onnx"))
    assert stored < sum(file.stat().st_size for file in out.glob("*.onnx"))
    asked = ExportRequest("lerobot", str(checkpoint), str(tmp_path), "", "", 0)
    restored = LeRobotSource().export(asked, lambda text: None)
    assert restored == report(out)
    assert worst_error(restored, tmp_path) == pytest.approx(worst_error(report(out), out), abs=1e-6)
