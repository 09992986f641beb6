"""Runtimes in one or several interpreters."""

from __future__ import annotations

import sys

import pytest

from edgectl_agent.config import SandboxConfig
from edgectl_agent.core.device.probe import Probe
from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.layout import Layout
from edgectl_agent.core.workers.interpreters import Interpreters
from edgectl_agent.core.workers.pool import WorkerPool
from edgectl_agent.core.workers.sandbox import Sandbox
from edgectl_protos.domain.errors import WorkerError
from edgectl_testkit import stub_worker


@pytest.fixture
def make(tmp_path):
    layout = Layout(tmp_path)
    layout.make()

    def build(interpreters, *, default=sys.executable):
        pool = WorkerPool(
            layout,
            Disk(),
            Sandbox(layout, SandboxConfig(active=False), machine_bytes=0),
            arguments=(str(stub_worker.__file__),),
            stop_s=1.0,
            logs_kept=3,
        )
        return Probe(pool, Interpreters(default, interpreters), timeout_s=10)

    return build


def test_the_default_interpreter_offers_all_its_runtimes(make):
    assert [facts.name for facts in make({}).runtimes()] == ["stub", "side", "broken"]


def test_a_runtime_is_taken_from_the_interpreter_that_is_meant_to_hold_it(make):
    found = {facts.name: facts for facts in make({"stub": sys.executable, "absent": sys.executable}).runtimes()}
    assert not found["stub"].problem
    assert "does not offer it" in found["absent"].problem


def test_a_broken_interpreter_costs_its_own_runtime_only(make):
    found = {facts.name: facts for facts in make({"tensorrt": "/no/such/python"}).runtimes()}
    assert not found["stub"].problem
    assert "/no/such/python" in found["tensorrt"].problem


def test_an_interpreter_is_asked_once(make, tmp_path):
    probe = make({"stub": sys.executable})
    probe.runtimes()
    logs = sorted(tmp_path.rglob("*.log"))
    assert probe.runtimes()
    assert logs
    assert sorted(tmp_path.rglob("*.log")) == logs


def test_a_broken_default_interpreter_is_an_error(make):
    with pytest.raises(WorkerError, match="/no/such/python"):
        make({}, default="/no/such/python").runtimes()
