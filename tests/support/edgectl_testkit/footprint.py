"""What a process costs, as the kernel counts it."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["comes_below", "cpu_s", "memory_bytes", "rests_below"]

_CPUCLOCK_SCHED = 2
_WINDOW_S, _WINDOWS = 2.0, 8
_LOOK_S, _LOOKS = 0.1, 200


def memory_bytes(pid: int, what: str = "VmRSS") -> int:
    """What it holds now; `VmHWM`: at its highest."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{what}:")]
    return int(line.split()[1]) * 1024


def comes_below(pid: int, size_bytes: float) -> bool:
    """Whether what it holds comes to be less than this, a while after its work."""
    for _ in range(_LOOKS):
        if memory_bytes(pid) < size_bytes:
            return True
        time.sleep(_LOOK_S)
    return False


def cpu_s(pid: int) -> float:
    """CPU time so far, of threads that have ended too, to the nanosecond: a clock tick is 0.1 % of ten seconds."""
    # The clock of another process, as clock_getcpuclockid(3) names it.
    return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED) / 1e9


def rests_below(pid: int, share: float) -> bool:
    """Whether it comes to take less than this share of a core: in one of several windows, since what begins and ends
    with its start, and whatever else the machine does, make the others look worse.
    """
    for _ in range(_WINDOWS):
        before, begun = cpu_s(pid), time.monotonic()
        time.sleep(_WINDOW_S)
        if (cpu_s(pid) - before) / (time.monotonic() - begun) < share:
            return True
    return False
