"""The way of a new user, with nothing but the built wheels: from ssh alone to a verdict, and nothing left behind.

On this machine below an overlay, with the agent on Python 3.10 and 3.12, and on a foreign one under emulation.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgectl_converters.pythons import PythonSearch
from edgectl_testkit.bundles import tiny_graph, tiny_graph_loop
from edgectl_testkit.machines import (
    Login,
    Machine,
    debian_root,
    lacking,
    overlay_machine,
    ssh_server,
    starts_foreign_programs,
)
from edgectl_testkit.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
LOOP = tiny_graph_loop(rate_hz=20, measure_s=1)
CORTEX = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid\nCPU implementer\t: 0x41\n"
# What any login and any program may write on a machine: nothing of ours is below these.
NOT_OURS = ("/tmp", f"{pwd.getpwuid(0).pw_dir}/.cache", "/var/cache", "/dev", "/proc")


@dataclass(frozen=True)
class Host:
    """An edgectl that was installed from wheels, in a folder of its own."""

    folder: Path
    edgectl: Path

    def __call__(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        environment = {**os.environ, "EDGECTL_HOME": str(self.folder / "home"), "COLUMNS": "100"}
        environment.pop("PYTHONPATH", None)
        command = [str(self.edgectl), *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode in codes, f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str, codes: tuple[int, ...] = (0,)):
        return json.loads(self(*arguments, "--json", codes=codes))


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    """`uv tool install edgectl-host` from what `make dist` builds, in an environment that knows no checkout."""
    folder = tmp_path_factory.mktemp("installed")
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder / "venv")], check=True)
    pip = [uv, "pip", "install", "-q", "--python", str(folder / "venv/bin/python"), "--find-links", str(wheels)]
    subprocess.run([*pip, "edgectl-host"], check=True)
    return folder / "venv" / "bin" / "edgectl"


@pytest.fixture
def host(installed, tmp_path):
    folder = tmp_path / "fresh"
    folder.mkdir()
    (folder / "tiny.onnx").write_bytes(tiny_graph())
    (folder / "loop.yaml").write_text(LOOP)
    # Wheels that were fetched once are taken again; nothing else is shared with another test.
    cache = ROOT / ".cache" / "wheels"
    cache.mkdir(parents=True, exist_ok=True)
    (folder / "home" / "cache").mkdir(parents=True)
    (folder / "home" / "cache" / "wheels").symlink_to(cache)
    return Host(folder, installed)


def whole_way(host: Host, machine: Machine, login: Login, port: int, *more: str) -> dict:
    """Add, list, deploy, and take away; what `device add` said."""
    before = machine.left_behind(beside=NOT_OURS)
    options = [f"--ssh-option={word}" for word in login.options]
    name = ("--name", "robot-1", "--port", str(port), "--extra", "none")
    added = host.json("device", "add", f"root@{login.destination}", "--label", "lab", *name, *options, *more)
    assert added["hello"]["device"] == "robot-1"
    assert {one["name"]: one["problem"] for one in added["facts"]["runtimes"]}["onnxrt"] == ""

    (listed,) = host.json("device", "ls")
    assert (listed["online"], listed["identity"], listed["labels"]) == (True, added["identity"], {"lab": ""})
    shown = host("device", "ls")
    assert re.search(r"robot-1 .* online", shown)
    assert max(map(len, shown.splitlines())) <= 100

    again = host.json("device", "add", f"root@{login.destination}", *name, *options, *more)
    assert again["version"] == added["version"]
    assert "install" not in again["seconds"]

    # Two cores with an agent under test, and perhaps an emulator, may be too busy to say whether the loop holds.
    deploy = ("deploy", "tiny.onnx", "--fleet", "lab", "--runtime", "onnxrt", "--loop", "loop.yaml")
    (outcome,) = host.json(*deploy, codes=(0, 3))["devices"]
    assert outcome["failure"] is None
    assert host.json("runs")
    assert "robot-1" in host("report", "last", codes=(0, 3))

    host("device", "rm", "robot-1")
    assert machine.left_behind(beside=NOT_OURS) == before
    assert host.json("device", "ls") == []
    return added


def python_of(version: str) -> str:
    folders = tuple(Path(folder) for folder in os.environ["PATH"].split(os.pathsep) if folder.startswith("/"))
    found = PythonSearch(Path.home(), folders).find(version)
    if found is None:
        pytest.skip(f"there is no Python {version} on this machine")
    return str(found)


@pytest.mark.slow
@pytest.mark.skipif(bool(lacking("sshd", "mount")), reason=f"needs {lacking('sshd', 'mount')}")
def test_the_whole_way_with_the_python_of_jetpack_6(host, tmp_path):
    python = python_of("3.10")
    with overlay_machine(tmp_path / "machine") as machine, ssh_server(machine, tmp_path / "sshd") as login:
        added = whole_way(host, machine, login, free_port(), "--python", python, "--runtime", "onnxrt")
    assert added["facts"]["python"].startswith("3.10.")


@pytest.mark.slow
@pytest.mark.skipif(bool(lacking("sshd", "mount")), reason=f"needs {lacking('sshd', 'mount')}")
def test_an_update_stays_where_it_answers_and_goes_back_where_it_does_not(host, tmp_path):
    python = python_of("3.12")
    with overlay_machine(tmp_path / "machine") as machine, ssh_server(machine, tmp_path / "sshd") as login:
        options = [f"--ssh-option={word}" for word in login.options]
        more = ("--name", "robot-1", "--port", str(free_port()), "--extra", "none", "--runtime", "onnxrt")
        first = host.json("device", "add", f"root@{login.destination}", "--python", python, *more, *options)
        assert first["facts"]["python"].startswith("3.12.")
        assert host.json("device", "update", "robot-1")["after"] == first["version"]

        change(host, board="generic-x86_64-avx512-vnni")
        updated = host.json("device", "update", "robot-1")
        assert (updated["before"], updated["back"]) == (first["version"], "")
        assert listed(host)["facts"]["board"] == "generic-x86_64-avx512-vnni"

        with socket.create_server(("0.0.0.0", 0)) as taken:
            change(host, port=taken.getsockname()[1])
            refused = host.json("device", "update", "robot-1", "--timeout", "10", codes=(1,))
        assert (refused["before"], bool(refused["back"])) == (updated["after"], True)
        assert listed(host)["online"]

        host("device", "rm", "robot-1")
        assert machine.left_behind(beside=NOT_OURS) == []


def listed(host: Host) -> dict:
    (device,) = host.json("device", "ls")
    return device


def change(host: Host, **fields: object) -> None:
    """What the registry says of the one device, so that another installation is due."""
    registry = host.folder / "home" / "config" / "devices.json"
    document = json.loads(registry.read_text())
    document["devices"][0] |= fields
    registry.write_text(json.dumps(document))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    bool(lacking("sshd", "mount", "mmdebstrap", "qemu-aarch64-static")),
    reason=f"needs {lacking('sshd', 'mount', 'mmdebstrap', 'qemu-aarch64-static')}",
)
def test_a_bare_foreign_machine_is_brought_used_and_taken_away(host, tmp_path):
    lower = debian_root("arm64")
    if not starts_foreign_programs(lower, "aarch64"):
        pytest.skip("the kernel starts no aarch64 programs: update-binfmts --enable qemu-aarch64")
    with (
        overlay_machine(tmp_path / "machine", lower, cpuinfo=CORTEX) as machine,
        ssh_server(machine, tmp_path / "sshd") as login,
    ):
        added = whole_way(host, machine, login, free_port())
    assert added["facts"]["arch"] == "aarch64"
    assert added["survey"]["os"].startswith("Debian")
