"""What the machine does besides the loop while it is measured: the kernel's own counters, at the start and at the end.

Whatever a kernel does not tell is None. Temperature and clocks have no counters, and are looked at once a second
between two ticks, where there is time for it; that needs no thread, which would take the interpreter from the loop.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edgectl_agent.worker.process import temperature_c
from edgectl_protos.domain.interference import Interference

__all__ = ["Watch"]

_EVERY_NS = 1_000_000_000
_SPARE = 4
_WORKING = 0.1
_READINGS = 5
_ROOT = Path("/")
_N = TypeVar("_N", int, float)


@dataclass(frozen=True, slots=True)
class _Counters:
    """Readings of one moment. `tasks`: nanoseconds that each thread ran and waited; seconds of all CPUs together."""

    wall_ns: int
    tasks: dict[str, tuple[int, int]]
    pressure_us: int | None
    stolen_s: float | None
    busy_s: float | None
    involuntary_switches: int
    throttle_events: int | None
    boot_s: float | None
    clock_s: float


class Watch:
    """Watches from its making until `stop`."""

    def __init__(self, root: Path = _ROOT, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._root = root
        self._now_ns = now_ns
        self._clocks: list[float] = []
        self._temperatures: list[float] = []
        self._cost_ns = 0
        self._look()
        self._start = self._read()

    def between_ticks(self, left_ns: int) -> None:
        """Look at temperature and clocks, if it is time to and there is time for it."""
        if left_ns > _SPARE * self._cost_ns and self._now_ns() - self._looked_ns > _EVERY_NS:
            self._look()

    @property
    def temperature_start_c(self) -> float | None:
        """The hottest sensor at the start."""
        return self._temperatures[0] if self._temperatures else None

    @property
    def temperature_max_c(self) -> float | None:
        """The highest temperature seen."""
        return max(self._temperatures, default=None)

    def stop(self) -> Interference:
        """What happened since the start."""
        a, b = self._start, self._read()
        self._look()
        wall_s = max(1, b.wall_ns - a.wall_ns) / 1e9
        own = [
            (ran - ran_before, waited - waited_before)
            for task, (ran, waited) in b.tasks.items()
            for ran_before, waited_before in (a.tasks.get(task, (0, 0)),)
        ]
        own_s = sum(ran for ran, _ in own) / 1e9
        # Of the threads that do the work: one that did next to nothing has waited for most of it.
        least_ns = _WORKING * max((ran for ran, _ in own), default=0)
        shares = [waited / (ran + waited) for ran, waited in own if ran and ran >= least_ns]
        pressure_us = _difference(a.pressure_us, b.pressure_us)
        stolen_s = _difference(a.stolen_s, b.stolen_s)
        busy_s = _difference(a.busy_s, b.busy_s)
        slept_s = _difference(a.boot_s, b.boot_s)
        return Interference(
            waited_share=max(shares, default=None),
            pressure_share=None if pressure_us is None else pressure_us / 1e6 / wall_s,
            stolen_cpus=None if stolen_s is None else stolen_s / wall_s,
            others_cpus=None if busy_s is None or not shares else max(0.0, busy_s - own_s) / wall_s,
            involuntary_switches=b.involuntary_switches - a.involuntary_switches,
            clock_start_hz=self._clocks[0] if self._clocks else None,
            clock_end_hz=self._clocks[-1] if self._clocks else None,
            clock_min_hz=min(self._clocks, default=None),
            throttle_events=_difference(a.throttle_events, b.throttle_events),
            suspended_s=slept_s,
            clock_step_s=b.clock_s - a.clock_s,
        )

    def _look(self) -> None:
        begun = self._now_ns()
        temperature = temperature_c(self._root / "sys/class/thermal")
        if temperature is not None:
            self._temperatures.append(temperature)
        clocks = [_number(path) for path in self._cpus("cpufreq/scaling_cur_freq")]
        if fastest := max((clock for clock in clocks if clock), default=None):
            self._clocks.append(fastest * 1e3)
        self._looked_ns = self._now_ns()
        # The least of them: a look that was interrupted says nothing about the next.
        self._cost_ns = min(self._cost_ns or self._looked_ns, self._looked_ns - begun)

    def _read(self) -> _Counters:
        cpu = _words(self._root / "proc/stat")
        tick_s = 1 / os.sysconf("SC_CLK_TCK")
        # user nice system idle iowait irq softirq steal (guests are in user).
        times = [int(word) * tick_s for word in cpu[1:9]] if len(cpu) > 8 else []
        throttles = [_number(path) for path in self._cpus("thermal_throttle/*_throttle_count")]
        # The monotonic clock stands still where the machine sleeps, and is slewed as the wall clock is, but never set.
        boot_s = _ahead_s(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else None
        return _Counters(
            wall_ns=self._now_ns(),
            tasks=dict(self._times()),
            pressure_us=_total(self._root / "proc/pressure/cpu"),
            stolen_s=times[7] if times else None,
            busy_s=sum(times[:3]) + sum(times[5:7]) if times else None,
            involuntary_switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
            throttle_events=round(sum(count or 0 for count in throttles)) if throttles else None,
            boot_s=boot_s,
            clock_s=_ahead_s(time.CLOCK_REALTIME) - (boot_s or 0.0),
        )

    def _times(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Time that each thread of this process and of its children ran, and stood ready without a CPU."""
        for folder in self._tasks("self"):
            words = _words(folder / "schedstat")
            if len(words) > 1:
                yield folder.name, (int(words[0]), int(words[1]))

    def _tasks(self, process: str) -> Iterator[Path]:
        for folder in (self._root / "proc" / process / "task").glob("*"):
            yield folder
            for child in _words(folder / "children"):
                yield from self._tasks(child)

    def _cpus(self, file: str) -> Iterator[Path]:
        return (self._root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/{file}")


def _ahead_s(clock: int) -> float:
    """How far a clock is ahead of the monotonic one: the tightest of a few readings, since any may be interrupted."""

    def reading() -> tuple[float, float]:
        before = time.clock_gettime(time.CLOCK_MONOTONIC)
        there = time.clock_gettime(clock)
        after = time.clock_gettime(time.CLOCK_MONOTONIC)
        return after - before, there - (before + after) / 2

    return min(reading() for _ in range(_READINGS))[1]


def _difference(start: _N | None, end: _N | None) -> _N | None:
    return None if start is None or end is None else end - start


def _words(path: Path) -> list[str]:
    """The words of a file's first line."""
    try:
        with path.open() as file:
            return file.readline().split()
    except OSError:
        return []


def _number(path: Path) -> float | None:
    words = _words(path)
    return float(words[0]) if words and words[0].isdigit() else None


def _total(path: Path) -> int | None:
    """`some … total=` of a pressure file, in microseconds."""
    return next((int(word[6:]) for word in _words(path) if word.startswith("total=") and word[6:].isdigit()), None)
