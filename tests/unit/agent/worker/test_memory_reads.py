"""The rate at which memory is read: a plausible one, and what it was measured with."""

from __future__ import annotations

import pytest

from edgectl_agent.worker.memory_reads import measure_reads


@pytest.mark.parametrize("threads", [1, 2])
def test_reading_takes_time_and_says_how_it_was_measured(threads):
    found = measure_reads(threads, size_bytes=32 << 20)
    assert (found.size_bytes, found.threads, found.passes) == (32 << 20, threads, 7)
    # From a slow board to a large server.
    assert 1e8 < found.bytes_per_s < 2e12
