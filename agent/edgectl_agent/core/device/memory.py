"""Keeps the daemon's heap small, where the C library can be told (glibc). Elsewhere nothing happens.

Buffers of frames (1 MiB) stay in the heap while an upload runs: from the system, each would be zeroed page by page, 0.3
CPU s a GiB. A moment after the last of some work the heap is trimmed.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable

__all__ = ["MemoryRelief", "give_back_memory", "keep_memory_small"]

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE_BYTES = 4 << 20
_KEPT_BYTES = 16 << 20
# sys/mman.h
_MADV_DONTNEED = 4


def keep_memory_small() -> None:
    """One arena for all threads, of which little is kept free, and large buffers from the system, to return there.

    The thresholds would otherwise grow with the first large buffers, and the heap would keep them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back_memory() -> None:
    """After start-up, and after work: trim the heap, and let go of code that ran once.

    A library's code stays resident after its first use, though start-up and TLS handshakes use most of it once: 7 of 41
    MB. It is mapped in again, from the kernel's cache, by whoever runs it again. Code is never written to, so nothing
    can be lost.
    """
    libc = ctypes.CDLL(None)
    trim = getattr(libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        for line in maps.readlines():
            where, mode, _, _, inode, *name = line.split(maxsplit=5)
            if mode == "r-xp" and inode != "0" and name:
                begin, end = (int(at, 16) for at in where.split("-"))
                libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_DONTNEED)


class MemoryRelief:
    """Gives memory back `after_s` after work; what is done meanwhile is covered by the same relief."""

    def __init__(self, after_s: float, give_back: Callable[[], None] = give_back_memory) -> None:
        self._after_s = after_s
        self._give_back = give_back
        self._lock = threading.Lock()
        self._planned = False

    def worked(self) -> None:
        """Some work has been done."""
        with self._lock:
            if self._planned:
                return
            self._planned = True
        timer = threading.Timer(self._after_s, self._relieve)
        timer.daemon = True
        timer.start()

    def _relieve(self) -> None:
        with self._lock:
            self._planned = False
        self._give_back()
