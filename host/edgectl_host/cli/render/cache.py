"""The cache of conversions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.layout import rows_table
from edgectl_host.quantities import bytes_words, long_words
from edgectl_host.workflows.cache import CacheEntry

__all__ = ["human_entries", "human_removed", "json_entries", "json_removed"]


def human_entries(entries: Sequence[CacheEntry], folder: Path) -> RenderableType:
    """One row each, and what all of them take."""
    if not entries:
        return Text(f"the cache is empty: {folder}")
    now_s = time.time()
    table = rows_table(
        ("kind", "size", "used", "subject"),
        [
            (entry.kind, bytes_words(entry.size_bytes), f"{long_words(now_s - entry.used_s)} ago", entry.subject)
            for entry in entries
        ],
        right=("size", "used"),
    )
    total = bytes_words(sum(entry.size_bytes for entry in entries))
    return Group(table, Text(), Text(f"{len(entries)} entries, {total}, in {folder}"))


def json_entries(entries: Sequence[CacheEntry], folder: Path) -> dict[str, Any]:
    """The folder, and one object for each entry."""
    return {"folder": str(folder), "entries": [_json_entry(entry) for entry in entries]}


def human_removed(entries: Sequence[CacheEntry]) -> RenderableType:
    """How much room was made."""
    if not entries:
        return Text("nothing was removed")
    return Text(f"removed {len(entries)} entries, {bytes_words(sum(entry.size_bytes for entry in entries))}")


def json_removed(entries: Sequence[CacheEntry]) -> dict[str, Any]:
    """What was removed."""
    return {"removed": [_json_entry(entry) for entry in entries]}


def _json_entry(entry: CacheEntry) -> dict[str, Any]:
    return {"kind": entry.kind, "subject": entry.subject, "size_bytes": entry.size_bytes, "used_s": entry.used_s}
