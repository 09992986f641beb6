"""Stamps of a run: one preallocated row of int64 per tick, every page of it touched before measuring.

Columns: slot, scheduled, wake, begin (of the first stage), the end of each stage, merge, pub (= published),
done (end of the tick), source (oldest stamp in the chunk), inferred. The end of one stage is the begin of
the next; on ticks without an inference its stages hold 0. Times are nanoseconds of the loop's clock.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgectl_protos.domain.errors import DiskFullError, LoopError

__all__ = ["BEGIN", "SCHEDULED", "SLOT", "WAKE", "Recorder"]

SLOT, SCHEDULED, WAKE, BEGIN = 0, 1, 2, 3
_HEAD = ("slot", "scheduled", "wake", "begin")
_TAIL = ("merge", "pub", "done", "source", "inferred")


class Recorder:
    """The stamps of up to `capacity` ticks. `cells` is the whole table as one flat row of integers."""

    def __init__(self, stage_ids: Sequence[str], capacity: int) -> None:
        self.columns = (*_HEAD, *stage_ids, *_TAIL)
        self.width = len(self.columns)
        self.capacity = capacity
        self._table = np.full((capacity, self.width), -1, np.int64)
        self._table[:] = 0
        # Setting an item of a memoryview costs a third of setting one of an array.
        self.cells = self._table.reshape(-1).data
        self.count = 0

    @property
    def ticks(self) -> npt.NDArray[np.int64]:
        """The rows recorded so far."""
        return self._table[: self.count]

    def column(self, name: str) -> npt.NDArray[np.int64]:
        """One column of the rows recorded so far."""
        values: npt.NDArray[np.int64] = self.ticks[:, self.columns.index(name)]
        return values

    def spool(self, path: Path) -> int:
        """Write the stamps as .npz (`stamps`, `columns`), visible only when whole; its size in bytes.

        Raises:
            DiskFullError: the device has no room for them.
            LoopError: they cannot be written.
        """
        partial = path.with_name(f"{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez(file, stamps=self.ticks, columns=np.array(self.columns))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            return path.stat().st_size
        except OSError as exc:
            partial.unlink(missing_ok=True)
            message = f"samples of the run cannot be written to {path.name}: {exc.strerror}"
            if exc.errno in (28, 122):
                raise DiskFullError(message, hint="free space on the device: edgectl doctor") from exc
            raise LoopError(message) from exc
