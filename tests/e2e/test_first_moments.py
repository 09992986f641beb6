"""The first moments of a process: interrupts, and two of them at once."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgectl_testkit.raw_client import RawClient
from edgectl_testkit.serve import short_folder

BIN = Path(sys.executable).parent


@pytest.fixture
def folder():
    with short_folder() as folder:
        yield folder


IMPORTED = {
    ("edgectl", "runs"): ("edgectl_host.cli", "click", "edgectl_host.config", "edgectl_host.cli.app"),
    ("edgectl-agent", "run"): ("argparse", "logging", "edgectl_agent.config", "edgectl_protos.domain.errors", "grpc"),
}
"""Modules of each command, in the order in which they are imported: moments that no clock has to meet."""


@pytest.mark.parametrize("event", ["call", "return"])
@pytest.mark.parametrize("function", ["main", "from_environment", "run", "guarded"])
def test_an_interrupt_at_any_step_of_the_entry_point_shows_no_traceback(folder, function, event):
    # The process interrupts itself, so that the moment is exact.
    code = f"""
import os, signal, sys
from edgectl_host.__main__ import main

def trace(frame, event, _):
    if event == "{event}" and frame.f_code.co_name == "{function}" and "edgectl_host" in frame.f_code.co_filename:
        print("now", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGINT)

sys.argv = ["edgectl", "runs"]
sys.setprofile(trace)
sys.exit(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env={"HOME": str(folder), "PATH": ""}
    )
    assert "now" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.returncode in (130, -signal.SIGINT)


@pytest.mark.parametrize(
    ("command", "module"), [(command, module) for command, modules in IMPORTED.items() for module in modules]
)
def test_an_interrupt_while_a_module_is_imported_shows_no_traceback(folder, command, module):
    arguments = ["--state-dir", f"{folder}/s", "--listen", f"unix:{folder}/a"] if command[1] == "run" else []
    process = subprocess.Popen(
        [str(BIN / command[0]), command[1], *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"HOME": str(folder), "PATH": "", "PYTHONPROFILEIMPORTTIME": "1"},
    )
    with process:
        try:
            # The interpreter writes a line for each module that it has imported.
            for line in process.stderr:
                if line.rstrip().endswith(f" {module}"):
                    break
            else:
                raise AssertionError(f"{module} is not imported")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert "Traceback" not in said


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
