"""Stamps of a run, in two preallocated tables of int64, every page of them touched before measuring.

Ticks: slot, scheduled, wake, begin (of the tick's work), inferred (its end; begin where the tick infers nothing), ready
(the action is chosen), published, done (end of the tick), source (oldest stamp in the chunk), inference (its number, -1
where there is none). Spans: `worker/spans.py`. Times are nanoseconds of the loop's clock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgectl_agent.worker.spans import SPAN_COLUMNS, Site, SpanTable
from edgectl_protos.domain.errors import DiskFullError, LoopError

__all__ = [
    "BEGIN",
    "DONE",
    "INFERENCE",
    "INFERRED",
    "PUBLISHED",
    "READY",
    "SCHEDULED",
    "SLOT",
    "SOURCE",
    "TICK_COLUMNS",
    "WAKE",
    "WIDTH",
    "Recorder",
]

TICK_COLUMNS = (
    "slot",
    "scheduled",
    "wake",
    "begin",
    "inferred",
    "ready",
    "published",
    "done",
    "source",
    "inference",
)
SLOT, SCHEDULED, WAKE, BEGIN, INFERRED, READY, PUBLISHED, DONE, SOURCE, INFERENCE = range(len(TICK_COLUMNS))
WIDTH = len(TICK_COLUMNS)


class Recorder:
    """The stamps of up to `capacity` ticks and `spans` spans. `cells` is the table of ticks as one row of integers."""

    def __init__(self, sites: Sequence[Site], capacity: int, spans: int, now_ns: Callable[[], int]) -> None:
        self.capacity = capacity
        self._table = np.full((capacity, WIDTH), 0, np.int64)
        # Setting an item of a memoryview costs a third of setting one of an array.
        self.cells = self._table.reshape(-1).data
        self.spans = SpanTable(sites, spans, now_ns)
        self.count = 0

    @property
    def ticks(self) -> npt.NDArray[np.int64]:
        """The rows recorded so far."""
        return self._table[: self.count]

    def column(self, column: int) -> npt.NDArray[np.int64]:
        """One column of the rows recorded so far."""
        values: npt.NDArray[np.int64] = self.ticks[:, column]
        return values

    def spool(self, path: Path, responses_ns: npt.NDArray[np.int64]) -> int:
        """Write the stamps as .npz, visible only when whole; its size in bytes.

        `ticks` with `tick_columns`, `spans` with `span_columns`, for each site of a span `site_steps` and
        `site_passes`, and `responses`, of every slot.

        Raises:
            DiskFullError: the device has no room for them.
            LoopError: they cannot be written.
        """
        partial = path.with_name(f"{path.name}.partial")
        sites = self.spans.sites
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez(
                    file,
                    ticks=self.ticks,
                    tick_columns=np.array(TICK_COLUMNS),
                    spans=self.spans.rows,
                    span_columns=np.array(SPAN_COLUMNS),
                    site_steps=np.array([site.step for site in sites]),
                    site_passes=np.array([site.index for site in sites]),
                    responses=responses_ns,
                )
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
