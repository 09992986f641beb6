"""Starting the embedded agent, with scripts in its place that go wrong. The real one is started in integration/."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from edgectl_host.transport import local
from edgectl_host.transport.local import LocalAgent, agent_command
from edgectl_protos.domain.errors import DeviceError


@pytest.fixture
def agent(tmp_path):
    def make(script: str, **options) -> LocalAgent:
        file = tmp_path / "agent.py"
        file.write_text(script)
        arguments = {"command": lambda: [sys.executable, str(file)], "ready_timeout_s": 10.0}
        return LocalAgent(tmp_path / "state", tmp_path / "a.sock", **(arguments | options))

    return make


async def test_nothing_runs_and_nothing_is_started_by_looking(agent, tmp_path):
    status = await agent("").status()
    assert (status.pid, status.hello) == (None, None)
    assert await agent("").stop() is None
    assert not (tmp_path / "state").exists()


async def test_an_agent_that_ends_at_once_shows_its_last_words(agent):
    with pytest.raises(DeviceError, match=r"ended with code 53:\n  \| error\[disk_full\]: no room") as info:
        await agent("import sys; print('error[disk_full]: no room'); sys.exit(53)").ensure_running()
    assert "agent.log" in info.value.hint


async def test_an_agent_that_never_answers_is_ended(agent, monkeypatch):
    begun = []

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            begun.append(self)

    monkeypatch.setattr(local.subprocess, "Popen", Popen)
    with pytest.raises(DeviceError, match="did not answer within"):
        await agent("import signal; signal.pause()", ready_timeout_s=0.1).ensure_running()
    assert [process.returncode for process in begun] == [-signal.SIGKILL]


async def test_the_agent_is_told_its_state_its_socket_and_its_name(agent, tmp_path):
    with pytest.raises(DeviceError) as info:
        await agent("import sys; print(sys.argv[1:]); sys.exit(1)").ensure_running()
    listen = f"unix:{tmp_path}/a.sock"
    expected = ["run", "--state-dir", f"{tmp_path}/state", "--listen", listen, "--device", "local"]
    expected += ["--interpreters-file", f"{tmp_path}/state/interpreters.json"]
    assert str(expected) in info.value.message


def test_the_command_is_the_script_of_this_installation_or_its_module(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert agent_command() == [str(tmp_path / "python"), "-m", "edgectl_agent"]
    (tmp_path / "edgectl-agent").touch()
    assert agent_command() == [str(tmp_path / "edgectl-agent")]


def test_the_module_can_really_be_run():
    done = subprocess.run([sys.executable, "-m", "edgectl_agent", "--version"], capture_output=True, check=False)
    assert done.returncode == 0
