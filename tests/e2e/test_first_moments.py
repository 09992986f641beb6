"""The first moments of a process: interrupts, and two of them at once."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgectl_testkit.raw_client import RawClient
from edgectl_testkit.serve import short_folder

BIN = Path(sys.executable).parent


@pytest.fixture
def folder():
    with short_folder() as folder:
        yield folder


@pytest.mark.parametrize("after_ms", [40, 80, 120, 160, 200, 250, 300, 400])
@pytest.mark.parametrize("command", [("edgectl", "status"), ("edgectl-agent", "run")])
def test_an_interrupt_shows_no_traceback(folder, command, after_ms):
    arguments = ["--state-dir", f"{folder}/s", "--listen", f"unix:{folder}/a"] if command[1] == "run" else []
    process = subprocess.Popen(
        [str(BIN / command[0]), command[1], *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"HOME": str(folder), "PATH": ""},
    )
    with process:
        threading.Event().wait(after_ms / 1000)
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            # An interpreter that still reads its site's files drops an interrupt, and goes on.
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
        finally:
            process.kill()
    # The interpreter's own first steps, up to our first import, are not ours to change.
    ours = re.findall(r'edgectl_\w+/\S+", line \d+, in .*\n\s+(.*)', said)
    assert set(ours) <= {"import signal"}, said


def test_of_agents_that_start_at_once_on_one_socket_one_lives_and_answers(folder):
    for attempt in range(5):
        place = folder / str(attempt)
        place.mkdir()
        command = [sys.executable, "-m", "edgectl_agent", "run", "--listen", f"unix:{place}/a"]
        with contextlib.ExitStack() as stack:
            agents = [
                stack.enter_context(
                    subprocess.Popen(
                        [*command, "--state-dir", f"{place}/s{number}"],
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        text=True,
                    )
                )
                for number in range(3)
            ]
            try:
                said = [agent.stdout.readline() for agent in agents]
                assert sum("listening" in line for line in said) == 1
                with RawClient(f"unix:{place}/a") as client:
                    assert client.hello()
                for agent, line in zip(agents, said, strict=True):
                    if not line:
                        assert agent.wait(10) == 58
                        assert "already listens" in agent.stderr.read()
            finally:
                for agent in agents:
                    agent.kill()
