"""Content-addressed steps: same inputs, options, code and versions → the cached output.

A step is `<cache>/steps/<key>/`: `step.json` (what it is), `report.json` (what it said) and `out/` (its files). It is
made aside and renamed, so an interrupted step leaves nothing half; one that lacks a file, or whose report no longer
reads, is made anew. Two conversions that need the same step do it once: the second waits. What a conversion uses it
holds by a shared lock until its end, which keeps `cache.py` from trimming it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.errors import EdgectlError

__all__ = ["Finished", "StepCache", "StepRecord", "key_of"]

T = TypeVar("T")

RECORD, REPORT, OUT = "step.json", "report.json", "out"
_LEFTOVER_S = 86_400


def key_of(**parts: Any) -> str:
    """The cache key of a step: a digest over everything that decides its output."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What a finished step is. `files` are sizes by path in `out`; `weight_bytes` is the checkpoint's size, by which
    the time of later steps of the kind is estimated.
    """

    kind: str
    subject: str
    tool: str
    seconds: float
    weight_bytes: int
    files: dict[str, int] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Bytes of its files."""
        return sum(self.files.values())


@dataclass(frozen=True, slots=True)
class Finished(Generic[T]):
    """A finished step: the folder of its files, what it reported, and whether it was there already."""

    key: str
    folder: Path
    report: T
    cached: bool


class StepCache:
    """The cache of steps."""

    def __init__(self, cache_dir: Path) -> None:
        self.root = cache_dir / "steps"
        self.scratch = cache_dir / "work"
        """For temporary files that are linked from or to steps: the same file system."""

    def find(self, key: str, report: type[T]) -> Finished[T] | None:
        """The finished and whole step of this key; its time of last use becomes now."""
        folder = self.root / key
        record = read_record(folder)
        if record is None or not _whole(folder / OUT, record):
            return None
        try:
            found = from_bytes(report, (folder / REPORT).read_bytes(), what=REPORT)
        except (OSError, EdgectlError):
            return None
        with contextlib.suppress(OSError):
            os.utime(folder / RECORD)
        return Finished(key, folder / OUT, found, cached=True)

    def make(
        self, key: str, report: type[T], make: Callable[[Path], T], *, kind: str, subject: str, tool: str, weight: int
    ) -> Finished[T]:
        """The step of this key; `make` fills the folder that it is given and returns its report, if it is not there."""
        found = self.find(key, report)
        if found is not None:
            return found
        self.root.mkdir(parents=True, exist_ok=True)
        with self.locked(key):
            found = self.find(key, report)
            if found is not None:
                return found
            shutil.rmtree(self.root / key, ignore_errors=True)
            self._clear_leftovers()
            aside = Path(tempfile.mkdtemp(dir=self.root, prefix=f".{key[:16]}-"))
            started = time.monotonic()
            try:
                out = aside / OUT
                out.mkdir()
                made = make(out)
                (aside / REPORT).write_bytes(canonical_bytes(made))
                seconds = round(time.monotonic() - started, 3)
                record = StepRecord(kind, subject, tool, seconds, weight, _sizes(out))
                (aside / RECORD).write_bytes(canonical_bytes(record))
                aside.rename(self.root / key)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
            return Finished(key, self.root / key / OUT, made, cached=False)

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Keep a step from being trimmed."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self._lock_file(f".{key}.held", fcntl.LOCK_SH):
            yield

    @contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Be the only one who makes this step."""
        with self._lock_file(f".{key}.lock", fcntl.LOCK_EX):
            yield

    def remove(self, key: str) -> bool:
        """Remove a step that nobody holds or makes; whether it was removed."""
        try:
            with (
                self._lock_file(f".{key}.lock", fcntl.LOCK_EX | fcntl.LOCK_NB),
                self._lock_file(f".{key}.held", fcntl.LOCK_EX | fcntl.LOCK_NB),
            ):
                # Out of sight at once, so that no one finds half of it.
                aside = Path(tempfile.mkdtemp(dir=self.root, prefix=f".{key[:16]}-"))
                (self.root / key).rename(aside / key)
                shutil.rmtree(aside, ignore_errors=True)
        except OSError:
            return False
        return True

    def records(self) -> Iterator[tuple[str, StepRecord, float]]:
        """Key, record and time of last use of every finished step."""
        if not self.root.is_dir():
            return
        for folder in sorted(self.root.iterdir()):
            record = read_record(folder) if not folder.name.startswith(".") else None
            if record is not None:
                with contextlib.suppress(OSError):
                    yield folder.name, record, (folder / RECORD).stat().st_mtime

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """A temporary folder on the file system of the steps."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="edgectl-", dir=self.scratch) as folder:
            yield Path(folder)

    @contextmanager
    def _lock_file(self, name: str, how: int) -> Iterator[None]:
        # The file stays: removed, it would let in a third beside a second that waits on the old one.
        with open(self.root / name, "w") as file:
            fcntl.flock(file, how)
            yield

    def _clear_leftovers(self) -> None:
        """Remove what killed processes left, a day later."""
        for root in (self.root, self.scratch):
            for path in root.glob(".*-*") if root is self.root else root.glob("edgectl-*"):
                with contextlib.suppress(OSError):
                    if path.is_dir() and time.time() - path.stat().st_mtime > _LEFTOVER_S:
                        shutil.rmtree(path, ignore_errors=True)


def read_record(folder: Path) -> StepRecord | None:
    """What the step in a folder is; None where there is none, or a damaged one."""
    try:
        return from_bytes(StepRecord, (folder / RECORD).read_bytes(), what=RECORD)
    except (OSError, EdgectlError):
        return None


def _sizes(out: Path) -> dict[str, int]:
    return {path.relative_to(out).as_posix(): path.stat().st_size for path in out.rglob("*") if path.is_file()}


def _whole(out: Path, record: StepRecord) -> bool:
    try:
        return all((out / path).stat().st_size == size for path, size in record.files.items())
    except OSError:
        return False
