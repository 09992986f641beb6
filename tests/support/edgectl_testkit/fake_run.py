"""A run on a device in memory: it goes on whoever watches it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np

from edgectl_protos.domain.deployment import (
    Failure,
)
from edgectl_protos.domain.run import OVER, Run, RunEvent, RunPhase, RunSummary
from edgectl_testkit.bundles import npz_bytes

__all__ = ["GoingRun", "take_samples"]

_SLOTS = 200
_RESPONSE_S = 0.010


class GoingRun:
    """One run, and everything that happened in it."""

    def __init__(self, run: Run) -> None:
        self._begun = run
        self.events = [RunEvent(run.run_id, run.phase, sequence=1)]
        self.news = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def run(self) -> Run:
        """As it stands."""
        return replace(self._begun, phase=self.events[-1].phase, failure=self.events[-1].failure)

    def tell(self, phase: RunPhase, summary: RunSummary | None = None, failure: Failure | None = None) -> None:
        """Something happens in it."""
        number = len(self.events) + 1
        self.events.append(RunEvent(self._begun.run_id, phase, 0.0, summary, failure, number))
        self.news.set()

    async def watch(self, after_sequence: int) -> AsyncIterator[RunEvent]:
        """Its events, until it is over."""
        while True:
            self.news.clear()
            for event in self.events[after_sequence:]:
                yield event
            after_sequence = len(self.events)
            if self.events[-1].phase in OVER:
                return
            assert self.task is not None
            news = asyncio.create_task(self.news.wait())
            await asyncio.wait([self.task, news], return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            if self.task.done():
                # What a test's own hook raised.
                self.task.result()


def take_samples(seed: int, pace: float) -> bytes:
    """The spooled samples of a run whose response times are so many times 10 ms."""
    responses_s = _RESPONSE_S * pace * np.random.default_rng(seed).normal(1.0, 0.001, _SLOTS)
    return npz_bytes({"responses": (responses_s * 1e9).astype(np.int64)})
