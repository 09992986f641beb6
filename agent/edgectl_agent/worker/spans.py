"""Spans: one timed piece of one inference each, in a preallocated table of int64.

A row is (inference, site, begin, end), nanoseconds of the loop's clock. A site is a place in the program: a step, at a
pass if it stands in a loop. Rows need not be complete, ordered or apart: parallel steps, denoising passes and decoded
tokens are all spans. Where one thing happens after another they follow without gaps (`start`, `follow`). A row costs
0.3 µs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SPAN_COLUMNS", "Site", "SpanTable"]

SPAN_COLUMNS = ("inference", "site", "begin", "end")
_WIDTH = len(SPAN_COLUMNS)


@dataclass(frozen=True, slots=True)
class Site:
    """Where a span belongs. `index` is the pass, -1 outside loops; `passes` how many there are. A span `within` a step
    is part of that step's own span.
    """

    step: str
    op: str
    component: str = ""
    index: int = -1
    passes: int = 1
    note: str = ""
    within: str = ""


class SpanTable:
    """Room for `capacity` spans, every page of it touched before measuring. `inference` is the one that runs now."""

    def __init__(self, sites: Sequence[Site], capacity: int, now_ns: Callable[[], int]) -> None:
        self.sites = tuple(sites)
        self.now_ns = now_ns
        self.inference = -1
        self._rows = np.full((max(1, capacity), _WIDTH), -1, np.int64)
        # Setting an item of a memoryview costs a third of setting one of an array.
        self._cells = self._rows.reshape(-1).data
        self._at = 0
        self._end = self._rows.size
        self._mark_ns = 0

    def add(self, site: int, begin_ns: int, end_ns: int) -> None:
        """Record a span; beyond the capacity nothing is recorded, and `full` says so."""
        at = self._at
        if at < self._end:
            cells = self._cells
            cells[at] = self.inference
            cells[at + 1] = site
            cells[at + 2] = begin_ns
            cells[at + 3] = end_ns
            self._at = at + _WIDTH

    def start(self) -> int:
        """Begin a run of spans that follow each other; the moment."""
        self._mark_ns = moment = self.now_ns()
        return moment

    def follow(self, site: int) -> int:
        """Record a span from the end of the last one to now; the moment. What leads to a step is part of its span."""
        now = self.now_ns()
        self.add(site, self._mark_ns, now)
        self._mark_ns = now
        return now

    @property
    def full(self) -> bool:
        """Whether there is no room for another span."""
        return self._at >= self._end

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The spans recorded so far, [n, 4]."""
        return self._rows[: self._at // _WIDTH]

    def clear(self) -> None:
        """Forget all spans."""
        self._at = 0
        self.inference = -1
