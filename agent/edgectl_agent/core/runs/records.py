"""Runs on the disk: one document each, written before it begins and again when it is over, and its samples beside it.

A document without an end is of a run that its agent did not survive; it gets its end at the next start, so that its
host is told. The last ones are kept.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgectl_agent.core.names import check_id
from edgectl_agent.core.store.atomic import TEMPORARY_PREFIX, Disk, read_file
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    DeviceError,
    DocumentError,
    EdgectlError,
    NotFoundError,
    UsageError,
    WorkerError,
)
from edgectl_protos.domain.run import Run, RunEvent, RunPhase

__all__ = ["Remembered", "RunRecords"]

_LOG = logging.getLogger(__name__)
_PIECE_BYTES = 1 << 20
_MAX_BYTES = 4 << 20
_AFTER_ALL = 1_000_000
"""The number of an end that was written later: no run tells so many events before."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A run, and its last event when it is over."""

    run: Run
    last: RunEvent | None = None


class RunRecords:
    """The documents and samples of the last runs. `take_back` makes a file that a worker wrote the agent's own."""

    def __init__(
        self, folder: Path, damaged: Path, disk: Disk, take_back: Callable[[Path], None], *, kept: int
    ) -> None:
        self._folder = folder
        self._damaged = damaged
        self._disk = disk
        self._take_back = take_back
        self._kept = kept

    def open(self) -> None:
        """Remove what an interrupted write left, and end the run that an earlier agent left."""
        self._disk.sweep(self._folder)
        for path in self._documents():
            try:
                remembered = self._read(path)
                if remembered.last is None:
                    run = remembered.run
                    failure = Failure(DeviceError.reason, f"the agent restarted while run {run.run_id} was going")
                    self.end(run, RunEvent(run.run_id, RunPhase.FAILED, failure=failure, sequence=_AFTER_ALL))
            except DocumentError as exc:
                self._disk.set_aside(path, self._damaged, exc)
            except (OSError, EdgectlError) as exc:
                _LOG.error("run %s: %s", path.stem, exc)

    def begin(self, run: Run) -> None:
        """Remember a run that is about to begin; durable when this returns."""
        self._write(Remembered(run))

    def end(self, run: Run, last: RunEvent) -> None:
        """Remember how a run ended, and forget the oldest."""
        self._write(Remembered(replace(run, phase=last.phase, failure=last.failure), last))
        for path in self._documents()[self._kept :]:
            self._disk.remove(self._spool(path.stem))
            self._disk.remove(path)

    def find(self, run_id: str) -> Remembered | None:
        """The run of this id, if it is remembered.

        Raises:
            BundleCorruptError: its document is damaged.
        """
        path = self._path(run_id)
        try:
            return self._read(path)
        except FileNotFoundError:
            return None
        except (OSError, EdgectlError) as exc:
            raise BundleCorruptError(
                f"the record of run {run_id!r} cannot be read: {exc}", hint="measure again: edgectl profile"
            ) from exc

    def newest_first(self) -> list[Remembered]:
        """All that can be read."""
        found = []
        for path in self._documents():
            try:
                found.append(self._read(path))
            except (OSError, EdgectlError) as exc:
                _LOG.warning("the record of run %s cannot be read: %s", path.stem, exc)
        return found

    def take_samples(self, run_id: str, written: Path) -> None:
        """Take what a worker wrote as the samples of a run.

        Raises:
            WorkerError: it wrote none, or something else than a file.
            DeviceError: the disk refused it.
        """
        held = self._folder / f"{TEMPORARY_PREFIX}{run_id}"
        try:
            # First out of the worker's reach: it could put a link in the place of what was looked at.
            os.replace(written, held)
            found = held.lstat()
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                raise WorkerError(f"the worker wrote {written.name}, which is no file of its own")
            self._take_back(held)
        except OSError as exc:
            self._disk.discard(held)
            raise WorkerError(f"the worker did not write {written.name}: {exc.strerror}") from exc
        except WorkerError:
            self._disk.discard(held)
            raise
        self._disk.publish(held, self._spool(run_id))

    def samples(self, run_id: str, offset: int) -> Iterator[bytes]:
        """The samples of a finished run, in pieces.

        Raises:
            NotFoundError: there are none of this id.
        """
        check_id(run_id, what="run id")
        if offset < 0:
            raise UsageError(f"samples cannot be read from offset {offset}")
        try:
            file = self._spool(run_id).open("rb")
        except FileNotFoundError as exc:
            raise NotFoundError(
                f"the device has no samples of run {run_id!r}; it keeps those of the last {self._kept} runs",
                hint="measure again: edgectl profile",
            ) from exc
        with file:
            file.seek(offset)
            while piece := file.read(_PIECE_BYTES):
                yield piece

    def _write(self, remembered: Remembered) -> None:
        self._disk.write(self._path(remembered.run.run_id), canonical_bytes(remembered))

    def _spool(self, run_id: str) -> Path:
        return self._folder / f"{run_id}.npz"

    def _path(self, run_id: str) -> Path:
        return self._folder / f"{run_id}.json"

    def _read(self, path: Path) -> Remembered:
        found = from_bytes(Remembered, read_file(path, limit_bytes=_MAX_BYTES), what=path.name, lenient=True)
        if found.run.run_id != path.stem:
            raise DocumentError(f"{path.name} is about run {found.run.run_id[:100]!r}")
        return found

    def _documents(self) -> list[Path]:
        """Those that are there, the last written first."""
        found = []
        for path in self._folder.glob("*.json"):
            with suppress(OSError):
                found.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(found, reverse=True)]
