"""Worker processes, with the stub as the worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from edgectl_agent import frames
from edgectl_agent.core.layout import Layout
from edgectl_agent.core.workers import WorkerPool
from edgectl_protos.domain.errors import CancelledError, NonFiniteError, WorkerError
from edgectl_testkit import stub_worker
from edgectl_testkit.bundles import release_dir
from edgectl_testkit.stub_bundles import stub_bundle


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "state")
    layout.make()
    return layout


@pytest.fixture
def make_pool(layout):
    pools = []

    def make(*arguments: str, interpreter: str = sys.executable) -> WorkerPool:
        pool = WorkerPool(
            layout,
            interpreter=lambda runtime: interpreter,
            arguments=arguments or (str(stub_worker.__file__),),
            stop_s=2.0,
            logs_kept=3,
        )
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.close()
        pool.reap()


@pytest.fixture
def load(tmp_path):
    def make(**wishes) -> frames.Load:
        folder = release_dir(stub_bundle(tmp_path / "bundle", wishes=wishes), tmp_path / "release")
        return frames.Load(str(folder), 0)

    return make


def test_a_request_is_answered(make_pool):
    worker = make_pool().start("stub", key="k")
    reply = worker.ask(frames.Probe(), frames.ProbeReply, timeout_s=10)
    assert [runtime.name for runtime in reply.runtimes] == ["stub", "broken"]


def test_the_refusal_of_a_worker_arrives_as_the_error_it_is_and_the_worker_lives(make_pool, load):
    worker = make_pool().start("stub", key="k")
    worker.ask(load(fail={"Parity": ["output_not_finite", "NaN in action"]}), frames.Loaded, timeout_s=10)
    with pytest.raises(NonFiniteError, match="NaN in action") as caught:
        worker.ask(frames.Parity(), frames.ParityReply, timeout_s=10)
    assert caught.value.hint == "the stub's hint"
    assert worker.alive


def test_a_crash_costs_the_request_and_shows_signal_and_log(make_pool, load):
    pool = make_pool()
    worker = pool.start("stub", key="k")
    with pytest.raises(WorkerError, match=r"died during Load \(SIGSEGV\)") as caught:
        worker.ask(load(die_in="Load"), frames.Loaded, timeout_s=10)
    assert "dying as I was told" in caught.value.hint
    assert not worker.alive
    assert pool.held("k") is None


def test_a_worker_that_hangs_is_ended_at_the_deadline(make_pool, load):
    worker = make_pool().start("stub", key="k")
    with pytest.raises(WorkerError, match="did not answer Load in time"):
        worker.ask(load(hang_in="Load"), frames.Loaded, timeout_s=0.5)
    assert not worker.alive


def test_a_worker_killed_on_purpose_is_cancelled_not_crashed(make_pool, load):
    pool = make_pool()
    worker = pool.start("stub", key="k")
    request = load(hang_in="Load")
    threading.Timer(0.3, pool.kill, args=("k",)).start()
    with pytest.raises(CancelledError):
        worker.ask(request, frames.Loaded, timeout_s=10)


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import os,sys; sys.stdin.buffer.read(8); os.write(int(sys.argv[-1]), b'\\xff' * 64)", "damaged"),
        (
            "import os,sys; sys.stdin.buffer.read(8); os.write(int(sys.argv[-1]), b'\\0\\0\\0\\x02{]')",
            "broke the protocol",
        ),
        (
            "import os,sys; sys.stdin.buffer.read(8); os.write(int(sys.argv[-1]), b'\\0\\0\\0\\x09{}')",
            "broke the protocol|died",
        ),
        ("import sys; sys.exit(3)", r"died during Probe \(exit status 3\)"),
    ],
)
def test_nonsense_from_a_worker_is_an_error_of_the_worker(make_pool, code, what):
    worker = make_pool("-c", code).start("stub", key="k")
    with pytest.raises(WorkerError, match=what):
        worker.ask(frames.Probe(), frames.ProbeReply, timeout_s=10)
    assert not worker.alive


def test_an_interpreter_that_is_not_there_is_named(make_pool):
    with pytest.raises(WorkerError, match="/no/such/python") as caught:
        make_pool(interpreter="/no/such/python").start("stub", key="k")
    assert "--interpreter" in caught.value.hint


def test_a_stopped_worker_leaves_no_process_and_no_file(make_pool, layout):
    pool = make_pool()
    worker = pool.start("stub", key="k")
    assert (layout.workers / str(worker.pid)).exists()
    pool.end("k")
    assert list(layout.workers.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_a_second_worker_of_a_key_replaces_the_first(make_pool):
    pool = make_pool()
    first = pool.start("stub", key="k")
    second = pool.start("stub", key="k")
    assert not first.alive
    assert pool.held("k") is second


def test_no_worker_is_started_while_the_agent_stops(make_pool):
    pool = make_pool()
    pool.close()
    with pytest.raises(CancelledError):
        pool.start("stub", key="k")


def test_only_the_last_logs_are_kept(make_pool, layout):
    pool = make_pool()
    for _ in range(6):
        pool.start("stub", key="k")
    assert len(list(layout.logs.iterdir())) == 3


def test_a_worker_that_outlived_a_killed_daemon_is_ended(make_pool, layout):
    pool = make_pool()
    orphan = pool.start("stub", key="k")
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
