"""Threads that can be sent home."""

from __future__ import annotations

import threading

import pytest

from edgectl_host.fleet.inventory import Device
from edgectl_host.workflows.crew import Crew
from edgectl_host.workflows.progress import Update, silent
from edgectl_protos.domain.errors import CancelledError
from edgectl_testkit.fake_device import FakeDevice


def test_every_task_is_done_and_connections_are_closed():
    fake = FakeDevice("a")
    crew = Crew(lambda device: fake.connect())
    names = []

    def task():
        with crew.connected(Device("a")) as client:
            names.append(client.facts().device)

    crew.run([task] * 5)
    assert names == ["a"] * 5
    assert fake.open_clients == 0


def test_no_tasks_is_no_work():
    Crew(lambda device: FakeDevice("a").connect()).run([])


def test_what_a_task_raises_is_raised():
    def task():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Crew(lambda device: FakeDevice("a").connect()).run([task])


def test_an_interrupt_stops_steps_and_closes_the_connections_of_who_still_waits(monkeypatch):
    fake = FakeDevice("a")
    crew = Crew(lambda device: fake.connect(), grace_s=0.05)
    waiting, seen = threading.Event(), []

    def stuck():
        with crew.connected(Device("a")) as client:
            close, closed = client.close, threading.Event()
            client.close = lambda: (close(), closed.set())
            waiting.set()
            # A call that only ends when its connection does.
            assert closed.wait(10)
            try:
                crew.guarded(silent)(Update("a", "next"))
            except CancelledError:
                seen.append("cancelled")

    def interrupted(futures, timeout=None):
        waiting.wait(10)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr("edgectl_host.workflows.crew.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        crew.run([stuck])
    assert seen == ["cancelled"]
    assert fake.open_clients == 0
    with pytest.raises(CancelledError):
        crew.check()
