"""Digests of big files, remembered, so that a cached conversion does not read its checkpoint again.

A file counts as unchanged while its path, size, modification time and inode are. One that was written a moment ago is
not remembered: it could change again within the resolution of its time stamp.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from edgectl_converters.card import sha256_of
from edgectl_protos.domain.artifact import Digest

__all__ = ["FileDigests"]

# Smaller files are read faster than they are looked up.
_MIN_SIZE_BYTES = 1 << 20
_SETTLED_S = 2.0
_MAX_ENTRIES = 1000


class FileDigests:
    """`digests(path)` is the sha256 of the file."""

    def __init__(self, cache_dir: Path) -> None:
        self._path = cache_dir / "digests.json"
        try:
            document = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            document = {}
        self._known: dict[str, str] = document if isinstance(document, dict) else {}
        self._changed = False

    def __call__(self, path: Path) -> Digest:
        """The digest, remembered or computed.

        Raises:
            OSError: the file cannot be read.
        """
        stat = path.stat()
        key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"
        known = self._known.get(key)
        if known is not None:
            return Digest.parse(known)
        digest = sha256_of(path)
        if stat.st_size >= _MIN_SIZE_BYTES and time.time() - stat.st_mtime > _SETTLED_S:
            self._known[key] = str(digest)
            self._changed = True
        return digest

    def save(self) -> None:
        """Write what was learned; the latest entries are kept. Another process's may get lost, and are found again."""
        if not self._changed:
            return
        kept = dict(list(self._known.items())[-_MAX_ENTRIES:])
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=self._path.parent, prefix=".digests-")
        with os.fdopen(handle, "w") as file:
            json.dump(kept, file)
        os.replace(aside, self._path)
        self._changed = False
