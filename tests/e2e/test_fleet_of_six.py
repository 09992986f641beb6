"""Six real agents, three boards, one command: one is killed in mid-install, one has no room; a second run mends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgectl_testkit.bundles import tiny_graph, tiny_graph_loop
from edgectl_testkit.serve import short_folder

BIN = Path(sys.executable).parent
BOARDS = {
    "nuc": ("intel-nuc-13", "openvino"),
    "pi": ("raspberry-pi-5", "onnxrt"),
    "box": ("generic-x86_64", "reference"),
}
LOOP = tiny_graph_loop(rate_hz=100, measure_s=1)
HOLDS = {"pass", "inconclusive"}
"""Six agents and their tests may keep a small machine too busy to say."""


class Agents:
    """Six agents as processes, each with its folder and socket."""

    def __init__(self, root: Path, sockets: Path) -> None:
        self.root, self.sockets = root, sockets
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def start(self, name: str) -> None:
        board, _ = BOARDS[name.split("-")[0]]
        stand_in = ["--stand-in-for", board] if board != "generic-x86_64" else []
        command = [str(BIN / "edgectl-agent"), "run", "--device", name, "--listen", f"unix:{self.sockets / name}"]
        command += ["--state-dir", str(self.root / name), *stand_in]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        assert "listening" in process.stdout.readline()
        self.processes[name] = process

    def kill(self, name: str) -> None:
        process = self.processes[name]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(timeout=20)
            assert process.stdout is not None
            process.stdout.close()


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    path.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path)], check=False)
    if mounted.returncode != 0:
        pytest.skip("no permission to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def bench(tmp_path):
    names = [f"{kind}-{number}" for kind in BOARDS for number in (1, 2)]
    with short_folder() as sockets, small_disk(tmp_path / "agents" / "box-2", "6m"):
        agents = Agents(tmp_path / "agents", sockets)
        try:
            for name in names:
                agents.start(name)
            devices = {}
            for name in names:
                board, runtime = BOARDS[name.split("-")[0]]
                devices[name] = {"address": f"unix:{sockets / name}", "board": board, "runtime": runtime}
                devices[name] |= {"stand_in": board != "generic-x86_64", "labels": {"kind": name.split("-")[0]}}
            fleet = tmp_path / "fleet.yaml"
            fleet.write_text(json.dumps({"devices": devices, "groups": {"bench": names}}))
            (tmp_path / "tiny.onnx").write_bytes(tiny_graph())
            (tmp_path / "loop.yaml").write_text(LOOP)
            yield agents, tmp_path
        finally:
            agents.stop()


def edgectl(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "EDGECTL_HOME": str(folder / "home"), "COLUMNS": "100"}
    command = [str(BIN / "edgectl"), *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def deploy(folder: Path, on_line=lambda line: None) -> tuple[int, list[dict], str]:
    process = edgectl(
        folder,
        *("deploy", "tiny.onnx", "--fleet", "bench", "--fleet-file", "fleet.yaml", "--loop", "loop.yaml", "--json"),
        # One of them stays away.
        *("--patience", "1s"),
    )
    lines: list[str] = []

    def follow() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            on_line(line)

    reader = threading.Thread(target=follow)
    reader.start()
    assert process.stdout is not None
    output = process.stdout.read()
    process.wait(timeout=240)
    reader.join()
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()
    return process.returncode, json.loads(output), "".join(lines)


@pytest.mark.slow
def test_a_fleet_of_six_deploys_fails_in_part_and_is_mended_by_a_second_run(bench):
    agents, folder = bench

    def kill_in_mid_install(line: str) -> None:
        if line.startswith("pi-2: proving") and agents.processes["pi-2"].poll() is None:
            agents.kill("pi-2")

    code, document, progress = deploy(folder, kill_in_mid_install)
    rows = {row["device"]: row for row in document["devices"]}
    assert code == 4, progress
    assert len(rows) == 6
    failed = {name: row["failure"]["reason"] for name, row in rows.items() if row["failure"]}
    assert failed == {"pi-2": "agent_unreachable", "box-2": "disk_full"}
    # Three kinds of device, three conversions; four installs and four verdicts.
    assert progress.count("converted in") == 3
    verdicts = {name: row["outcome"] for name, row in rows.items() if not row["failure"]}
    assert sorted(verdicts) == ["box-1", "nuc-1", "nuc-2", "pi-1"]
    assert set(verdicts.values()) <= HOLDS
    assert {row["release"] for row in rows.values() if row["device"].startswith("nuc")} == {rows["nuc-1"]["release"]}

    subprocess.run(["mount", "-o", "remount,size=1g", str(folder / "agents" / "box-2")], check=True)
    agents.start("pi-2")
    code, document, progress = deploy(folder)
    assert code in (0, 3), [row["failure"] for row in document["devices"]]
    assert {row["outcome"] for row in document["devices"]} <= HOLDS
    assert "converted in" not in progress


@pytest.mark.slow
def test_a_dry_run_prints_the_plan_and_changes_nothing(bench):
    _, folder = bench
    process = edgectl(folder, "deploy", "tiny.onnx", "--fleet", "bench", "-l", "kind=pi", "--limit", "1", "--dry-run")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "pi-1" in output
    assert "pi-2" not in output
    assert "onnxrt" in output
    assert "stand-in" in output
    assert all(len(line) <= 100 for line in output.splitlines())
    assert not (folder / "agents" / "pi-1" / "current").exists()
