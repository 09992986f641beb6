"""The one clock of the loop: monotonic nanoseconds, and a sleep that ends on time.

Sources, ticks and stages are stamped by it alone; tests hand the loop a clock of their own.
"""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "MonotonicClock"]

_SPIN_NS = 200_000


class Clock(Protocol):
    """What the loop needs of time."""

    def now_ns(self) -> int:
        """Nanoseconds on a clock that never goes back."""

    def sleep_until(self, moment_ns: int) -> None:
        """Return at this moment, or at once if it has passed."""

    def cpu_ns(self) -> int:
        """Processor time used by this process, all threads."""


class MonotonicClock:
    """`perf_counter_ns`; sleeps until shortly before the moment, then spins, since sleeps end late."""

    now_ns = staticmethod(time.perf_counter_ns)
    cpu_ns = staticmethod(time.process_time_ns)

    def sleep_until(self, moment_ns: int) -> None:
        """Return at this moment, or at once if it has passed."""
        now = time.perf_counter_ns
        left = moment_ns - now()
        if left > _SPIN_NS:
            time.sleep((left - _SPIN_NS) * 1e-9)
        while now() < moment_ns:
            pass
