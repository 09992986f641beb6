"""What conversions keep on this machine: steps and toolchains, with their sizes, and which of it may go.

What a conversion uses right now is locked, and stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from edgectl_converters.steps import StepCache

__all__ = ["CacheEntry", "entries", "remove", "trim"]

_TOOLCHAIN = "toolchain"


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One thing in the cache. `kind` is that of a step, or `toolchain`; `used_s` is when it was last used, in seconds
    since the epoch.
    """

    kind: str
    subject: str
    key: str
    size_bytes: int
    used_s: float


def entries(cache_dir: Path) -> tuple[CacheEntry, ...]:
    """Every step and every toolchain that was made. A file that several steps share counts in each."""
    found = [
        CacheEntry(record.kind, " · ".join(filter(None, (record.subject, record.tool))), key, record.size_bytes, used)
        for key, record, used in StepCache(cache_dir).records()
    ]
    root = cache_dir / "toolchains"
    for folder in sorted(root.glob("*-*")) if root.is_dir() else ():
        if folder.is_dir() and not folder.name.startswith("."):
            name = folder.name.rpartition("-")[0]
            found.append(CacheEntry(_TOOLCHAIN, name, folder.name, _size_bytes(folder), folder.stat().st_mtime))
    return tuple(found)


def remove(cache_dir: Path, entry: CacheEntry) -> bool:
    """Remove an entry; False where it is in use, or gone already."""
    if entry.kind != _TOOLCHAIN:
        return StepCache(cache_dir).remove(entry.key)
    folder = cache_dir / "toolchains" / entry.key
    try:
        with open(folder.with_name(f".{entry.subject}.lock"), "w") as file:
            # Whoever makes it holds this lock, whoever runs in it the other one.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside = folder.with_name(f".{folder.name}.{time.monotonic_ns()}")
            folder.rename(aside)
    except OSError:
        return False
    shutil.rmtree(aside, ignore_errors=True)
    return True


def trim(
    cache_dir: Path, *, older_than_s: float | None = None, keep_bytes: int | None = None, now_s: float | None = None
) -> tuple[CacheEntry, ...]:
    """Remove what was not used for `older_than_s`, and the least recently used beyond `keep_bytes`; what went."""
    now_s = time.time() if now_s is None else now_s
    removed, kept = [], 0
    for entry in sorted(entries(cache_dir), key=lambda entry: -entry.used_s):
        old = older_than_s is not None and now_s - entry.used_s > older_than_s
        over = keep_bytes is not None and kept + entry.size_bytes > keep_bytes
        if (old or over) and remove(cache_dir, entry):
            removed.append(entry)
        else:
            kept += entry.size_bytes
    return tuple(removed)


def _size_bytes(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if file.is_file() and not file.is_symlink():
                total += file.lstat().st_size
    return total
