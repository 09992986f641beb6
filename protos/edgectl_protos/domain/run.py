"""A run: one measurement of one loop on one device.

Definitions follow docs/loop.md. All times are seconds. A percentile without its samples is None: the
floors are those at which the binomial bound holds at 99 % confidence (p50 30, p90 64, p95 90, p99 459,
p99.9 4603).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.device import ComponentFacts, DeviceFacts
from edgectl_protos.domain.interference import Disturbance, Interference
from edgectl_protos.domain.loop import Limit, LoopSpec

__all__ = [
    "OVER",
    "SAMPLE_FLOORS",
    "ColdStart",
    "Exceedances",
    "Generation",
    "MemoryReads",
    "Misses",
    "Percentiles",
    "Rates",
    "Run",
    "RunEvent",
    "RunPhase",
    "RunSummary",
    "SpanFigures",
    "WarmUp",
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
    interference: Interference = field(default_factory=Interference)
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
