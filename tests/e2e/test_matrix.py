"""The support matrix of the README: written from the boards' profiles, and every `native` in it really run here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgectl_converters.targets.registry import TARGETS, target
from edgectl_profiles.library import load, names
from edgectl_profiles.schema import BoardProfile
from edgectl_protos.domain.artifact import Precision
from edgectl_testkit.bundles import conv_graph
from edgectl_testkit.documents import check_section

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
HERE = "generic-x86_64"
ROUTES = [(name, precision) for name in TARGETS for precision in target(name).precisions]


def proof(board: BoardProfile, runtime: str, precision: Precision) -> str:
    entry = next((entry for entry in board.runtimes if entry.name == runtime), None)
    return entry.proof if entry and precision in entry.precisions else "–"


def test_the_matrix_of_the_readme_is_what_the_boards_say():
    boards = [load(name) for name in names()]
    table = "| runtime | precision | sources | " + " | ".join(board.board for board in boards) + " |\n"
    table += "|---|---|---|" + "---|" * len(boards) + "\n"
    planned = [
        (entry.name, precision)
        for board in boards
        for entry in board.runtimes
        if entry.proof == "planned"
        for precision in entry.precisions
    ]
    for runtime, precision in [*ROUTES, *dict.fromkeys(planned)]:
        sources = "LeRobot ACT, ONNX" if runtime in TARGETS else "–"
        cells = " | ".join(proof(board, runtime, precision) for board in boards)
        table += f"| {runtime} | {precision.value} | {sources} | {cells} |\n"
    check_section(ROOT / "README.md", "matrix", table)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    (folder / "conv.onnx").write_bytes(conv_graph())
    yield folder
    run(folder, "agent", "stop")


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    environment = {**os.environ, "EDGECTL_HOME": str(folder / "home")}
    done = subprocess.run(
        [str(BIN / "edgectl"), *arguments], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("runtime", "precision"), ROUTES, ids=lambda value: getattr(value, "value", value))
@pytest.mark.parametrize("source", ["lerobot", "onnx"])
def test_a_native_route_ends_installed_and_proved_on_this_machine(home, source, runtime, precision):
    assert proof(load(HERE), runtime, precision) == "native"
    if precision is Precision.BF16 and "avx512_bf16" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no bf16")
    example = ROOT / "examples" / "press_pad"
    subject = [str(home / "conv.onnx")]
    if source == "lerobot":
        subject = [str(example / "policy"), "--footage", str(example / "footage")]
    wanted = ["--runtime", runtime, "--precision", precision.value, "--no-profile", "--json"]
    code, output, errors = run(home, "deploy", *subject, *wanted)
    assert code == 0, errors
    deployment = json.loads(output)["devices"][0]["deployment"]
    assert deployment["state"] == "committed"
    assert deployment["precision"] == precision.value
    assert deployment["parity"]
    assert all(figure["passed"] for figure in deployment["parity"])
