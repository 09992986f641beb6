"""Runs the loop: ticks on an absolute schedule, each stamped, nothing else done while measuring.

A tick: wake → (if the queue is empty) read the sources and run the program → choose the action → publish. Nothing in it
writes, logs or collects garbage. Order of a run: `warm_up` (closed loop, by rule) → `measure`; `smoke` is a few ticks
of it.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from edgectl_agent.worker.loop.clock import Clock
from edgectl_agent.worker.loop.observer import Observer
from edgectl_agent.worker.loop.queue import ActionQueue
from edgectl_agent.worker.loop.recorder import (
    BEGIN,
    DONE,
    INFERENCE,
    INFERRED,
    PUBLISHED,
    READY,
    SCHEDULED,
    SLOT,
    SOURCE,
    WAKE,
    WIDTH,
    Recorder,
)
from edgectl_agent.worker.loop.schedule import Grid, next_slot
from edgectl_agent.worker.loop.sources import Source, repeats
from edgectl_agent.worker.loop.warm_up import WarmUpRule
from edgectl_agent.worker.program import Executor
from edgectl_agent.worker.release import Array
from edgectl_agent.worker.spans import SpanTable
from edgectl_protos.domain.loop import MAX_TICKS, LoopSpec, Mode
from edgectl_protos.domain.policy import Policy
from edgectl_protos.domain.run import WarmUp

__all__ = ["Loop", "Measurement", "publish_nowhere"]

_LEAD_NS = 5_000_000
_PROGRESS_EVERY_NS = 500_000_000


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was recorded. `slots` is the number of ticks scheduled (paced) or run (closed); of the sources' frames,
    `observed` were handed out by the slowest one and `unused` came and went unread, of all.
    """

    recorder: Recorder
    grid: Grid
    slots: int
    wall_ns: int
    cpu_ns: int
    observed: int
    unused: int


def _nothing(left_ns: int) -> None:
    """What is done between ticks."""


def publish_nowhere(action: Array) -> None:
    """The null sink: edgectl moves no robot."""


class Loop:
    """One loop over opened sources and a loaded policy."""

    def __init__(
        self,
        spec: LoopSpec,
        policy: Policy,
        executor: Executor,
        sources: Sequence[Source],
        clock: Clock,
        publish: Callable[[Array], None] = publish_nowhere,
    ) -> None:
        self._spec = spec
        self._executor = executor
        self._sources = sources
        self._clock = clock
        self._publish = publish
        self._queue = ActionQueue(spec.execution.use)
        self._observer = Observer(sources, policy, executor)
        # The executor counts its sites from 0; those of the observer stand behind them.
        self._read_site = len(executor.sites)
        self._tick_ns = 0.0
        self._inferences = 0
        self.first_overhead_ns: int | None = None
        """Duration of the first tick without its program."""

    def smoke(self) -> int:
        """Run two inferences and every tick between them, unpaced; how many ticks that were."""
        ticks = self._spec.execution.use + 1
        recorder = self._recorder(ticks)
        self._start(repeat=None)
        for index in range(ticks):
            self._tick(recorder, index, self._clock.now_ns(), self._clock.now_ns())
        return ticks

    def warm_up(self, progress: Callable[[float], None]) -> WarmUp:
        """Run unpaced until the rule is met or its cap is reached."""
        rule = WarmUpRule()
        self._start(repeat=True)
        recorder = self._recorder(1)
        now = self._clock.now_ns
        started = reported = now()
        ticks = 0
        over = False
        while not over:
            fresh = self._queue.empty
            wake = now()
            recorder.spans.clear()
            self._tick(recorder, 0, wake, wake)
            ticks += 1
            if fresh:
                done = now()
                over = rule.add(done - wake, (done - started) / 1e9)
                if done - reported > _PROGRESS_EVERY_NS:
                    reported = done
                    progress(rule.progress)
        self._tick_ns = (now() - started) / ticks
        return rule.result

    def measure(self, idle: Callable[[int], None] = _nothing) -> Measurement:
        """Measure for `measure_s`, paced or closed. Paced, `idle` is called before each tick with the nanoseconds left.

        Raises:
            SourceError: a source ended before the time was over.
        """
        paced = self._spec.mode is Mode.PACED
        with _no_garbage_collection():
            return self._measure_paced(idle) if paced else self._measure_closed()

    def _measure_paced(self, idle: Callable[[int], None]) -> Measurement:
        spec, clock = self._spec, self._clock
        now, sleep_until = clock.now_ns, clock.sleep_until
        slots = max(1, round(spec.measure_s * spec.rate_hz))
        recorder = self._recorder(slots)
        self._start(repeat=None)
        grid = Grid(now() + _LEAD_NS, spec.rate_hz)
        for source in self._sources:
            source.pace(grid)
        sleep_until(grid.t0_ns)
        cpu = clock.cpu_ns()
        count, slot = 0, 0
        while slot < slots:
            due = grid.at(slot)
            self._observer.skip(due)
            idle(due - now())
            sleep_until(due)
            self._tick(recorder, count, due, now(), slot)
            count += 1
            slot = next_slot(grid, slot, now(), spec.overrun)
        # The run ends where its last slot does, so that rates are ticks over the time they stand for.
        sleep_until(grid.at(slots))
        recorder.count = count
        return self._measured(recorder, grid, slots, now() - grid.t0_ns, clock.cpu_ns() - cpu)

    def _measure_closed(self) -> Measurement:
        spec, clock = self._spec, self._clock
        now = clock.now_ns
        # Room for ticks twice as fast as those of the warm-up; if they are faster still, the run is shorter.
        room = math.ceil(2 * spec.measure_s * 1e9 / max(self._tick_ns, 1e3)) + 1
        self._start(repeat=None)
        recorder = self._recorder(min(MAX_TICKS, room))
        started = now()
        cpu = clock.cpu_ns()
        end = started + int(spec.measure_s * 1e9)
        count = 0
        wake = started
        while wake < end and count < recorder.capacity:
            self._tick(recorder, count, wake, wake, count)
            count += 1
            wake = now()
        recorder.count = count
        grid = Grid(started, spec.rate_hz)
        return self._measured(recorder, grid, count, now() - started, clock.cpu_ns() - cpu)

    def _measured(self, recorder: Recorder, grid: Grid, slots: int, wall_ns: int, cpu_ns: int) -> Measurement:
        return Measurement(recorder, grid, slots, wall_ns, cpu_ns, self._observer.distinct, self._observer.unused)

    def _recorder(self, capacity: int) -> Recorder:
        reads = 2 * capacity if self._observer.always else 0
        inferences = capacity // self._spec.execution.use + 2
        spans = reads + inferences * (self._executor.spans_per_run + 2)
        sites = (*self._executor.sites, *self._observer.sites)
        return Recorder(sites, capacity, spans, self._clock.now_ns)

    def _start(self, *, repeat: bool | None) -> None:
        """Begin from the first frames; `repeat` None is what each source says itself."""
        self._queue.clear()
        self._observer.restart()
        self._executor.reset()
        self._inferences = 0
        for source in self._sources:
            source.start(repeat=repeats(source.spec) if repeat is None else repeat)

    def _tick(self, recorder: Recorder, index: int, due: int, wake: int, slot: int = 0) -> None:
        spans = recorder.spans
        begin = inferred = spans.start()
        now, cells, queue, observer = self._clock.now_ns, recorder.cells, self._queue, self._observer
        base = index * WIDTH
        cells[base + SLOT] = slot
        cells[base + SCHEDULED] = due
        cells[base + WAKE] = wake
        cells[base + BEGIN] = begin
        if queue.empty:
            cells[base + INFERENCE] = spans.inference = self._inferences
            self._inferences += 1
            ran = self._observe(spans, wake)
            chunk = self._executor.run(observer.observation(), spans)
            inferred = now()
            queue.put(chunk, observer.oldest_ns)
            if self.first_overhead_ns is None:
                self.first_overhead_ns = ran - wake
        else:
            cells[base + INFERENCE] = -1
            if observer.always:
                spans.inference = -1
                inferred = self._observe(spans, wake)
        cells[base + INFERRED] = inferred
        action = queue.pop()
        cells[base + READY] = now()
        self._publish(action)
        cells[base + PUBLISHED] = now()
        cells[base + SOURCE] = queue.source_ns
        cells[base + DONE] = now()

    def _observe(self, spans: SpanTable, now_ns: int) -> int:
        """Read the sources; when that was done."""
        observer = self._observer
        observer.read(now_ns)
        done = spans.follow(self._read_site)
        if observer.resizes:
            observer.resize()
            done = spans.follow(self._read_site + 1)
        if observer.always:
            observer.remember()
        return done


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
        gc.unfreeze()
