"""The pool of worker processes, with the stub as the worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from edgectl_agent.config import SandboxConfig
from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.workers.pool import WorkerPool
from edgectl_agent.core.workers.sandbox import Sandbox
from edgectl_protos.domain.errors import CancelledError, WorkerError
from edgectl_testkit import stub_worker


@pytest.fixture
def make_pool(layout):
    pools = []

    def make() -> WorkerPool:
        pool = WorkerPool(
            layout,
            Disk(),
            Sandbox(layout, SandboxConfig(active=False), machine_bytes=0),
            arguments=(str(stub_worker.__file__),),
            stop_s=2.0,
            logs_kept=3,
        )
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.close()
        pool.reap()


def test_an_interpreter_that_is_not_there_is_named(make_pool):
    with pytest.raises(WorkerError, match="/no/such/python") as caught:
        make_pool().start("/no/such/python", key="k")
    assert "--interpreter" in caught.value.hint


def test_a_worker_that_cannot_be_started_leaves_no_folder(make_pool, layout):
    pool = make_pool()
    with pytest.raises(WorkerError):
        pool.start("/no/such/python", key="k")
    assert list(layout.scratch.iterdir()) == []


def test_workers_are_killed_at_once_while_a_python_is_asked_where_it_lies(make_pool):
    pool = make_pool()
    worker = pool.start(sys.executable, key="k")
    command = pool._sandbox.command

    def slow(*arguments, **named):
        killing = threading.Thread(target=pool.kill, args=("k",))
        killing.start()
        killing.join(10)
        assert not killing.is_alive()
        return command(*arguments, **named)

    pool._sandbox.command = slow
    pool.start(sys.executable, key="other")
    assert not worker.alive


def test_a_worker_that_died_is_not_held(make_pool):
    pool = make_pool()
    worker = pool.start(sys.executable, key="k")
    assert pool.held("k") is worker
    worker.kill()
    assert pool.held("k") is None


def test_a_stopped_worker_leaves_no_process_and_no_file(make_pool, layout):
    pool = make_pool()
    worker = pool.start(sys.executable, key="k")
    assert (layout.workers / str(worker.pid)).exists()
    pool.end("k")
    assert list(layout.workers.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_a_second_worker_of_a_key_replaces_the_first(make_pool):
    pool = make_pool()
    first = pool.start(sys.executable, key="k")
    second = pool.start(sys.executable, key="k")
    assert not first.alive
    assert pool.held("k") is second


def test_no_worker_is_started_while_the_agent_stops(make_pool):
    pool = make_pool()
    pool.close()
    with pytest.raises(CancelledError):
        pool.start(sys.executable, key="k")


def test_only_the_last_logs_are_kept(make_pool, layout):
    pool = make_pool()
    for _ in range(6):
        pool.start(sys.executable, key="k")
    assert len(list(layout.logs.iterdir())) == 3


def test_a_worker_that_outlived_a_killed_daemon_is_ended(make_pool, layout):
    pool = make_pool()
    orphan = pool.start(sys.executable, key="k")
    make_pool().end_leftovers()
    assert orphan._process.wait(5) == -signal.SIGKILL
    assert list(layout.workers.iterdir()) == []


def test_a_reused_process_id_is_not_taken_for_a_worker(make_pool, layout):
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        for text in ("another-boot 12345", ""):
            (layout.workers / str(stranger.pid)).write_text(text)
            make_pool().end_leftovers()
            assert stranger.poll() is None
        assert list(layout.workers.iterdir()) == []
    finally:
        stranger.communicate(b"\n")
