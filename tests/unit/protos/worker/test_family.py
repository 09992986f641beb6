"""Real processes, and what they started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgectl_protos.worker.family import born, end, started_by
from edgectl_protos.worker.process import WorkerProcess

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

# Says the number of a process that waits to be ended, then does what is said last.
CHILD = """
import ctypes, os, signal, sys
{before}
reading, writing = os.pipe()
if os.fork() == 0:
    {child}
    os.write(writing, str(os.getpid()).encode())
    signal.pause()
pid = os.read(reading, 20)
open({told!r}, "wb").write(pid)
{then}
"""
IN_ITS_SESSION = "pass"
A_DAEMON = "os.setsid()\n    if os.fork(): os._exit(0)"
TAKES_ORPHANS_IN = "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)"
UNTIL_IT_IS_HUNG_UP_ON = "sys.stdin.buffer.read()"


def script(tmp_path, *, child=IN_ITS_SESSION, before="", then=UNTIL_IT_IS_HUNG_UP_ON):
    path = tmp_path / "starts.py"
    path.write_text(CHILD.format(child=child, before=before, then=then, told=str(tmp_path / "told")))
    return [sys.executable, str(path)]


def child_of(tmp_path, worker):
    """The number that was told, once it is."""
    while not (tmp_path / "told").exists() or not (tmp_path / "told").read_text():
        assert worker.alive
        os.sched_yield()
    return int((tmp_path / "told").read_text())


@pytest.mark.parametrize("way", ["stop", "kill"])
@pytest.mark.parametrize(("child", "before"), [(IN_ITS_SESSION, ""), (A_DAEMON, TAKES_ORPHANS_IN)])
def test_what_a_worker_started_ends_with_it(tmp_path, way, child, before):
    worker = WorkerProcess(script(tmp_path, child=child, before=before), tmp_path / "log", stop_s=10.0)
    pid = child_of(tmp_path, worker)
    assert born(pid)
    if way == "kill":
        worker.kill()
        assert not born(pid)
    worker.stop()
    assert not born(pid)


def test_what_a_worker_left_when_it_died_ends_when_it_is_put_away(tmp_path):
    worker = WorkerProcess(script(tmp_path, then=""), tmp_path / "log", stop_s=10.0)
    worker._process.wait()
    pid = int((tmp_path / "told").read_text())
    assert born(pid)
    worker.stop()
    assert not born(pid)


def test_a_number_that_belongs_to_another_process_by_now_ends_nobody():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert started_by(os.getpid(), born(os.getpid())).get(child.pid) == born(child.pid)
        assert started_by(os.getpid(), "another birth") == {}
        end({child.pid: "another birth"})
        assert born(child.pid)
        end({child.pid: born(child.pid)})
        assert not born(child.pid)


def test_a_process_that_is_not_there_was_never_born():
    assert born(1 << 30) == ""
