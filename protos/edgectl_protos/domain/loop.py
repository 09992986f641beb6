"""The loop: how a policy is run, by the user's choice.

`LoopSpec` is what `edgectl init` prints and people edit: sources, rate, execution, deadlines. What the policy does is
not in it: that is the program (`domain/program.py`). Semantics of each word: docs/loop.md. Durations are seconds, rates
are hertz.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace

from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import LoopSpecError
from edgectl_protos.domain.policy import FeatureKind, Policy

__all__ = [
    "DECIDING_TICKS",
    "EXCEEDING_SHARES",
    "MAX_THREADS",
    "MAX_TICKS",
    "Deadlines",
    "Execution",
    "Limit",
    "LoopOverrides",
    "LoopSpec",
    "Metric",
    "Mode",
    "OnEnd",
    "Overrun",
    "SourceKind",
    "SourceSpec",
    "check_fits",
    "default_measure_s",
]

MAX_TICKS = 1_000_000
"""Ticks of one run; their stamps are kept in memory while measuring."""

MAX_THREADS = 1024
"""Of a runtime. Libraries take more, and fail or hang only when they have started them."""

DECIDING_TICKS = 2100
"""Ticks after which a loop with up to six misses (0.3 %) passes `tick p99`; without any, 1,836 suffice."""

_MIN_MEASURE_S = 20.0
_MAX_MEASURE_S = 86_400.0
_MAX_RATE_HZ = 10_000
_MAX_OF_SOURCE = 86_400.0
_HINT = "print a loop that fits: edgectl init"


class SourceKind(enum.Enum):
    """Where observations come from."""

    VIDEO = "video"
    IMAGE = "image"
    RECORDED = "recorded"
    SYNTHETIC = "synthetic"
    TEXT = "text"


class OnEnd(enum.Enum):
    """What a source does at its end."""

    FAIL = "fail"
    REPEAT = "repeat"


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One source, feeding the feature of the same name.

    video: `path` of a file that PyAV opens. image: `path` of a PNG or JPEG. recorded: `path` of an .npy of shape
    [frames, ...]. synthetic: seeded noise of the feature's shape. text: `text`, an instruction. `fps` 0 means the
    loop's rate. `resize`: frames of another size than the policy's are stretched to it. In a bundle, `path` is a path
    of the release.
    """

    feature: str
    kind: SourceKind
    path: str = ""
    fps: float = 0.0
    seed: int = 0
    on_end: OnEnd = OnEnd.FAIL
    text: str = ""
    resize: bool = False
    delay_s: float = 0.0
    phase_s: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("fps", self.fps), ("delay", self.delay_s), ("phase", self.phase_s)):
            if not 0 <= value <= _MAX_OF_SOURCE:
                raise LoopSpecError(f"the source of {self.feature} has a {name} of {value:g}")
        if self.seed < 0:
            raise LoopSpecError(f"the source of {self.feature} has a seed of {self.seed}")

    @property
    def is_dated(self) -> bool:
        """Whether its frames say when they were taken: then the age of an action includes their capture."""
        return self.delay_s > 0 or self.phase_s > 0


class Mode(enum.Enum):
    """How ticks are released: on an absolute schedule, or each when the last is done."""

    PACED = "paced"
    CLOSED = "closed"


class Overrun(enum.Enum):
    """After an overrun: drop to the next slot of the grid and count the lost ones, or catch up."""

    SKIP = "skip"
    BURST = "burst"


@dataclass(frozen=True, slots=True)
class Execution:
    """When an inference begins, and how its actions enter the queue.

    `sync_chunk`: infer when the queue is empty, keep the first `use` actions of the chunk.
    """

    use: int
    kind: str = "sync_chunk"

    def __post_init__(self) -> None:
        if self.kind != "sync_chunk":
            raise LoopSpecError(f"execution kind {self.kind!r} is not known; known: sync_chunk")
        if self.use < 1:
            raise LoopSpecError(f"execution uses {self.use} actions of a chunk")


class Metric(enum.Enum):
    """What a limit is about: response time, obs→action age, late ticks, slots without an action of their own."""

    TICK = "tick"
    AGE = "age"
    MISSES = "misses"
    STARVATION = "starvation"


EXCEEDING_SHARES: dict[str, float] = {"p50": 0.5, "p90": 0.1, "p95": 0.05, "p99": 0.01, "p999": 0.001, "max": 0.0}
"""The share of samples that may lie above each statistic of a time: p99 ≤ D means that at most 1 % lie above D."""

_STATISTICS = {
    Metric.TICK: tuple(EXCEEDING_SHARES),
    Metric.AGE: tuple(EXCEEDING_SHARES),
    Metric.MISSES: ("rate", "run"),
    Metric.STARVATION: ("rate",),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A statistic of a metric may not exceed `limit`: seconds of a time, a share of a rate, ticks of a run (the most
    misses in a row).
    """

    metric: Metric
    statistic: str
    limit: float

    def __post_init__(self) -> None:
        known = _STATISTICS.get(self.metric, ())
        if self.statistic not in known:
            raise LoopSpecError(
                f"{self.metric.value} has no statistic {self.statistic!r}; known: {', '.join(known)}", hint=_HINT
            )
        if not 0 <= self.limit < math.inf or (self.statistic == "rate" and self.limit > 1):
            raise LoopSpecError(f"{self.metric.value} {self.statistic} cannot be limited to {self.limit:g}")

    @property
    def is_known(self) -> bool:
        """Whether this version knows what it means; one that a newer agent reports may be about something else."""
        return self.statistic in _STATISTICS.get(self.metric, ())

    @property
    def share(self) -> float:
        """The share of samples that may be over the limit; 0: none may."""
        return EXCEEDING_SHARES.get(self.statistic, self.limit if self.statistic == "rate" else 0.0)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What the verdict judges. At least one limit is on the tick.

    Raises:
        LoopSpecError: no limit on the tick.
    """

    limits: tuple[Limit, ...]

    def __post_init__(self) -> None:
        if all(limit.metric is not Metric.TICK for limit in self.limits):
            raise LoopSpecError("the deadlines say nothing about the tick", hint="write: deadlines: {tick: period}")

    @classmethod
    def of_tick(cls, tick_s: float, *others: Limit) -> Deadlines:
        """The default: 99 % of ticks respond within this time."""
        return cls((Limit(Metric.TICK, "p99", tick_s), *others))

    @property
    def tick_s(self) -> float:
        """The deadline whose excess is a miss: the longest one of the tick."""
        return max((limit.limit for limit in self.limits if limit.metric is Metric.TICK), default=math.inf)

    @property
    def statements(self) -> tuple[Limit, ...]:
        """The limits, each statement once: `tick p99 ≤ T` is `misses ≤ 1 %` of the same T."""
        said: dict[object, Limit] = {}
        for limit in self.limits:
            late = limit.metric is Metric.TICK or (limit.metric is Metric.MISSES and limit.statistic == "rate")
            over_s = limit.limit if limit.metric is Metric.TICK else self.tick_s
            said.setdefault(("late", over_s, limit.share) if late else limit, limit)
        return tuple(said.values())


@dataclass(frozen=True, slots=True)
class LoopSpec:
    """A loop at a rate. `measure_s` seconds are measured after the warm-up rule is met."""

    name: str
    rate_hz: float
    sources: tuple[SourceSpec, ...]
    execution: Execution
    deadlines: Deadlines
    measure_s: float = 70.0
    mode: Mode = Mode.PACED
    overrun: Overrun = Overrun.SKIP
    sink: str = "null"
    threads: int = 0
    """Threads of the runtime; 0 means one per core."""

    def __post_init__(self) -> None:
        _check_numbers(self.rate_hz, self.measure_s, self.threads)
        if self.sink != "null":
            raise LoopSpecError(f"sink {self.sink!r} is not known; known: null (edgectl moves no robot)")
        if len({source.feature for source in self.sources}) != len(self.sources):
            raise LoopSpecError("two sources feed the same feature")

    @property
    def period_s(self) -> float:
        """T, the time between scheduled ticks."""
        return 1.0 / self.rate_hz


def _check_numbers(rate_hz: float | None, measure_s: float | None, threads: int | None) -> None:
    if rate_hz is not None and not 0 < rate_hz <= _MAX_RATE_HZ:
        raise LoopSpecError(f"rate {rate_hz} Hz is not in 0..{_MAX_RATE_HZ}")
    if measure_s is not None and not 0 < measure_s <= _MAX_MEASURE_S:
        raise LoopSpecError(f"measure {measure_s} s is not in 0..{_MAX_MEASURE_S:.0f}")
    if threads is not None and not 0 <= threads <= MAX_THREADS:
        raise LoopSpecError(f"{threads} threads are not in 0..{MAX_THREADS}; 0 is one per core")


def default_measure_s(rate_hz: float) -> float:
    """Long enough to decide an ordinary loop (`DECIDING_TICKS`), and to see what a machine does now and then."""
    return min(max(_MIN_MEASURE_S, math.ceil(DECIDING_TICKS / rate_hz)), _MAX_MEASURE_S)


def check_fits(spec: LoopSpec, policy: Policy) -> None:
    """Refuse a loop that cannot run this policy as it was trained. Asked before anything is converted.

    Raises:
        LoopSpecError: saying what is missing.
    """
    names = {feature.name for feature in policy.observations}
    fed = {source.feature for source in spec.sources}
    if lacking := sorted(names - fed):
        raise LoopSpecError(f"the loop has no source for {lacking[0]}", hint=_HINT)
    if unknown := sorted(fed - names):
        raise LoopSpecError(
            f"the loop has a source for {unknown[0]}, which the policy does not observe; "
            f"it observes: {', '.join(sorted(names))}",
            hint=_HINT,
        )
    for source in spec.sources:
        _check_source(source, policy)
    if spec.execution.use > policy.chunk_size:
        raise LoopSpecError(
            f"the loop executes {spec.execution.use} actions of a chunk; the policy predicts {policy.chunk_size}",
            hint=_HINT,
        )
    if spec.mode is Mode.PACED and spec.measure_s * spec.rate_hz > MAX_TICKS:
        raise LoopSpecError(
            f"{spec.measure_s:g} s at {spec.rate_hz:g} Hz are more than {MAX_TICKS} ticks",
            hint="measure for a shorter time: edgectl profile --measure",
        )


def _check_source(source: SourceSpec, policy: Policy) -> None:
    feature = policy.observation(source.feature)
    kind = feature.kind if feature else None
    if (source.kind is SourceKind.TEXT) != (kind is FeatureKind.LANGUAGE):
        takes = "takes a text: {kind: text, text: …}" if kind is FeatureKind.LANGUAGE else "takes no text"
        raise LoopSpecError(f"{source.feature} {takes}; its source is {source.kind.value}", hint=_HINT)
    if source.kind is SourceKind.TEXT and not source.text.strip():
        raise LoopSpecError(f"the instruction of {source.feature} is empty", hint="write one: edgectl init --task TEXT")
    # A bare graph's input may be a camera's frame as it is.
    frame = feature is not None and feature.dtype is DType.UINT8 and len(feature.shape) == 3 and feature.shape[2] == 3
    if source.kind in (SourceKind.VIDEO, SourceKind.IMAGE) and kind is not FeatureKind.VISUAL and not frame:
        raise LoopSpecError(f"a {source.kind.value} cannot feed {source.feature}, which is no camera")
    if source.resize and kind is not FeatureKind.VISUAL:
        raise LoopSpecError(f"{source.feature} is no camera, and cannot be resized")


@dataclass(frozen=True, slots=True)
class LoopOverrides:
    """What `edgectl profile` may change about the installed loop for one run."""

    rate_hz: float | None = None
    measure_s: float | None = None
    mode: Mode | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        _check_numbers(self.rate_hz, self.measure_s, self.threads)

    def apply(self, spec: LoopSpec) -> LoopSpec:
        """The loop with these changes. A default tick deadline (one period) follows the rate."""
        changed = spec
        if self.rate_hz is not None:
            limits = tuple(
                replace(limit, limit=1.0 / self.rate_hz)
                if limit.metric is Metric.TICK and abs(limit.limit - spec.period_s) < 1e-9
                else limit
                for limit in spec.deadlines.limits
            )
            changed = replace(changed, rate_hz=self.rate_hz, deadlines=Deadlines(limits))
        if self.measure_s is not None:
            changed = replace(changed, measure_s=self.measure_s)
        if self.mode is not None:
            changed = replace(changed, mode=self.mode)
        if self.threads is not None:
            changed = replace(changed, threads=self.threads)
        return changed
