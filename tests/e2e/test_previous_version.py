"""The version before this one, frozen as wheels: its agent under this host, its host over this agent, and its disk."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgectl_protos.version import VERSION
from edgectl_testkit.bundles import tiny_graph, tiny_graph_loop
from edgectl_testkit.serve import short_folder

FROZEN = Path(__file__).resolve().parents[1] / "frozen"
LOOP = tiny_graph_loop(rate_hz=50, measure_s=0.5)


@pytest.fixture(scope="module")
def before(tmp_path_factory) -> str:
    """The Python of an environment with the frozen distributions, and this one's libraries behind them."""
    folder = tmp_path_factory.mktemp("frozen")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for wheel in FROZEN.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    # A path file inside of a folder that is named by one is not read: this checkout's own packages stay out.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return str(folder / "bin" / "python")


@pytest.fixture
def folder():
    with short_folder() as folder:
        (folder / "tiny.onnx").write_bytes(tiny_graph())
        (folder / "loop.yaml").write_text(LOOP)
        address = f"unix:{folder / 'a.sock'}"
        (folder / "fleet.yaml").write_text(json.dumps({"devices": {"bench": {"address": address}}}))
        yield folder


@contextlib.contextmanager
def agent(python: str, folder: Path) -> Iterator[None]:
    command = [python, "-m", "edgectl_agent", "run", "--state-dir", str(folder / "state"), "--device", "bench"]
    command += ["--listen", f"unix:{folder / 'a.sock'}"]
    with (folder / "agent.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        with process:
            try:
                assert process.stdout is not None
                assert "listening" in process.stdout.readline(), (folder / "agent.log").read_text()
                yield
            finally:
                process.terminate()


def edgectl(python: str, folder: Path, *arguments: str, codes: tuple[int, ...] = (0,)):
    environment = {**os.environ, "EDGECTL_HOME": str(folder / "home")}
    command = [python, "-m", "edgectl_host", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in codes, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def deploy(python: str, folder: Path) -> dict:
    # Two cores may be too busy to say whether the loop holds.
    words = ("deploy", "tiny.onnx", "--fleet", "bench", "--runtime", "onnxrt", "--loop", "loop.yaml")
    (row,) = edgectl(python, folder, *words, codes=(0, 3))["devices"]
    assert row["failure"] is None
    return row


def status(python: str, folder: Path) -> dict:
    (row,) = edgectl(python, folder, "status", "--fleet", "bench")
    return row


def test_the_version_before_is_another_one(before):
    asked = subprocess.run(
        [before, "-m", "edgectl_agent", "--version"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert asked.stdout.split()[-1] != VERSION


@pytest.mark.slow
def test_this_host_drives_the_agent_before(before, folder):
    with agent(before, folder):
        row = deploy(sys.executable, folder)
        found = status(sys.executable, folder)
        assert found["hello"]["agent_version"] != VERSION
        assert found["current"] == row["release"]


@pytest.mark.slow
def test_the_host_before_drives_this_agent(before, folder):
    with agent(sys.executable, folder):
        row = deploy(before, folder)
        found = status(before, folder)
        assert found["hello"]["agent_version"] == VERSION
        assert found["current"] == row["release"]


@pytest.mark.slow
def test_an_agent_that_is_updated_and_put_back_keeps_its_release(before, folder):
    with agent(before, folder):
        release = deploy(sys.executable, folder)["release"]
    for python in (sys.executable, before):
        with agent(python, folder):
            found = status(sys.executable, folder)
            assert (found["current"], found["hello"]["problems"]) == (release, [])
            edgectl(sys.executable, folder, "profile", "--fleet", "bench", "--measure", "0.5s", codes=(0, 3))
