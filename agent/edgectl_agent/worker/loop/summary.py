"""From a measurement to the figures of a `RunSummary`. Pure: stamps in, figures out.

Response time runs from the scheduled tick to the published action, service time from the wake. The overhead
is what of the tick no stage accounts for, the bookkeeping after publishing included, over the summed
service time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgectl_agent.worker.loop.recorder import Recorder
from edgectl_agent.worker.loop.runner import Measurement
from edgectl_agent.worker.loop.stages import Stage
from edgectl_agent.worker.loop.statistics import Slots, percentiles, slots_of
from edgectl_protos.domain.loop import LoopSpec, Mode
from edgectl_protos.domain.run import Misses, Percentiles, Rates, StageFigures

__all__ = ["Figures", "summarise"]

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
    starved_ticks: int
    rates: Rates
    stages: tuple[StageFigures, ...]
    overhead_share: float


def summarise(spec: LoopSpec, stages: tuple[Stage, ...], measurement: Measurement) -> Figures:
    """The figures of a measurement."""
    recorder = measurement.recorder
    scheduled, woken, published, done = (recorder.column(name) for name in ("scheduled", "wake", "pub", "done"))
    paced = spec.mode is Mode.PACED
    service = published - woken
    nothing = np.empty(0, np.int64)
    period_ns = round(spec.period_s * 1e9)
    if paced:
        slots = slots_of(recorder.column("slot"), published, measurement.grid, measurement.slots)
    else:
        slots = Slots(published - scheduled, np.ones(len(published), np.bool_))
    wall_s = measurement.wall_ns / 1e9
    ticks = recorder.count
    inferences = int(recorder.column("inferred").sum())
    figures, accounted_ns = _stages(recorder, stages, int(service.sum()))
    return Figures(
        measured_s=wall_s,
        ticks=ticks,
        inferences=inferences,
        response=percentiles(slots.responses_ns),
        service=percentiles(service),
        # Without a schedule there is nothing to be late for.
        wake=percentiles(woken - scheduled if paced else nothing),
        jitter=percentiles(np.abs(np.diff(published) - period_ns) if paced else nothing),
        age=percentiles(published - recorder.column("source")),
        misses=slots.misses(round(spec.deadlines.tick_s * 1e9)),
        starved_ticks=slots.starved(period_ns) if paced else 0,
        rates=Rates(
            command_hz=ticks / wall_s,
            # Synchronous chunks execute every action once: each command is a fresh one.
            fresh_action_hz=ticks / wall_s,
            replan_hz=inferences / wall_s,
            observation_hz=measurement.observed / wall_s,
        ),
        stages=figures,
        overhead_share=float((done - woken).sum() - accounted_ns) / max(1, int(service.sum())),
    )


def _stages(recorder: Recorder, stages: tuple[Stage, ...], service_ns: int) -> tuple[tuple[StageFigures, ...], int]:
    """Figures of each stage, `merge` and `pub` included, and the time that all of them took."""
    inferred = recorder.column("inferred") == 1
    begin = recorder.column("begin")
    found: list[tuple[str, str, _Times, str]] = []
    previous = begin[inferred]
    for stage in stages:
        end = recorder.column(stage.id)[inferred]
        found.append((stage.id, stage.op, end - previous, stage.note))
        previous = end
    merge = recorder.column("merge")
    before_merge = np.where(inferred, recorder.column(stages[-1].id), begin)
    found.append(("merge", "queue", merge - before_merge, ""))
    found.append(("pub", "publish", recorder.column("pub") - merge, "null sink"))
    figures = tuple(
        StageFigures(
            id=name,
            op=op,
            times=percentiles(durations),
            share=int(durations.sum()) / max(1, service_ns),
            note=note,
        )
        for name, op, durations, note in found
    )
    return figures, sum(int(durations.sum()) for _, _, durations, _ in found)
