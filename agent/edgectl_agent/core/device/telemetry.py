"""What changes on the device while the agent runs. Read when asked, never by a timer."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["Telemetry", "parse_load", "parse_temperatures", "read_text"]


def read_text(path: Path) -> str:
    """The text of a small file; empty when it is not there or may not be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def parse_load(loadavg: str) -> float:
    """The load average of the last minute; 0 when unknown."""
    try:
        return float(loadavg.split()[0])
    except (ValueError, IndexError):
        return 0.0


def parse_temperatures(zones: Iterable[str]) -> float | None:
    """The hottest of several thermal zones in degrees Celsius; None when none says anything credible."""
    found = []
    for text in zones:
        try:
            celsius = int(text) / 1000
        except ValueError:
            continue
        # Unconnected zones answer 0 or absurdities.
        if 0 < celsius < 150:
            found.append(celsius)
    return max(found, default=None)


class Telemetry:
    """Readers of what changes. `root` is / except in tests."""

    def __init__(self, state_dir: Path, *, root: Path) -> None:
        self._state_dir = state_dir
        self._root = root

    def sample(self) -> dict[str, Any]:
        """The changing fields of DeviceFacts."""
        stats = os.statvfs(self._state_dir)
        zones = sorted((self._root / "sys/class/thermal").glob("thermal_zone*/temp"))
        governors = {
            read_text(path).strip()
            for path in (self._root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
        }
        return {
            "disk_free_bytes": stats.f_bavail * stats.f_frsize,
            "temperature_c": parse_temperatures(read_text(zone) for zone in zones),
            "load_1min": parse_load(read_text(self._root / "proc/loadavg")),
            "governor": ",".join(sorted(governors - {""})),
        }
