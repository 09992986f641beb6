"""This machine as a place to work in."""

from __future__ import annotations

import os
import platform
from pathlib import Path

__all__ = ["free_memory_bytes", "generic_board"]

_SHARE = 0.8
"""Of the memory that is free, what work may take: what else runs here must not be pushed out."""
_AVAILABLE = "MemAvailable:"


def generic_board() -> str:
    """The board of any machine of this one's architecture: what is planned for without a device is planned for here."""
    machine = platform.machine()
    return "generic-" + {"arm64": "aarch64", "AMD64": "x86_64"}.get(machine, machine)


def free_memory_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """What conversions may take together: a share of what is available, or of all memory where nothing tells."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith(_AVAILABLE):
            return int(int(line.split()[1]) * 1024 * _SHARE)
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _SHARE)
