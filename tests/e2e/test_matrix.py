"""The support matrix of the README: written from the record of runs (`docs/proofs.json`), which these tests make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgectl_converters.targets.registry import TARGETS, target
from edgectl_profiles.library import load, names
from edgectl_testkit.bundles import conv_graph
from edgectl_testkit.documents import check_section
from edgectl_testkit.proofs import WORDS, Proof, built, keep, ran, read

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PROOFS = ROOT / "docs" / "proofs.json"
HERE = "generic-x86_64"
REFUSED = {("example", "ncnn"): "worker_crashed"}
"""What a runtime cannot run of these two, and the reason that is given: ncnn dies on the attention of an ACT."""


def listed(board: str) -> list[tuple[str, str]]:
    return [(entry.name, scheme) for entry in load(board).runtimes for scheme in entry.schemes]


def buildable(board: str) -> list[tuple[str, str]]:
    return [(name, scheme) for name, scheme in listed(board) if name in TARGETS and scheme in target(name).schemes]


def cell(proofs: list[Proof], board: str, runtime: str, scheme: str) -> str:
    words = [p.word for p in proofs if (p.board, p.runtime, p.scheme) == (board, runtime, scheme)]
    if words:
        return min(words, key=WORDS.index)
    return "planned" if (runtime, scheme) in listed(board) else "–"


def test_the_matrix_of_the_readme_is_what_was_recorded():
    proofs = read(PROOFS)
    boards = names()
    table = "| runtime | scheme | policies that ran | " + " | ".join(boards) + " |\n"
    table += "|---|---|---|" + "---|" * len(boards) + "\n"
    recorded = [(proof.runtime, proof.scheme) for proof in proofs]
    ways = sorted({*recorded, *(way for board in boards for way in listed(board))})
    for runtime, scheme in ways:
        policies = sorted({p.policy for p in proofs if (p.runtime, p.scheme) == (runtime, scheme) and p.run})
        cells = " | ".join(cell(proofs, board, runtime, scheme) for board in boards)
        table += f"| {runtime} | {scheme} | {', '.join(policies) or '–'} | {cells} |\n"
    check_section(ROOT / "README.md", "matrix", table)


def test_what_ran_names_its_run_and_what_was_built_its_release():
    for proof in read(PROOFS):
        assert proof.word in WORDS
        assert bool(proof.run) == (proof.word not in ("built", "planned")), proof
        assert proof.release.startswith("sha256:"), proof


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    # Toolchains are made in the checkout, once.
    toolchains = ROOT / ".cache" / "tests" / "toolchains"
    toolchains.mkdir(parents=True, exist_ok=True)
    (folder / "home" / "cache").mkdir(parents=True)
    (folder / "home" / "cache" / "toolchains").symlink_to(toolchains)
    (folder / "conv.onnx").write_bytes(conv_graph())
    # An int8 build asks in which range the frames are. Each is of another colour, which is what this graph tells apart.
    (folder / "footage").mkdir()
    random = np.random.default_rng(0)
    frames = random.random((32, 3, 1, 1)) * random.random((32, 3, 32, 32))
    np.save(folder / "footage" / "image.npy", frames.astype(np.float32))
    yield folder
    run(folder, "agent", "stop")


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    environment = {**os.environ, "EDGECTL_HOME": str(folder / "home")}
    done = subprocess.run(
        [str(BIN / "edgectl"), *arguments], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    return done.returncode, done.stdout, done.stderr


def subject(home: Path, source: str) -> list[str]:
    example = ROOT / "examples" / "press_pad"
    if source == "example":
        return [str(example / "policy"), "--footage", str(example / "footage")]
    return [str(home / "conv.onnx"), "--footage", str(home / "footage")]


@pytest.mark.slow
@pytest.mark.parametrize(("runtime", "scheme"), buildable(HERE))
@pytest.mark.parametrize("source", ["example", "graph"])
def test_a_way_to_this_machine_ends_installed_proved_and_run(home, source, runtime, scheme):
    if scheme == "bf16" and "avx512_bf16" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no bf16")
    wanted = ["--runtime", runtime, "--scheme", scheme, "--measure", "1s", "--json"]
    code, output, errors = run(home, "deploy", *subject(home, source), *wanted)
    if reason := REFUSED.get((source, runtime)):
        assert reason in output + errors
        return
    assert code in (0, 1, 3), errors  # whether it holds its rate here is not the question
    device = json.loads(output)["devices"][0]
    deployment = device["deployment"]
    assert deployment["state"] == "committed"
    assert [component["precision"] for component in deployment["components"]] == [scheme]
    judged = [figure for figure in deployment["parity"]["figures"] if figure.get("limit") is not None]
    assert judged
    assert all(figure["value"] <= figure["limit"] for figure in judged)
    keep(PROOFS, ran(device))


@pytest.mark.slow
@pytest.mark.parametrize("board", [name for name in names() if buildable(name) and name != HERE])
def test_a_way_to_another_board_is_built(home, board):
    for runtime, scheme in buildable(board):
        wanted = ["--board", board, "--runtime", runtime, "--scheme", scheme, "--json"]
        source = "graph" if ("example", runtime) in REFUSED else "example"
        code, output, errors = run(home, "convert", *subject(home, source), *wanted)
        assert code == 0, errors
        keep(PROOFS, built(board, json.loads(output)))
