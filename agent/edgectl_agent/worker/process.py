"""What the worker knows about its own process and the machine around it: age, memory, cores, temperature.

Read outside the measured section only: each of these opens a file.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
from pathlib import Path

__all__ = ["age_s", "die_first", "peak_rss_bytes", "temperature_c", "usable_cores"]


def age_s(stat: Path = Path("/proc/self/stat")) -> float:
    """Seconds since this process was started, interpreter start-up included.

    Where the kernel does not tell, the processor time used so far: a lower bound.
    """
    try:
        # The name in parentheses may hold spaces; the start time is the 20th field after it.
        ticks = int(stat.read_text().rpartition(")")[2].split()[19])
    except OSError:
        return time.process_time()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def peak_rss_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The largest resident set so far.

    Not `ru_maxrss` on Linux: that one survives exec, so a worker would report its daemon's memory.
    """
    try:
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def temperature_c(thermal: Path = Path("/sys/class/thermal")) -> float | None:
    """The hottest thermal zone, or None where there is none."""
    found = []
    for zone in sorted(thermal.glob("thermal_zone*/temp")):
        try:
            celsius = int(zone.read_text()) / 1000
        except (OSError, ValueError):
            continue
        # Unconnected zones answer 0 or absurdities.
        if 0 < celsius < 150:
            found.append(celsius)
    return max(found, default=None)


def die_first(adjustment: Path = Path("/proc/self/oom_score_adj")) -> None:
    """When the machine runs out of memory, its kernel is to end this process, not a loop that moves a robot."""
    with contextlib.suppress(OSError):
        adjustment.write_text("1000")
