"""From a measurement to the figures of a `RunSummary`. Pure: stamps in, figures out.

Response time runs from the scheduled tick to the published action, service time from the wake. The overhead is what of
the tick no span accounts for, the bookkeeping after publishing included, over the summed service time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgectl_agent.worker.loop import recorder as columns
from edgectl_agent.worker.loop.recorder import Recorder
from edgectl_agent.worker.loop.runner import Measurement
from edgectl_agent.worker.loop.statistics import Slots, dispersion, percentiles, slots_of
from edgectl_agent.worker.spans import Site
from edgectl_protos.domain.loop import Limit, LoopSpec, Metric, Mode
from edgectl_protos.domain.run import Exceedances, Misses, Percentiles, Rates, SpanFigures

__all__ = ["Figures", "slots_in", "summarise"]

_Times = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figures:
    """The measured part of a run."""

    measured_s: float
    ticks: int
    inferences: int
    response: Percentiles
    service: Percentiles
    wake: Percentiles
    jitter: Percentiles
    age: Percentiles
    misses: Misses
    starved_slots: int
    rates: Rates
    spans: tuple[SpanFigures, ...]
    overhead_share: float
    exceedances: tuple[Exceedances, ...]
    unused_frames: int


def slots_in(spec: LoopSpec, measurement: Measurement) -> Slots:
    """The response time of every slot; without a schedule, of every tick."""
    recorder = measurement.recorder
    published = recorder.column(columns.PUBLISHED)
    if spec.mode is Mode.PACED:
        over_ns = measurement.grid.t0_ns + measurement.wall_ns
        return slots_of(recorder.column(columns.SLOT), published, measurement.grid, measurement.slots, over_ns)
    return Slots(published - recorder.column(columns.SCHEDULED), np.ones(len(published), np.bool_))


def summarise(spec: LoopSpec, measurement: Measurement) -> Figures:
    """The figures of a measurement."""
    recorder = measurement.recorder
    scheduled, woken, published, done = (
        recorder.column(column) for column in (columns.SCHEDULED, columns.WAKE, columns.PUBLISHED, columns.DONE)
    )
    paced = spec.mode is Mode.PACED
    service = published - woken
    nothing = np.empty(0, np.int64)
    period_ns = _ns(spec.period_s)
    slots = slots_in(spec, measurement)
    age = published - recorder.column(columns.SOURCE)
    wall_s = measurement.wall_ns / 1e9
    ticks = recorder.count
    inferences = int((recorder.column(columns.INFERENCE) >= 0).sum())
    figures, accounted_ns = _spans(recorder, int(service.sum()))
    return Figures(
        measured_s=wall_s,
        ticks=ticks,
        inferences=inferences,
        response=percentiles(slots.responses_ns),
        service=percentiles(service),
        # Without a schedule there is nothing to be late for.
        wake=percentiles(woken - scheduled if paced else nothing),
        jitter=percentiles(np.abs(np.diff(published) - period_ns) if paced else nothing),
        age=percentiles(age),
        misses=slots.misses(_ns(spec.deadlines.tick_s)),
        starved_slots=int(slots.starved(period_ns).sum()) if paced else 0,
        rates=Rates(
            command_hz=ticks / wall_s,
            # Synchronous chunks execute every action once: each command is a fresh one.
            fresh_action_hz=ticks / wall_s,
            replan_hz=inferences / wall_s,
            observation_hz=measurement.observed / wall_s,
        ),
        spans=figures,
        overhead_share=float((done - woken).sum() - accounted_ns) / max(1, int(service.sum())),
        exceedances=_exceedances(spec, slots, age) if paced else (),
        unused_frames=measurement.unused,
    )


def _exceedances(spec: LoopSpec, slots: Slots, age: _Times) -> tuple[Exceedances, ...]:
    """The samples over each limit of the loop that is a time or a rate."""

    def over(limit: Limit) -> npt.NDArray[np.bool_]:
        if limit.metric is Metric.TICK:
            return slots.late(_ns(limit.limit))
        if limit.metric is Metric.AGE:
            return age > _ns(limit.limit)
        return (
            slots.late(_ns(spec.deadlines.tick_s))
            if limit.metric is Metric.MISSES
            else slots.starved(_ns(spec.period_s))
        )

    found = []
    for limit in spec.deadlines.statements:
        if limit.statistic != "run":
            mask = over(limit)
            found.append(Exceedances(limit, mask.size, int(mask.sum()), dispersion(mask)))
    return tuple(found)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _spans(recorder: Recorder, service_ns: int) -> tuple[tuple[SpanFigures, ...], int]:
    """Figures of each step, `merge` and `pub` included, and the time that all of them took."""
    rows, sites = recorder.spans.rows, recorder.spans.sites
    durations = rows[:, 3] - rows[:, 2]
    # A step of the program may have the name of one of ours.
    by_step: dict[tuple[str, str], list[int]] = {}
    for index, site in enumerate(sites):
        by_step.setdefault((site.step, site.op), []).append(index)
    found: list[SpanFigures] = []
    accounted = 0
    # What is observed comes first, and its sites stand last.
    for step in sorted(by_step, key=lambda name: sites[by_step[name][0]].op not in ("decode", "resize")):
        mine = np.isin(rows[:, 1], by_step[step])
        if not mine.any():
            continue
        total = int(durations[mine].sum())
        # What lies within another span is in that one's time.
        accounted += 0 if sites[by_step[step][0]].within else total
        found.append(_figure(sites, by_step[step], rows[mine], durations[mine], total / max(1, service_ns)))
    inferred, ready = recorder.column(columns.INFERRED), recorder.column(columns.READY)
    tail = (
        ("merge", "queue", ready - inferred, ""),
        ("pub", "publish", recorder.column(columns.PUBLISHED) - ready, "null sink"),
    )
    for name, op, times, note in tail:
        accounted += int(times.sum())
        found.append(SpanFigures(name, op, percentiles(times), int(times.sum()) / max(1, service_ns), note))
    return tuple(found), accounted


def _figure(sites: tuple[Site, ...], indices: list[int], rows: _Times, durations: _Times, share: float) -> SpanFigures:
    first = sites[indices[0]]
    if first.passes == 1:
        return SpanFigures(first.step, first.op, percentiles(durations), share, first.note, first.component)
    # Per inference the sum of its passes, and each pass by itself.
    _, where = np.unique(rows[:, 0], return_inverse=True)
    sums = np.bincount(where, weights=durations.astype(np.float64)).astype(np.int64)
    passes = tuple(percentiles(durations[rows[:, 1] == index]) for index in indices) if first.component else ()
    return SpanFigures(first.step, first.op, percentiles(sums), share, first.note, first.component, passes)
