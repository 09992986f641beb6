"""The loop: how a policy is run, by the user's choice.

`LoopSpec` is what `edgectl init` prints and people edit: sources, rate, execution, deadlines. What the policy does is
not in it: that is the program (`domain/policy.py`). Semantics of each word: docs/loop.md. Durations are seconds, rates
are hertz.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from edgectl_protos.domain.errors import LoopSpecError
from edgectl_protos.domain.policy import FeatureKind, Policy

__all__ = [
    "MAX_TICKS",
    "Deadlines",
    "Execution",
    "LoopOverrides",
    "LoopSpec",
    "Mode",
    "OnEnd",
    "Overrun",
    "SourceKind",
    "SourceSpec",
    "check_fits",
]

MAX_TICKS = 1_000_000
"""Ticks of one run; their stamps are kept in memory while measuring."""

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


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What the verdict judges. None: not judged.

    tick_s: response time, from the scheduled tick to the published action; a tick over it is a miss.
    age_s: obs→action age, at the highest percentile the samples support.
    miss_rate: fraction of ticks. miss_run: longest run of misses.
    """

    tick_s: float
    age_s: float | None = None
    miss_rate: float = 0.01
    miss_run: int = 2


@dataclass(frozen=True, slots=True)
class LoopSpec:
    """A loop at a rate. `measure_s` seconds are measured after the warm-up rule is met."""

    name: str
    rate_hz: float
    sources: tuple[SourceSpec, ...]
    execution: Execution
    deadlines: Deadlines
    measure_s: float = 20.0
    mode: Mode = Mode.PACED
    overrun: Overrun = Overrun.SKIP
    sink: str = "null"
    threads: int = 0
    """Threads of the runtime; 0 means one per core."""

    def __post_init__(self) -> None:
        if not 0 < self.rate_hz <= 10_000:
            raise LoopSpecError(f"rate {self.rate_hz} Hz is not in 0..10000")
        if not 0 < self.measure_s <= 86_400:
            raise LoopSpecError(f"measure {self.measure_s} s is not in 0..86400")
        if self.sink != "null":
            raise LoopSpecError(f"sink {self.sink!r} is not known; known: null (edgectl moves no robot)")
        if len({source.feature for source in self.sources}) != len(self.sources):
            raise LoopSpecError("two sources feed the same feature")

    @property
    def period_s(self) -> float:
        """T, the time between scheduled ticks."""
        return 1.0 / self.rate_hz


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
    if source.kind in (SourceKind.VIDEO, SourceKind.IMAGE) and kind is not FeatureKind.VISUAL:
        raise LoopSpecError(f"a {source.kind.value} cannot feed {source.feature}, which is no camera")
    if source.resize and kind is not FeatureKind.VISUAL:
        raise LoopSpecError(f"{source.feature} is no camera, and cannot be resized")
    if source.fps < 0:
        raise LoopSpecError(f"the source of {source.feature} has a rate of {source.fps} Hz")


@dataclass(frozen=True, slots=True)
class LoopOverrides:
    """What `edgectl profile` may change about the installed loop for one run."""

    rate_hz: float | None = None
    measure_s: float | None = None
    mode: Mode | None = None
    threads: int | None = None

    def apply(self, spec: LoopSpec) -> LoopSpec:
        """The loop with these changes. A default tick deadline (one period) follows the rate."""
        changed = spec
        if self.rate_hz is not None:
            deadlines = spec.deadlines
            if abs(deadlines.tick_s - spec.period_s) < 1e-9:
                deadlines = replace(deadlines, tick_s=1.0 / self.rate_hz)
            changed = replace(changed, rate_hz=self.rate_hz, deadlines=deadlines)
        if self.measure_s is not None:
            changed = replace(changed, measure_s=self.measure_s)
        if self.mode is not None:
            changed = replace(changed, mode=self.mode)
        if self.threads is not None:
            changed = replace(changed, threads=self.threads)
        return changed
