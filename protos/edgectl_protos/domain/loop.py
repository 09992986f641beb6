"""The loop: what the policy needs (from the checkpoint) and how it is run (by the user).

`Policy` comes from the checkpoint and is not edited: features, processing, chunks. `LoopSpec` is what
`edgectl init` prints and people edit: sources, stages, rate, deadlines. Semantics of each word: docs/loop.md.
Durations are seconds, rates are hertz.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from edgectl_protos.domain.artifact import DType
from edgectl_protos.domain.errors import LoopSpecError

__all__ = [
    "Deadlines",
    "Execution",
    "Feature",
    "FeatureKind",
    "LoopOverrides",
    "LoopSpec",
    "Mode",
    "OnEnd",
    "Op",
    "Overrun",
    "Policy",
    "Processing",
    "SourceKind",
    "SourceSpec",
    "StageSpec",
]


class FeatureKind(enum.Enum):
    """What a feature is; LeRobot's names."""

    VISUAL = "VISUAL"
    STATE = "STATE"
    ENV = "ENV"
    ACTION = "ACTION"
    TENSOR = "TENSOR"
    """An input of a bare ONNX graph, about which nothing more is known."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One observation or action as the robot has it: frames are uint8 HWC, state and action float32.

    `tensor` names the graph input (or output) that takes it. `shape` has no batch dimension, and for an
    action no chunk dimension.
    """

    name: str
    kind: FeatureKind
    dtype: DType
    shape: tuple[int, ...]
    tensor: str


@dataclass(frozen=True, slots=True)
class Processing:
    """The normalisation of one feature, as y = x * mul + add in float32, per channel or element.

    The arrays `<stage>.<feature>.mul` and `.add` stand in the release's npz (`Policy.arrays`), where stage
    is `pre` or `post`; for frames `mul` includes the 1/255, so x is the raw uint8 value. `mode` (MEAN_STD,
    MIN_MAX, QUANTILES, QUANTILE10, IDENTITY) says which formula they came from.
    `folded`: this processing, and for frames the HWC→CHW layout too, are nodes of the graph, which then takes
    the observation as the robot has it; the device computes none of it.
    """

    feature: str
    mode: str
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What a checkpoint says about its own inputs, outputs and processing.

    A batch dimension of 1 leads every graph input and output. Unless its processing is folded, a frame
    enters the graph as float32 CHW after normalisation, another feature as float32 after normalisation; a
    feature without processing enters as it is. The action output is `[1, chunk_size, *action.shape]`.
    `chunk_size` actions are predicted at once, of which `n_action_steps` are executed before the next
    inference. `arrays` is empty when nothing is processed.
    """

    type: str
    observations: tuple[Feature, ...]
    action: Feature
    chunk_size: int
    n_action_steps: int
    pre: tuple[Processing, ...]
    post: tuple[Processing, ...]
    arrays: str

    def observation(self, name: str) -> Feature | None:
        """The observation of this name."""
        return next((feature for feature in self.observations if feature.name == name), None)


class SourceKind(enum.Enum):
    """Where observations come from."""

    VIDEO = "video"
    IMAGE = "image"
    RECORDED = "recorded"
    SYNTHETIC = "synthetic"


class OnEnd(enum.Enum):
    """What a source does at its end."""

    FAIL = "fail"
    REPEAT = "repeat"


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One source, feeding the feature of the same name.

    video: `path` of a file that PyAV opens. image: `path` of a PNG or JPEG. recorded: `path` of an .npy of
    shape [frames, ...]. synthetic: seeded noise of the feature's shape. `fps` 0 means the loop's rate.
    In a bundle, `path` is a path of the release.
    """

    feature: str
    kind: SourceKind
    path: str = ""
    fps: float = 0.0
    seed: int = 0
    on_end: OnEnd = OnEnd.FAIL


class Op(enum.Enum):
    """What a stage does."""

    DECODE = "decode"
    RESIZE = "resize"
    NORMALISE = "normalise"
    MODEL = "model"
    UNNORMALISE = "unnormalise"


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage. Ids are the stable names of the report: dec, geo, norm, act, post."""

    id: str
    op: Op


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
    """Synchronous action chunks: infer when the queue is empty, keep `use` of `chunk` actions."""

    chunk: int
    use: int
    kind: str = "sync_chunk"

    def __post_init__(self) -> None:
        if self.kind != "sync_chunk":
            raise LoopSpecError(f"execution kind {self.kind!r} is not known; known: sync_chunk")
        if not 1 <= self.use <= self.chunk:
            raise LoopSpecError(f"execution uses {self.use} of a chunk of {self.chunk} actions")


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


_ORDER = [Op.DECODE, Op.RESIZE, Op.NORMALISE, Op.MODEL, Op.UNNORMALISE]


@dataclass(frozen=True, slots=True)
class LoopSpec:
    """A loop at a rate. `measure_s` seconds are measured after the warm-up rule is met."""

    name: str
    rate_hz: float
    sources: tuple[SourceSpec, ...]
    stages: tuple[StageSpec, ...]
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
        if len({stage.id for stage in self.stages}) != len(self.stages):
            raise LoopSpecError("two stages have the same id")
        ops = [stage.op for stage in self.stages]
        if ops.count(Op.MODEL) != 1:
            raise LoopSpecError("a loop has exactly one model stage")
        if ops != sorted(ops, key=_ORDER.index) or len(set(ops)) != len(ops):
            raise LoopSpecError(f"stages must be in this order, each once: {', '.join(op.value for op in _ORDER)}")
        if len({source.feature for source in self.sources}) != len(self.sources):
            raise LoopSpecError("two sources feed the same feature")

    @property
    def period_s(self) -> float:
        """T, the time between scheduled ticks."""
        return 1.0 / self.rate_hz

    def has(self, op: Op) -> bool:
        """Whether a stage does this."""
        return any(stage.op is op for stage in self.stages)


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
