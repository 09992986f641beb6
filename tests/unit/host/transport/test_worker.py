"""The command that starts the device's own worker on this host."""

from __future__ import annotations

import sys

from edgectl_host.transport import worker


def test_the_worker_runs_in_this_interpreter():
    assert worker.worker_command() == (sys.executable, "-m", "edgectl_agent.worker")


def test_a_host_without_the_agent_has_no_worker_and_leaves_gates_to_the_device(monkeypatch):
    monkeypatch.setattr(worker.importlib.util, "find_spec", lambda name: None)
    assert worker.worker_command() == ()
