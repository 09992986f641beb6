"""The words of a verdict: which limit it failed or could not decide, how surely, and what would decide it. Pure."""

from __future__ import annotations

import math

from edgectl_host.quantities import share_words, time_words
from edgectl_host.report.figures import age_name, device_words
from edgectl_host.runs.record import RunRecord
from edgectl_protos.domain.interference import Disturbance
from edgectl_protos.domain.loop import Limit, LoopSpec, Metric
from edgectl_protos.domain.run import SAMPLE_FLOORS, Percentiles
from edgectl_protos.domain.verdict import Check, Outcome, Verdict

__all__ = ["cures", "verdict_parts"]

_ORDER = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)
_CURES = {
    Disturbance.BUSY: "the worker waited for a CPU: end what else runs on the device, then: edgectl profile",
    Disturbance.THROTTLED: "the CPU was slowed down for its heat: cool the device, then: edgectl profile",
    Disturbance.CLOCK_STEPPED: "the wall clock was set while the loop ran: let it settle, then: edgectl profile",
    Disturbance.SUSPENDED: "the machine slept while the loop ran: keep it awake, then: edgectl profile",
    Disturbance.SIMULATED: "a simulator shows values and no times: deploy to the device itself: edgectl deploy",
}
_OVER = {
    Metric.TICK: ("ticks", "late"),
    Metric.AGE: ("actions", "older"),
    Metric.MISSES: ("ticks", "missed"),
    Metric.STARVATION: ("slots", "starved"),
}


def verdict_parts(record: RunRecord) -> tuple[str, ...]:
    """What follows the word of the verdict, in parts that a line may be broken between: what disturbed the run, each
    limit with how surely it holds (the worst first), then the figures of every run.
    """
    summary, rates = record.summary, record.summary.rates
    parts = [] if record.verdict is None else _verdict_words(summary.loop, record.verdict)
    parts.append(_tail_part("tick", summary.response))
    parts.append(_tail_part(age_name(summary.loop), summary.age))
    if summary.starved_slots:
        slots = summary.ticks + summary.misses.skipped
        parts.append(f"starved {summary.starved_slots:,} of {slots:,} slots")
    parts.append(f"{rates.command_hz:.1f} cmd / {rates.replan_hz:.1f} replan Hz")
    parts.append(device_words(record))
    return tuple(parts)


def cures(record: RunRecord) -> tuple[str, ...]:
    """What would make an inconclusive run decide; nothing where the verdict stands."""
    verdict = record.verdict
    if verdict is None or verdict.outcome is not Outcome.INCONCLUSIVE:
        return ()
    if verdict.disturbances:
        return tuple(_CURES[disturbance] for disturbance in verdict.disturbances)
    found = []
    ticks = [check.deciding_ticks for check in verdict.checks if check.deciding_ticks is not None]
    if ticks:
        # A little more than it takes, since the next run will not be the same.
        seconds = math.ceil(1.1 * max(ticks) / record.summary.loop.rate_hz)
        found.append(f"measure for longer: edgectl profile --measure {seconds}s")
    undecided = [check for check in verdict.checks if check.outcome is Outcome.INCONCLUSIVE]
    if any(check.counted and check.n and check.deciding_ticks is None for check in undecided):
        found.append("no run that can be measured would decide: set a limit that the share is clearly on one side of")
    if any(not check.counted for check in undecided):
        found.append("measure again with these deadlines in the loop: edgectl deploy --loop")
    return tuple(found)


def _tail_part(name: str, values: Percentiles) -> str:
    tail = values.tail
    if tail is None:
        return f"{name} n/a ({values.n} ticks, need {SAMPLE_FLOORS['p50']})"
    return f"{name} {_percentile_name(tail[0])} {time_words(tail[1])}"


def _verdict_words(loop: LoopSpec, verdict: Verdict) -> list[str]:
    parts = [", ".join(disturbance.value for disturbance in verdict.disturbances)] if verdict.disturbances else []
    for check in sorted(verdict.checks, key=lambda each: _ORDER.index(each.outcome)):
        word = "" if check.outcome is verdict.outcome else f"{check.outcome.value}: "
        parts.append(f"{word}{_limit_words(check.limit)}: {_check_words(check)}")
        if check.deciding_ticks is not None:
            parts.append(f"{check.deciding_ticks:,} ticks ({check.deciding_ticks / loop.rate_hz:.0f} s) would decide")
    return parts


def _limit_words(limit: Limit) -> str:
    if limit.statistic == "rate":
        return f"{limit.metric.value} ≤ {share_words(limit.share)}"
    if limit.statistic == "run":
        return f"misses in a row ≤ {limit.limit:.0f}"
    return f"{limit.metric.value} {_percentile_name(limit.statistic)} ≤ {time_words(limit.limit)}"


def _check_words(check: Check) -> str:
    if not check.counted:
        return "not counted in this run"
    if check.limit.statistic == "run":
        return f"{check.observed or 0:.0f} seen"
    things, over = _OVER[check.limit.metric]
    if not check.n:
        return f"no {things}"
    if check.low is None or check.high is None:
        return f"{check.count:,} of {check.n:,} {things} {over}"
    return f"{share_words(check.count / check.n)} of {check.n:,} {things} {over} ({_interval(check.low, check.high)})"


def _interval(low: float, high: float) -> str:
    return f"{share_words(low).removesuffix(' %')} to {share_words(high)}"


def _percentile_name(name: str) -> str:
    return {"p999": "p99.9"}.get(name, name)
