"""Memory given back a moment after work."""

from __future__ import annotations

import threading

from edgectl_agent.core.device.memory import MemoryRelief, give_back_memory


def test_work_of_one_moment_is_relieved_once_and_later_work_again():
    relieved = threading.Semaphore(0)
    relief = MemoryRelief(0.05, relieved.release)
    for _ in range(2):
        relief.worked()
        relief.worked()
        assert relieved.acquire(timeout=10)
        assert not relieved.acquire(timeout=0.2)


def test_code_and_heap_are_whole_after_they_were_given_back():
    held = [bytes([number]) * 100_000 for number in range(200)]
    give_back_memory()
    assert all(held[number] == bytes([number]) * 100_000 for number in range(200))
