"""The steps on a device: real scripts in a folder of this machine, where the agent is a script that lives or not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from pathlib import Path

import pytest

from edgectl_host.fleet.registry import Home
from edgectl_host.provision.steps import Steps, unit
from edgectl_host.provision.wheels import Wheel
from edgectl_host.transport.ssh import Ssh
from edgectl_protos.domain.errors import InstallError

SSH = '#!/bin/sh\nfor word in "$@"; do last=$word; done\nexec sh -c "$last"\n'
# Stands in for an interpreter: says hello while `lives` is beside it, runs until it is ended, and shows its last words,
# for which the one that says no hello waits.
PYTHON = """#!/bin/sh
here=$(dirname "$0")
case "$*" in
  *hello*) [ -e "$here/lives" ] || {{ until grep -q {name} "{log}"; do sleep 0.02; done; exit 1; }} ;;
  *)
    [ -e "$here/lives" ] || {{ echo "no such module: {name}"; exit 1; }}
    : >"$here/edgectl_agent.log"
    exec tail -f "$here/edgectl_agent.log"
    ;;
esac
"""


class Device:
    """A folder that stands for a device."""

    def __init__(self, folder: Path) -> None:
        program = folder / "ssh"
        program.write_text(SSH)
        program.chmod(0o755)
        self.prefix = folder / "edgectl"
        self.prefix.mkdir()
        self.home = Home(
            "robot", (), str(self.prefix), str(self.prefix / "state"), str(self.prefix / "run" / "agent.sock"), "none"
        )
        self.steps = Steps(Ssh("robot", (), folder / "control", program=str(program)), self.home)

    def add_version(self, name: str, *, lives: bool) -> None:
        bin = self.prefix / "versions" / name / "agent" / "bin"
        bin.mkdir(parents=True)
        (bin / "python").write_text(PYTHON.format(name=name, log=self.prefix / "agent.log"))
        (bin / "python").chmod(0o755)
        run = self.prefix / "versions" / name / "run"
        run.write_text(f"#!/bin/sh\nexec {self.prefix}/current/agent/bin/python -m edgectl_agent run\n")
        run.chmod(0o755)
        if lives:
            (bin / "lives").touch()

    def point(self, name: str) -> None:
        (self.prefix / "current").symlink_to(f"versions/{name}")

    @property
    def current(self) -> str:
        return (self.prefix / "current").readlink().name


@pytest.fixture
def device(tmp_path):
    made = Device(tmp_path)
    yield made
    if made.prefix.exists():
        asyncio.run(made.steps.remove())


def command_of(pid: str) -> bytes:
    """One that ended and that nobody waited for has no command line any more."""
    try:
        return Path("/proc", pid.strip(), "cmdline").read_bytes()
    except OSError:
        return b""


def runs(pid: str) -> bool:
    return b"edgectl_agent" in command_of(pid)


def store(folder: Path, **contents: bytes) -> tuple[tuple[Wheel, ...], dict[str, Path]]:
    paths = {}
    wheels = []
    for name, data in contents.items():
        path = folder / f"{name}.whl"
        path.write_bytes(data)
        paths[path.name] = path
        wheels.append(Wheel(path.name, hashlib.sha256(data).hexdigest(), len(data)))
    return tuple(wheels), paths


def test_only_what_is_missing_or_damaged_is_sent(device, tmp_path):
    wheels, paths = store(tmp_path, a=b"a" * 1000, b=b"b" * 513, c=b"")
    sent = []
    steps = device.steps
    assert asyncio.run(steps.hold(wheels)) == wheels
    asyncio.run(steps.send(wheels, lambda wheel: paths[wheel.name], lambda done, total: sent.append((done, total))))
    assert asyncio.run(steps.hold(wheels)) == ()
    assert sent[-1] == (1513, 1513)
    (device.prefix / "wheels" / "b.whl").write_bytes(b"b" * 512)
    assert [wheel.name for wheel in asyncio.run(steps.hold(wheels))] == ["b.whl"]


def test_what_arrives_as_something_else_is_named(device, tmp_path):
    wheels, paths = store(tmp_path, a=b"a" * 1000)
    paths["a.whl"].write_bytes(b"x" * 1000)
    with pytest.raises(InstallError, match=r"a.whl arrived damaged"):
        asyncio.run(device.steps.send(wheels, lambda wheel: paths[wheel.name], lambda *_: None))


def test_starting_twice_leaves_one_process_and_removing_leaves_nothing(device, tmp_path):
    device.add_version("old", lives=True)
    device.point("old")
    asyncio.run(device.steps.start("/usr/bin/python3"))
    first = (device.prefix / "agent.pid").read_text()
    asyncio.run(device.steps.start("/usr/bin/python3"))
    second = (device.prefix / "agent.pid").read_text()
    assert first != second
    assert not runs(first)
    asyncio.run(device.steps.remove())
    assert not device.prefix.exists()
    assert not runs(second)
    asyncio.run(device.steps.remove())


def test_an_agent_on_its_way_is_ended_too(device, tmp_path):
    """A loaded machine takes its time from the script that starts an agent to the agent."""
    device.add_version("old", lives=True)
    device.point("old")
    os.mkfifo(tmp_path / "load")
    (device.prefix / "versions/old/run").write_text(f"#!/bin/sh\nread -r _ <{tmp_path}/load\n")
    asyncio.run(device.steps.start("/usr/bin/python3"))
    first = (device.prefix / "agent.pid").read_text()
    asyncio.run(device.steps.start("/usr/bin/python3"))
    second = (device.prefix / "agent.pid").read_text()
    assert first != second
    assert not command_of(first)
    asyncio.run(device.steps.remove())
    assert not command_of(second)


def test_an_agent_that_does_not_start_shows_its_last_words(device):
    device.add_version("old", lives=False)
    device.point("old")
    with pytest.raises(InstallError, match=r"does not answer on .*no such module: old"):
        asyncio.run(device.steps.start("/usr/bin/python3"))


def test_an_update_that_answers_stays_and_what_is_older_goes(device):
    for name in ("older", "old", "new"):
        device.add_version(name, lives=True)
    device.point("old")
    asyncio.run(device.steps.start("/usr/bin/python3"))
    assert asyncio.run(device.steps.update("new", 5.0)) == ""
    assert device.current == "new"
    assert sorted(path.name for path in (device.prefix / "versions").iterdir()) == ["new", "old"]
    assert not list(device.prefix.glob("update.*"))


def test_an_update_that_does_not_answer_goes_back_and_says_why(device):
    device.add_version("old", lives=True)
    device.add_version("new", lives=False)
    device.point("old")
    asyncio.run(device.steps.start("/usr/bin/python3"))
    assert "no such module: new" in asyncio.run(device.steps.update("new", 1.0))
    assert device.current == "old"
    assert runs((device.prefix / "agent.pid").read_text())


def test_when_neither_answers_that_is_said(device):
    device.add_version("old", lives=False)
    device.add_version("new", lives=False)
    device.point("old")
    with pytest.raises(InstallError, match="neither the new version nor the old one answers"):
        asyncio.run(device.steps.update("new", 1.0))


def test_a_command_of_the_agent_gets_its_input_and_gives_its_output(device):
    device.add_version("old", lives=True)
    device.point("old")
    python = device.prefix / "versions/old/agent/bin/python"
    python.write_text('#!/bin/sh\necho "$@"; cat\n')
    said = asyncio.run(device.steps.agent(["enrol", "--name", "it's me", "*"], b"a document"))
    assert said == "-m edgectl_agent enrol --name it's me *\na document"
    assert (device.prefix / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("file", ["system.service", "user.service"])
def test_units_have_no_open_places_and_allow_the_network_to_the_daemon_alone(file):
    text = unit(file, prefix="/opt/edgectl", hidden="yes")
    assert not re.search(r"@[A-Z_]+@", text)
    assert "ExecStart=/opt/edgectl/current/run" in text
    assert "AF_INET" in text
    assert "NoNewPrivileges=yes" in text
