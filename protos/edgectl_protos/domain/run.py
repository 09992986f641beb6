"""A run: one measurement of one loop on one device; a verdict: its pass or fail against deadlines.

Definitions follow docs/loop.md. All times are seconds. A percentile without its samples is None: the
floors are those at which the binomial bound holds at 99 % confidence (p50 30, p90 64, p95 90, p99 459,
p99.9 4603).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.device import ComponentFacts, DeviceFacts
from edgectl_protos.domain.loop import Deadlines, LoopSpec

__all__ = [
    "SAMPLE_FLOORS",
    "Check",
    "ColdStart",
    "Misses",
    "Outcome",
    "Percentiles",
    "Rates",
    "RunEvent",
    "RunPhase",
    "RunSummary",
    "SpanFigures",
    "Verdict",
    "WarmUp",
    "judge",
]

SAMPLE_FLOORS: dict[str, int] = {"p50": 30, "p90": 64, "p95": 90, "p99": 459, "p999": 4603}
"""The fewest samples with which each percentile may be printed."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of n samples, in seconds; None below the sample floor."""

    n: int
    min: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p999: float | None = None
    max: float | None = None

    @property
    def tail(self) -> tuple[str, float] | None:
        """The highest percentile that the samples support, by name; None when not even the median is."""
        for name in ("p999", "p99", "p95", "p90", "p50"):
            value = getattr(self, name)
            if value is not None:
                return name, value
        return None


@dataclass(frozen=True, slots=True)
class SpanFigures:
    """One step over the measured inferences (or ticks) in which it ran.

    `times` are per inference: of a step inside a loop the sum of its passes, each of which has its own row in
    `passes`. `share` is of the summed service time; `component` names what a step runs, if it runs one.
    """

    id: str
    op: str
    times: Percentiles
    share: float
    note: str = ""
    component: str = ""
    passes: tuple[Percentiles, ...] = ()


@dataclass(frozen=True, slots=True)
class Misses:
    """Ticks whose response time exceeded the tick deadline, and slots lost to overruns."""

    count: int
    rate: float
    longest_run: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Rates:
    """Four rates in hertz over the measured wall time: they differ, and are never called just `Hz`."""

    command_hz: float
    fresh_action_hz: float
    replan_hz: float
    observation_hz: float


@dataclass(frozen=True, slots=True)
class ColdStart:
    """From the start of the worker process: imports, load of the artifact, first inference, first action."""

    import_s: float
    load_s: float
    first_inference_s: float
    first_action_s: float


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Inferences discarded until two windows of 20 in a row agreed within 5 %; `met` False: cap reached."""

    inferences: int
    seconds: float
    met: bool


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run found. `response` is from the scheduled tick to the published action (no coordinated
    omission); `service` from the actual wake. `age` is obs→action age of every published action. `jitter`
    is |period − T|. `overhead_share` is the fraction of summed service time that no span accounts for.
    `components` are those of the release, in the order of their first use.
    `cpu_utilisation` is process CPU time over wall time and cores used; `samples_bytes` the spooled size.
    """

    run_id: str
    deployment_id: str
    release: Digest
    name: str
    loop: LoopSpec
    facts: DeviceFacts
    components: tuple[ComponentFacts, ...]
    threads: int
    started_s: float
    measured_s: float
    ticks: int
    inferences: int
    warm_up: WarmUp
    cold_start: ColdStart
    response: Percentiles
    service: Percentiles
    wake: Percentiles
    jitter: Percentiles
    age: Percentiles
    misses: Misses
    starved_ticks: int
    rates: Rates
    spans: tuple[SpanFigures, ...]
    overhead_share: float
    peak_rss_bytes: int
    cpu_utilisation: float
    temperature_start_c: float | None
    temperature_peak_c: float | None
    samples_bytes: int


class RunPhase(enum.Enum):
    """What a run is doing."""

    LOADING = "loading"
    WARMING_UP = "warming_up"
    MEASURING = "measuring"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """A phase of a newer agent, as a host sees it."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Progress of a run; the last one is DONE with a summary, or FAILED with a failure."""

    run_id: str
    phase: RunPhase
    progress: float = 0.0
    summary: RunSummary | None = None
    failure: Failure | None = None


class Outcome(enum.Enum):
    """PASS, FAIL, or too few samples to say."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Check:
    """One deadline judged. `statistic` says at which percentile; `unit` is s, ratio or ticks."""

    name: str
    statistic: str
    observed: float | None
    limit: float
    unit: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Verdict:
    """FAIL if any check fails, else INCONCLUSIVE if any lacks samples, else PASS."""

    outcome: Outcome
    checks: tuple[Check, ...]


def judge(summary: RunSummary, deadlines: Deadlines | None = None) -> Verdict:
    """The verdict on a run, against its own loop's deadlines unless others are given.

    A percentile is judged only with its samples: the tick deadline by the miss rate, the longest run of
    misses and the highest supported percentile; the age by its highest supported percentile.
    """
    limits = deadlines or summary.loop.deadlines
    checks = [
        _percentile_check("tick", summary.response, limits.tick_s),
        _check("misses", "rate", summary.misses.rate, limits.miss_rate, "ratio"),
        _check("misses", "run", float(summary.misses.longest_run), float(limits.miss_run), "ticks"),
    ]
    if limits.age_s is not None:
        checks.append(_percentile_check("age", summary.age, limits.age_s))
    outcomes = {check.outcome for check in checks}
    worst = next((o for o in (Outcome.FAIL, Outcome.INCONCLUSIVE) if o in outcomes), Outcome.PASS)
    return Verdict(worst, tuple(checks))


def _percentile_check(name: str, values: Percentiles, limit_s: float) -> Check:
    tail = values.tail
    if tail is None:
        return Check(name, "p50", None, limit_s, "s", Outcome.INCONCLUSIVE)
    return _check(name, tail[0], tail[1], limit_s, "s")


def _check(name: str, statistic: str, observed: float, limit: float, unit: str) -> Check:
    return Check(name, statistic, observed, limit, unit, Outcome.PASS if observed <= limit else Outcome.FAIL)
