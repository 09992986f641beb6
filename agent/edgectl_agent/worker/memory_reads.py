"""How fast this device reads its memory: what bounds a language model, which reads all its weights for each token.

Each thread takes the largest value of its part of an array that no cache holds: one pass of reading and nothing else,
with the processor's vector instructions, while numpy has let go of the interpreter. The fastest pass counts, since
whatever disturbs one makes it slower. A run's own figures are finished before it begins.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from edgectl_protos.domain.run import MemoryReads

__all__ = ["measure_reads"]

_SIZE_BYTES = 256 << 20
_PASSES = 7


def measure_reads(threads: int, *, size_bytes: int = _SIZE_BYTES) -> MemoryReads:
    """Measure it on this many threads, in about 0.2 s and `size_bytes` of memory."""
    # Written once: a page of zeros that nobody wrote is the same one everywhere.
    parts = np.array_split(np.ones(size_bytes // 4, np.float32), threads)
    fastest_s = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_PASSES):
            begun = time.perf_counter()
            list(pool.map(np.max, parts))
            fastest_s = min(fastest_s, time.perf_counter() - begun)
    return MemoryReads(size_bytes / fastest_s, size_bytes, _PASSES, threads)
