"""Memory given back a moment after work."""

from __future__ import annotations

import threading

from edgectl_agent.core.device import memory
from edgectl_agent.core.device.memory import MemoryRelief, give_back_memory


def test_work_is_relieved_by_itself():
    relieved = threading.Event()
    MemoryRelief(0.01, relieved.set).worked()
    assert relieved.wait(20)


def test_work_of_one_moment_is_relieved_once_and_later_work_again(monkeypatch):
    planned, relieved = [], []

    class Timer:
        def __init__(self, after_s, relieve):
            planned.append((after_s, relieve))

        def start(self):
            """Its time comes when the test says so."""

    monkeypatch.setattr(memory.threading, "Timer", Timer)
    relief = MemoryRelief(0.5, lambda: relieved.append(1))
    for times in (1, 2):
        relief.worked()
        relief.worked()
        assert [after_s for after_s, _ in planned] == [0.5] * times
        planned[-1][1]()
        assert len(relieved) == times


def test_code_and_heap_are_whole_after_they_were_given_back():
    held = [bytes([number]) * 100_000 for number in range(200)]
    give_back_memory()
    assert all(held[number] == bytes([number]) * 100_000 for number in range(200))
