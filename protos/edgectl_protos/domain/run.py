"""A run: one measurement of one loop on one device; a verdict: whether it holds its deadlines, as far as it shows.

Definitions follow docs/loop.md. All times are seconds. A percentile without its samples is None: the
floors are those at which the binomial bound holds at 99 % confidence (p50 30, p90 64, p95 90, p99 459,
p99.9 4603).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.device import ComponentFacts, DeviceFacts
from edgectl_protos.domain.interval import interval_of, side_of
from edgectl_protos.domain.loop import EXCEEDING_SHARES, MAX_TICKS, Deadlines, Limit, LoopSpec, Metric

__all__ = [
    "OVER",
    "SAMPLE_FLOORS",
    "Check",
    "ColdStart",
    "Disturbance",
    "Exceedances",
    "Generation",
    "Interference",
    "MemoryReads",
    "Misses",
    "Outcome",
    "Percentiles",
    "Rates",
    "Run",
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
class Generation:
    """What one step that generates a text took, over the measured inferences.

    `first_token`: from the tokenised prompt of `prompt_tokens` (the last one's) to its first token; `next_token`: each
    one after it, and `tokens_per_s` those over their summed time. `token_bytes`: what the runtime must read for one
    token, weights and the cache half way through the answer; 0 where it does not say.
    """

    step: str
    component: str
    prompt_tokens: int
    first_token: Percentiles
    next_token: Percentiles
    tokens_per_s: float
    token_bytes: int = 0


@dataclass(frozen=True, slots=True)
class MemoryReads:
    """How fast this device reads its memory: the fastest of `passes` over `size_bytes` by `threads` threads, measured
    in the worker right after the run.
    """

    bytes_per_s: float
    size_bytes: int
    passes: int
    threads: int


@dataclass(frozen=True, slots=True)
class Misses:
    """Slots whose response time exceeded the tick deadline; `skipped` were lost to overruns."""

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
class Exceedances:
    """How many of `n` samples were over a limit of the loop.

    `dispersion`: the variance of their number over that of as many independent samples, at least 1. Ticks are not
    independent: late ones come in bursts, and a burst says no more about the rate than one of its ticks.
    """

    limit: Limit
    n: int
    count: int
    dispersion: float


@dataclass(frozen=True, slots=True)
class Interference:
    """What the machine did besides the loop while it was measured; None where the kernel does not tell.

    `waited_share`: of the time in which a thread of the worker had something to run, it got no CPU; of the thread that
    waited most. `pressure_share`: of the wall time, some task of the machine waited for a CPU. `stolen_cpus`,
    `others_cpus`: how many CPUs the hypervisor and other processes used on average. `involuntary_switches` of the
    worker. `clock_*_hz`: of the fastest core. `throttle_events`: thermal, all cores. `suspended_s`: the machine slept.
    `clock_step_s`: the wall clock against the monotonic one.
    """

    waited_share: float | None = None
    pressure_share: float | None = None
    stolen_cpus: float | None = None
    others_cpus: float | None = None
    involuntary_switches: int | None = None
    clock_start_hz: float | None = None
    clock_end_hz: float | None = None
    clock_min_hz: float | None = None
    throttle_events: int | None = None
    suspended_s: float | None = None
    clock_step_s: float | None = None

    @property
    def disturbances(self) -> tuple[Disturbance, ...]:
        """What makes the figures no evidence of the loop."""
        found = {
            # Without others, threads of the worker wait for each other, as they would on any day.
            Disturbance.BUSY: (
                _over(self.waited_share, _MAX_WAITED_SHARE) and _over(self.others_cpus, _MIN_OTHERS_CPUS)
            )
            or _over(self.stolen_cpus, _MAX_STOLEN_CPUS),
            Disturbance.THROTTLED: _over(self.throttle_events, 0),
            Disturbance.CLOCK_STEPPED: _over(abs(self.clock_step_s or 0.0), _MAX_CLOCK_STEP_S),
            Disturbance.SUSPENDED: _over(self.suspended_s, _MAX_SUSPENDED_S),
        }
        return tuple(disturbance for disturbance, there in found.items() if there)


class Disturbance(enum.Enum):
    """Why a run is no evidence, whatever its figures."""

    BUSY = "machine busy"
    THROTTLED = "throttled"
    CLOCK_STEPPED = "clock stepped"
    SUSPENDED = "machine slept"
    SIMULATED = "simulated"
    """The processor that a component is for is simulated."""


_MAX_WAITED_SHARE = 0.02
_MIN_OTHERS_CPUS = 0.05
_MAX_STOLEN_CPUS = 0.05
_MAX_CLOCK_STEP_S = 0.1
_MAX_SUSPENDED_S = 0.05


def _over(value: float | None, limit: float) -> bool:
    return value is not None and value > limit


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run found. `response` is from the scheduled tick to the published action (no coordinated
    omission); `service` from the actual wake. `age` is obs→action age of every published action. `jitter`
    is |period − T|. `overhead_share` is the fraction of summed service time that no span accounts for.
    `components` are those of the release, in the order of their first use.
    `cpu_utilisation` is process CPU time over wall time and cores used; `samples_bytes` the spooled size.
    `starved_slots` went by without an action of their own. `exceedances` has one entry for each limit of the loop that
    is a rate or a time. `generations` are the steps that generate a text, `memory_reads` what bounds them, None of a
    release without any. `unused_frames` of the sources came and went between two reads. `cold_start` is None after the
    worker's first run.
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
    cold_start: ColdStart | None
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
    peak_rss_bytes: int
    cpu_utilisation: float
    temperature_start_c: float | None
    temperature_max_c: float | None
    samples_bytes: int
    exceedances: tuple[Exceedances, ...] = ()
    unused_frames: int = 0
    interference: Interference = Interference()
    agent_version: str = ""
    generations: tuple[Generation, ...] = ()
    memory_reads: MemoryReads | None = None

    @property
    def disturbances(self) -> tuple[Disturbance, ...]:
        """What makes its times no evidence of the loop."""
        simulated = any(component.simulated for component in self.components)
        return (*self.interference.disturbances, *([Disturbance.SIMULATED] if simulated else []))


class RunPhase(enum.Enum):
    """What a run is doing."""

    LOADING = "loading"
    WARMING_UP = "warming_up"
    MEASURING = "measuring"
    DONE = "done"
    FAILED = "failed"


OVER = frozenset({RunPhase.DONE, RunPhase.FAILED})
"""Phases in which a run is at its end."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its device remembers it. `part_of` says of what, empty where it stands by itself. `begun_s` is of the
    device's clock, for people only.
    """

    run_id: str
    deployment_id: str
    release: Digest
    name: str
    owner: str
    part_of: str
    phase: RunPhase
    begun_s: float
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Progress of a run, numbered from 1; the last one is DONE with a summary, or FAILED with a failure."""

    run_id: str
    phase: RunPhase
    progress: float = 0.0
    summary: RunSummary | None = None
    failure: Failure | None = None
    sequence: int = 0


class Outcome(enum.Enum):
    """PASS, FAIL, or too little evidence to say."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Check:
    """One limit judged.

    Of `n` samples `count` were over it, so that the true share lies from `low` to `high` (95 %), against the share that
    the limit allows. `observed` is the limit's own statistic, in its unit; None below its sample floor. A bound on what
    was seen (`run`, `max`, a rate of 0) has no interval. `deciding_ticks`: how long a run with the same share decides;
    None where this one did, or where none could. `counted`: False where the run did not count against this limit.
    """

    limit: Limit
    outcome: Outcome
    observed: float | None = None
    n: int = 0
    count: int = 0
    low: float | None = None
    high: float | None = None
    deciding_ticks: int | None = None
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """INCONCLUSIVE if the run was disturbed; else FAIL if a check fails, INCONCLUSIVE if one is, else PASS."""

    outcome: Outcome
    checks: tuple[Check, ...]
    disturbances: tuple[Disturbance, ...] = ()


def judge(summary: RunSummary, deadlines: Deadlines | None = None) -> Verdict:
    """The verdict on a run, against its own loop's deadlines unless others are given.

    A percentile or a rate is a statement about the share of ticks beyond a limit, and that share is known within an
    interval (`domain/interval.py`): PASS when all of it is allowed, FAIL when none of it is. Of other deadlines than
    the run's own, those are judged whose time the run counted: p95 and p99 of one time are two shares of one count.
    """
    checks = tuple(_check(summary, limit) for limit in (deadlines or summary.loop.deadlines).statements)
    disturbances = summary.disturbances
    if disturbances:
        unsure = tuple(replace(check, outcome=Outcome.INCONCLUSIVE, deciding_ticks=None) for check in checks)
        return Verdict(Outcome.INCONCLUSIVE, unsure, disturbances)
    outcomes = {check.outcome for check in checks}
    worst = next((o for o in (Outcome.FAIL, Outcome.INCONCLUSIVE) if o in outcomes), Outcome.PASS)
    return Verdict(worst, checks)


def _check(summary: RunSummary, limit: Limit) -> Check:
    if not limit.is_known:
        return Check(limit, Outcome.INCONCLUSIVE, counted=False)
    if limit.statistic == "run":
        longest = summary.misses.longest_run
        # Ticks stand in no count of their own: what was seen is all there is.
        outcome = Outcome.FAIL if longest > limit.limit else Outcome.PASS
        return Check(limit, outcome, float(longest), summary.ticks, summary.misses.count)
    counted = next((known for known in summary.exceedances if _same_count(known.limit, limit)), None)
    if counted is None:
        return Check(limit, Outcome.INCONCLUSIVE, counted=False)
    n, count = counted.n, counted.count
    times = {Metric.TICK: summary.response, Metric.AGE: summary.age}.get(limit.metric)
    observed: float | None = getattr(times, limit.statistic) if times else (count / n if n else None)
    if not n:
        return Check(limit, Outcome.INCONCLUSIVE)
    if limit.share == 0:
        return Check(limit, Outcome.FAIL if count else Outcome.PASS, observed, n, count)
    side = side_of(limit.share, count, n, counted.dispersion)
    deciding = None if side else _deciding(counted, limit.share)
    return Check(limit, _SIDES[side], observed, n, count, *interval_of(count, n, counted.dispersion), deciding)


def _same_count(one: Limit, other: Limit) -> bool:
    percentiles = one.statistic in EXCEEDING_SHARES and other.statistic in EXCEEDING_SHARES
    return one == other or (percentiles and (one.metric, one.limit) == (other.metric, other.limit))


_SIDES = {-1: Outcome.PASS, 0: Outcome.INCONCLUSIVE, 1: Outcome.FAIL}


def _deciding(counted: Exceedances, share: float) -> int | None:
    """The shortest run that decides, if late ticks go on coming at the rate and in the bursts of this one."""
    rate = counted.count / counted.n

    def decides(n: int) -> bool:
        return side_of(share, rate * n, n, counted.dispersion) != 0

    high = counted.n
    while not decides(high):
        high *= 2
        if high > MAX_TICKS:
            return None
    low = high // 2
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
