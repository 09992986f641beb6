"""The worker as a process of its own, spoken to over pipes as the daemon does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.worker import messages
from edgectl_protos.worker.framing import read_frame, write_frame
from edgectl_testkit.bundles import release_dir, tiny_bundle
from edgectl_testkit.runs import device_facts


class Process:
    """A worker and the daemon's ends of its pipes."""

    def __init__(self, log, *command: str) -> None:
        read, write = os.pipe()
        module = command or ("-m", "edgectl_agent.worker")
        self.process = subprocess.Popen(
            [sys.executable, *module, "--reply-fd", str(write)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[write],
        )
        os.close(write)
        self.replies = os.fdopen(read, "rb")

    def ask(self, request):
        write_frame(self.process.stdin, request)
        while isinstance(reply := read_frame(self.replies), messages.Progress):
            pass
        return reply

    def hang_up(self) -> int:
        self.process.stdin.close()
        return self.process.wait(timeout=30)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.replies.close()


@pytest.fixture
def log(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        yield file


@pytest.fixture
def worker(log) -> Iterator[Process]:
    process = Process(log)
    yield process
    process.end()


@pytest.fixture
def folder(tmp_path):
    bundle, _ = tiny_bundle(tmp_path / "bundle", runtime="onnxrt")
    return release_dir(bundle, tmp_path / "release")


def test_from_load_to_summary_over_pipes(worker, folder, tmp_path):
    loaded = worker.ask(messages.Load(str(folder), 1))
    (component,) = loaded.components
    assert (component.runtime, component.precision) == ("onnxrt", "fp32")
    # Imports are counted from the start of the process.
    assert 0.02 < loaded.import_s < 30
    assert worker.ask(messages.Parity()).report.failures == ()
    assert worker.ask(messages.Smoke()).ticks == 3
    spool = tmp_path / "runs" / "r.npz"
    overrides = LoopOverrides(measure_s=0.5, rate_hz=100.0)
    summary = worker.ask(messages.Run("r", "d", overrides, device_facts(), str(spool))).summary
    assert summary.ticks + summary.misses.skipped == 50
    with np.load(spool, allow_pickle=False) as file:
        assert len(file["ticks"]) == summary.ticks
    assert worker.hang_up() == 0


def test_the_end_of_requests_is_the_end_of_the_worker(worker):
    assert worker.hang_up() == 0


def test_a_vendor_that_prints_damages_no_frame(log, tmp_path):
    script = (
        "import os, sys\n"
        "from edgectl_agent.worker import serve\n"
        "probe = serve.probe_all\n"
        "def noisy():\n"
        "    os.write(1, b'vendor banner\\n' * 1000); print('and more', flush=True)\n"
        "    assert sys.stdin.read() == '', 'a vendor must not read our requests'\n"
        "    return probe()[:1]\n"
        "serve.probe_all = noisy\n"
        "from edgectl_agent.worker.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    process = Process(log, "-c", script)
    try:
        for _ in range(2):
            assert [facts.name for facts in process.ask(messages.Probe()).runtimes] == ["reference"]
        assert process.hang_up() == 0
    finally:
        process.end()
    assert (tmp_path / "log").read_bytes().count(b"vendor banner") == 2000


def test_a_damaged_request_ends_the_worker_with_a_line_in_the_log(worker, tmp_path):
    worker.process.stdin.write(b"\xff\xff\xff\xff garbage")
    worker.process.stdin.flush()
    assert worker.process.wait(timeout=30) == 1
    text = (tmp_path / "log").read_text()
    assert "damaged" in text
    assert "Traceback" not in text


def test_a_daemon_that_is_gone_ends_the_worker_quietly(worker, tmp_path):
    worker.replies.close()
    write_frame(worker.process.stdin, messages.Smoke())
    assert worker.process.wait(timeout=30) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_an_interrupt_from_the_terminal_is_left_to_the_daemon(worker):
    assert worker.ask(messages.Smoke()).reason == "wrong_state"
    worker.process.send_signal(signal.SIGINT)
    assert worker.ask(messages.Smoke()).reason == "wrong_state"
