"""Worker processes, with the stub as the worker."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from edgectl_protos.domain.errors import CancelledError, NonFiniteError, WorkerError
from edgectl_protos.worker import messages
from edgectl_protos.worker.process import WorkerProcess
from edgectl_testkit import stub_worker
from edgectl_testkit.bundles import release_dir
from edgectl_testkit.stub_bundles import stub_bundle


@pytest.fixture
def start(tmp_path):
    started = []

    def make(*arguments: str, python: str = sys.executable, **options) -> WorkerProcess:
        command = [python, *(arguments or (str(stub_worker.__file__),))]
        worker = WorkerProcess(command, tmp_path / "worker.log", stop_s=2.0, **options)
        started.append(worker)
        return worker

    yield make
    for worker in started:
        worker.stop()


@pytest.fixture
def load(tmp_path):
    def make(**wishes) -> messages.Load:
        folder = release_dir(stub_bundle(tmp_path / "bundle", wishes=wishes), tmp_path / "release")
        return messages.Load(str(folder), 0)

    return make


def test_a_request_is_answered(start):
    worker = start()
    reply = worker.ask(messages.Probe(), messages.ProbeReply, timeout_s=10)
    assert [runtime.name for runtime in reply.runtimes] == ["stub", "side", "broken"]


def test_the_refusal_of_a_worker_arrives_as_the_error_it_is_and_the_worker_lives(start, load):
    worker = start()
    worker.ask(load(fail={"Parity": ["output_not_finite", "NaN in action"]}), messages.Loaded, timeout_s=10)
    with pytest.raises(NonFiniteError, match="NaN in action") as caught:
        worker.ask(messages.Parity(), messages.ParityReply, timeout_s=10)
    assert caught.value.hint == "the stub's hint"
    assert worker.alive


def test_a_crash_costs_the_request_and_shows_signal_and_log(start, load):
    worker = start()
    with pytest.raises(WorkerError, match=r"died during Load \(SIGSEGV\)") as caught:
        worker.ask(load(die_in="Load"), messages.Loaded, timeout_s=10)
    assert "dying as I was told" in caught.value.hint
    assert not worker.alive


def test_a_worker_that_hangs_is_ended_at_the_deadline(start, load):
    worker = start()
    with pytest.raises(WorkerError, match="did not answer Load in time"):
        worker.ask(load(hang_in="Load"), messages.Loaded, timeout_s=0.5)
    assert not worker.alive


def test_a_worker_killed_on_purpose_is_cancelled_not_crashed(start, load):
    worker = start()
    request = load(hang_in="Load")
    threading.Timer(0.3, worker.kill).start()
    with pytest.raises(CancelledError):
        worker.ask(request, messages.Loaded, timeout_s=10)


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
def test_nonsense_from_a_worker_is_an_error_of_the_worker(start, code, what):
    worker = start("-c", code)
    with pytest.raises(WorkerError, match=what):
        worker.ask(messages.Probe(), messages.ProbeReply, timeout_s=10)
    assert not worker.alive


def test_a_python_that_is_not_there_is_named_and_no_descriptor_stays_open(start):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(WorkerError, match="/no/such/python"):
        start(python="/no/such/python")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_worker_has_the_environment_that_it_is_given(start, tmp_path):
    code = "import os; print(sorted(os.environ), flush=True)"
    with pytest.raises(WorkerError, match="died during Probe") as caught:
        start("-c", code, environment={"ONLY": "this"}).ask(messages.Probe(), messages.ProbeReply, timeout_s=10)
    assert "'ONLY'" in caught.value.hint
    assert "'PATH'" not in caught.value.hint
