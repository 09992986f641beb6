"""What conversions keep on this machine, and which of it may go."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from edgectl_converters import cache
from edgectl_converters.cache import CacheEntry
from edgectl_host.quantities import bytes_words
from edgectl_host.workflows.progress import Progress, Update

__all__ = ["CacheEntry", "list_entries", "remove", "stale"]


def list_entries(cache_dir: Path) -> tuple[CacheEntry, ...]:
    """What is there, the last used first."""
    return tuple(sorted(cache.entries(cache_dir), key=lambda entry: -entry.used_s))


def stale(
    entries: Sequence[CacheEntry],
    *,
    older_than_s: float | None = None,
    keep_bytes: int | None = None,
    now_s: float | None = None,
) -> tuple[CacheEntry, ...]:
    """Those not used for `older_than_s`, and the least recently used beyond `keep_bytes`."""
    now_s = time.time() if now_s is None else now_s
    chosen, kept_bytes = [], 0
    for entry in sorted(entries, key=lambda entry: -entry.used_s):
        old = older_than_s is not None and now_s - entry.used_s > older_than_s
        # A step that only says something takes room too, if little.
        over = keep_bytes is not None and kept_bytes + max(entry.size_bytes, 1) > keep_bytes
        if old or over:
            chosen.append(entry)
        else:
            kept_bytes += entry.size_bytes
    return tuple(chosen)


def remove(cache_dir: Path, entries: Sequence[CacheEntry], progress: Progress) -> tuple[CacheEntry, ...]:
    """Remove them; those that a conversion uses right now stay. What was removed."""
    removed = []
    for entry in entries:
        progress(Update("cache", f"removing {entry.subject}, {bytes_words(entry.size_bytes)}"))
        if cache.remove(cache_dir, entry):
            removed.append(entry)
    return tuple(removed)
