"""`edgectl-agent` as people start it: what it binds, refuses, prints, and how it ends. And how little it costs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgectl_testkit.footprint import memory_bytes, rests_below
from edgectl_testkit.raw_client import RawClient
from edgectl_testkit.serve import short_folder


@pytest.fixture
def folder():
    with short_folder() as folder:
        yield folder


def command(folder: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "edgectl_agent", "run"),
        *("--state-dir", str(folder / "s"), "--listen", f"unix:{folder}/a.sock", *more),
    ]


@contextlib.contextmanager
def running(folder: Path, *more: str):
    """An agent process that is ready."""
    process = subprocess.Popen(command(folder, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout.readline() == f"listening on unix:{folder}/a.sock\n"
            yield process
        finally:
            process.kill()


def refused(*arguments: str) -> tuple[int, str]:
    """Exit status and what was said."""
    done = subprocess.run(
        [sys.executable, "-m", "edgectl_agent", "run", *arguments], capture_output=True, text=True, timeout=20
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(folder, number):
    with running(folder) as process:
        process.send_signal(number)
        assert process.wait(10) == 0
        assert "Traceback" not in process.stderr.read()
    assert not (folder / "a.sock").exists()


def test_only_its_owner_may_use_the_socket_and_read_the_state(folder):
    with running(folder):
        assert stat.S_IMODE((folder / "a.sock").stat().st_mode) == 0o600
        # Another user may pass through to the releases, where workers are one, and see nothing on the way.
        assert stat.S_IMODE((folder / "s").stat().st_mode) & 0o066 == 0
        for name in ("blobs", "deployments", "runs", "logs"):
            assert stat.S_IMODE((folder / "s" / name).stat().st_mode) == 0o700


def test_it_says_who_it_is_as_it_was_told(folder):
    more = ("--device", "nuc-7", "--board", "intel-nuc-13", "--stand-in-for", "jetson-orin-nano")
    with running(folder, *more), RawClient(f"unix:{folder}/a.sock") as client:
        assert client.hello().device == "nuc-7"
        facts = client.facts()
    assert (facts.board, facts.stand_in_for) == ("intel-nuc-13", "jetson-orin-nano")
    assert facts.runtime("reference") is not None


def test_it_replaces_the_socket_of_a_dead_agent(folder):
    with running(folder) as process:
        process.kill()
        process.wait(5)
    assert (folder / "a.sock").exists()
    with running(folder), RawClient(f"unix:{folder}/a.sock") as client:
        assert client.hello()


def test_two_agents_never_share_a_state_directory(folder):
    with running(folder) as process:
        status, said = refused("--state-dir", str(folder / "s"), "--listen", f"unix:{folder}/b.sock")
        assert status == 52
        assert f"belongs to a running agent (process {process.pid})" in said
    assert not (folder / "b.sock").exists()


def test_two_agents_never_share_a_socket(folder):
    with running(folder), RawClient(f"unix:{folder}/a.sock") as client:
        status, said = refused("--state-dir", str(folder / "t"), "--listen", f"unix:{folder}/a.sock")
        assert status == 58
        assert "already listens" in said
        assert client.hello()


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "tcp:localhost:1", "unix-abstract:edgectl"])
def test_it_binds_no_network(folder, address):
    status, said = refused("--state-dir", str(folder / "s"), "--listen", address)
    assert status == 58
    assert "[address_refused]" in said
    assert "tls:HOST:PORT" in said
    assert not (folder / "s").exists()


def test_it_listens_on_nothing_but_its_socket(folder):
    with running(folder) as process:
        held = {os.readlink(path) for path in Path(f"/proc/{process.pid}/fd").iterdir()}
        inodes = {name[8:-1] for name in held if name.startswith("socket:[")}
        for table in ("tcp", "tcp6", "udp", "udp6"):
            rows = Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]
            assert not inodes & {row.split()[9] for row in rows}


def test_a_socket_path_that_is_too_long_is_refused_with_the_limit(folder):
    status, said = refused("--state-dir", str(folder / "s"), "--listen", f"unix:/tmp/{'x' * 120}")
    assert status == 58
    assert "the system takes 107" in said


def test_a_state_directory_that_cannot_be_made_is_named(folder):
    (folder / "file").write_text("")
    status, said = refused("--state-dir", str(folder / "file" / "s"), "--listen", f"unix:{folder}/a.sock")
    assert status == 50
    assert "cannot be used" in said


def test_an_interpreter_that_is_not_a_pair_is_refused(folder):
    status, said = refused(
        *("--state-dir", str(folder / "s"), "--listen", f"unix:{folder}/a.sock", "--interpreter", "tensorrt")
    )
    assert status == 2
    assert "RUNTIME=PYTHON" in said


def test_its_version_is_told_without_starting_anything():
    done = subprocess.run(
        [sys.executable, "-m", "edgectl_agent", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("edgectl-agent ")


def test_a_worker_dies_with_its_killed_agent(folder):
    code = (
        "import sys; from pathlib import Path; from edgectl_agent.app import Agent; "
        "from edgectl_testkit.serve import agent_config; "
        f"a = Agent.from_config(agent_config(Path({str(folder / 's')!r}), 'unix:{folder}/a.sock')); a.start(); "
        "a._pool.start(sys.executable, key='k'); print('up', flush=True); import threading; threading.Event().wait()"
    )
    support = str(Path(__file__).parents[1] / "support")
    agent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": support}
    )
    with agent:
        assert agent.stdout.readline() == b"up\n"
        (worker,) = [int(path.name) for path in (folder / "s/workers").iterdir()]
        agent.kill()
    for _ in range(500):
        if not Path(f"/proc/{worker}").exists() or " Z " in Path(f"/proc/{worker}/stat").read_text():
            return
        threading.Event().wait(0.01)
    raise AssertionError("the worker outlived its agent")


def test_a_client_that_says_nonsense_does_no_harm(folder):
    with running(folder), RawClient(f"unix:{folder}/a.sock") as client:
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(f"{folder}/a.sock")
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + os.urandom(100))
        assert client.hello()


def test_an_idle_agent_is_small_and_sleeps(folder):
    """At most 40 MB resident, and under 0.1 % of a core, as measured by the kernel."""
    with running(folder) as process, RawClient(f"unix:{folder}/a.sock") as client:
        client.hello()
        assert memory_bytes(process.pid) <= 40e6
        assert rests_below(process.pid, 0.001)
