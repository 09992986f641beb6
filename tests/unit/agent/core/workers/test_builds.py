"""The builds themselves: tests/integration/agent/test_building.py."""

from __future__ import annotations

from edgectl_agent.core.workers.builds import available_bytes, parse_available_bytes

MEMINFO = "MemTotal:        7803456 kB\nMemFree:          231456 kB\nMemAvailable:    1048576 kB\nBuffers:  1 kB\n"


def test_what_a_process_could_still_get_is_what_the_kernel_says():
    assert parse_available_bytes(MEMINFO) == 1 << 30
    for text in ("", "MemAvailable:", "MemAvailable: many kB", "MemFree: 5 kB"):
        assert parse_available_bytes(text) is None
    assert (available_bytes() or 1) > 0
