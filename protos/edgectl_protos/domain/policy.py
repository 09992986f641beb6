"""A policy: what it observes and does (`Policy`), and how, as data (`Program`).

A program is a list of named steps over named tensors, from the raw observation to the chunk of actions. One piece of
code runs it, the executor of the device's worker: in the loop, in the device's parity gate, and in the host's gates.
A tensor is an observed feature (as the robot has it, under the feature's own name), a persistent state, or what a step
writes; every tensor but the observed ones is declared with its shape in `Program.tensors`. Steps run in order; two
steps may run side by side when neither waits for the other (`waits_for`).

Arrays that steps name (statistics, tables of coefficients) stand in the release's npz, `Program.arrays`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from edgectl_protos.domain.artifact import DType, TensorSpec, check_shape
from edgectl_protos.domain.errors import ProgramError

__all__ = [
    "MAX_CALLS",
    "MAX_CHUNK",
    "MAX_HISTORY",
    "Anchor",
    "Call",
    "Dimension",
    "Ensemble",
    "Feature",
    "FeatureKind",
    "Fit",
    "Generate",
    "Integrate",
    "Noise",
    "Normalise",
    "Policy",
    "Prediction",
    "Program",
    "Repeat",
    "Resize",
    "Slice",
    "Step",
    "Tokenise",
    "Unnormalise",
    "flat_steps",
    "reads_of",
    "waits_for",
    "writes_of",
]


MAX_CHUNK = 100_000
MAX_HISTORY = 10_000
MAX_CALLS = 1_000_000
"""Steps of one inference, loops written out. Beyond such numbers a document is wrong, not a robot slow."""


class FeatureKind(enum.Enum):
    """What a feature is; LeRobot's names."""

    VISUAL = "VISUAL"
    STATE = "STATE"
    ENV = "ENV"
    ACTION = "ACTION"
    LANGUAGE = "LANGUAGE"
    """A text: an instruction that is observed; token ids that are answered."""
    TENSOR = "TENSOR"
    """An input of a bare graph, about which nothing more is known."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One observation or action as the robot has it: frames are uint8 HWC, state and action float32, an instruction
    is a text of shape (). `shape` has no batch dimension, for an action no chunk, and no history.
    """

    name: str
    kind: FeatureKind
    dtype: DType
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        check_shape(self.shape, self.name)


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension of the action. With `at` it has two classes, below it and from it on: a gripper, open or shut."""

    name: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What a checkpoint says about itself before anything is exported.

    `chunk_size` actions are predicted at once, of which `n_action_steps` are executed before the next inference.
    `history`: how many observations, one a tick, enter an inference; beyond 1 each observed tensor has that leading
    dimension, the oldest first, and the first observation fills it at the start. `dimensions` are those of the
    flattened action, empty where nobody named them.
    """

    type: str
    observations: tuple[Feature, ...]
    action: Feature
    chunk_size: int
    n_action_steps: int
    history: int = 1
    dimensions: tuple[Dimension, ...] = ()

    def __post_init__(self) -> None:
        size = math.prod(self.action.shape)
        if self.dimensions and -1 not in self.action.shape and len(self.dimensions) != size:
            raise ProgramError(f"{len(self.dimensions)} dimensions are named, of an action of {size}")
        if not 1 <= self.n_action_steps <= self.chunk_size <= MAX_CHUNK:
            raise ProgramError(f"{self.n_action_steps} actions of a chunk of {self.chunk_size} cannot be executed")
        if not 1 <= self.history <= MAX_HISTORY:
            raise ProgramError(f"a history of {self.history} observations makes no sense")
        names = [feature.name for feature in self.observations]
        if len(set(names)) != len(names):
            raise ProgramError(f"two observations have one name: {', '.join(sorted(names))}")

    @property
    def is_text(self) -> bool:
        """Whether it answers with a text: its action are token ids."""
        return self.action.kind is FeatureKind.LANGUAGE

    def observation(self, name: str) -> Feature | None:
        """The observation of this name."""
        return next((feature for feature in self.observations if feature.name == name), None)

    def observed(self, feature: Feature) -> TensorSpec:
        """The tensor in which a feature enters the program."""
        shape = feature.shape if self.history == 1 else (self.history, *feature.shape)
        return TensorSpec(feature.name, feature.dtype, shape)


# --- steps -----------------------------------------------------------------------------------------------------------


class Fit(enum.Enum):
    """How a frame of another size is brought to the size wanted."""

    STRETCH = "stretch"
    PAD = "pad"
    """Keeps the ratio: size // max(h / height, w / width), the rest filled with 0."""


class Anchor(enum.Enum):
    """Where the frame lies in a padded one."""

    CENTRE = "centre"
    BOTTOM_RIGHT = "bottom_right"


@dataclass(frozen=True, slots=True)
class Resize:
    """Frames [..., H, W, C] to the height and width of `output`, bilinear, half-pixel centres, no antialiasing.

    The output is float32 in the input's range, or rounded when it is declared uint8.
    """

    op: ClassVar[str] = "resize"
    id: str
    input: str
    output: str
    fit: Fit = Fit.STRETCH
    anchor: Anchor = Anchor.CENTRE


@dataclass(frozen=True, slots=True)
class Normalise:
    """y = (x - offset) / scale in float32, by the arrays `<array>.offset` and `<array>.scale`.

    `planes`: x is a frame [..., H, W, C], y its planes [..., C, H, W], and the arrays have one value a channel;
    otherwise one value an element of the last dimensions, and an array `<array>.shift` is added where there is one. y
    may be longer than x in its last dimension: the rest is 0.
    """

    op: ClassVar[str] = "normalise"
    id: str
    input: str
    output: str
    array: str
    planes: bool = False


@dataclass(frozen=True, slots=True)
class Unnormalise:
    """y = x * scale + offset in float32, by the arrays `<array>.offset` and `<array>.scale`, one value an element."""

    op: ClassVar[str] = "unnormalise"
    id: str
    input: str
    output: str
    array: str


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of a tensor that begins at `start` in each dimension and has the shape of `output`, a leading 1 dropped
    where the output has none.
    """

    op: ClassVar[str] = "slice"
    id: str
    input: str
    output: str
    start: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Tokenise:
    """A text to token ids of fixed length, by a `tokenizer.json` of the release.

    `suffix` is appended where the text does not end with it. With a `template` the text is first stripped, with `_`
    and line ends turned to blanks, and put in for `{text}`; for `{state}` the tensor `state`, normalised to -1..1 and
    cut into 256 bins. A text of more tokens than `ids` holds is refused, never cut. `mask` (bool) says which ids are
    real; the rest are `pad_id`.
    """

    op: ClassVar[str] = "tokenise"
    id: str
    input: str
    ids: str
    mask: str
    file: str
    pad_id: int
    suffix: str = ""
    template: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """Runs a component: `inputs` and `outputs` map its ports to tensors. A port may have one leading 1 more."""

    op: ClassVar[str] = "component"
    id: str
    component: str
    inputs: dict[str, str]
    outputs: dict[str, str]


@dataclass(frozen=True, slots=True)
class Noise:
    """Draws N(0, 1) into `output`, seeded; a golden case gives it instead. Nothing is drawn inside a graph."""

    op: ClassVar[str] = "noise"
    id: str
    output: str


class Prediction(enum.Enum):
    """What a denoiser predicts."""

    VELOCITY = "velocity"
    NOISE = "noise"
    SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class Integrate:
    """One denoising update in float32, outside every graph.

    Row i (the pass) of the array `table` has the six coefficients a, b, p, q, r, s:

        x0 = (x - b * prediction) / a   (NOISE)   |   prediction (SAMPLE)   |   0 (VELOCITY), clipped to ±clip if > 0
        x  = p * x0 + q * x + r * prediction + s * noise

    so Euler is q = 1, r = dt (flow matching); DDIM (eta 0) p = √ᾱ', r = √(1 - ᾱ'); DDPM uses p, q and s. `sample` is
    updated in place.
    """

    op: ClassVar[str] = "integrate"
    id: str
    sample: str
    prediction: str
    table: str
    predicts: Prediction
    clip: float = 0.0
    noise: str = ""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Runs `steps` `times` times. At pass i the tensor of each entry of `each` is row i of the array it names."""

    op: ClassVar[str] = "repeat"
    id: str
    times: int
    steps: tuple[Step, ...]
    each: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Temporal ensembling: the mean of all predictions for this tick, weighted by exp(-coefficient * i), the oldest
    i = 0. Takes a chunk at every tick, writes one action; what it remembers is state.
    """

    op: ClassVar[str] = "ensemble"
    id: str
    input: str
    output: str
    coefficient: float


@dataclass(frozen=True, slots=True)
class Generate:
    """Greedy decoding with a component that owns a KV cache: prefill of `ids` (those that `mask` says are real), then
    one token at a time until `stop_id` or the length of `output`, which is filled up with `stop_id`. `logits` is the
    tensor [vocabulary] of the prompt's last position, where it is wanted.
    """

    op: ClassVar[str] = "generate"
    id: str
    component: str
    ids: str
    output: str
    stop_id: int
    mask: str = ""
    logits: str = ""


Step = Resize | Normalise | Unnormalise | Slice | Tokenise | Call | Noise | Integrate | Repeat | Ensemble | Generate


# --- the program -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Program:
    """Steps from the raw observation to `action` [chunk, *action], the tensor of that name.

    `states` are tensors, zero at the start, that keep their value from one inference to the next. `arrays` is the path
    of the npz in the release, empty when no step needs one.
    """

    tensors: tuple[TensorSpec, ...]
    steps: tuple[Step, ...]
    action: str
    states: tuple[str, ...] = ()
    arrays: str = ""

    def tensor(self, name: str) -> TensorSpec | None:
        """The declared tensor of this name."""
        return next((tensor for tensor in self.tensors if tensor.name == name), None)

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components, in the order of their first use."""
        used = [step.component for step, _ in flat_steps(self.steps) if isinstance(step, (Call, Generate))]
        return tuple(dict.fromkeys(used))

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the release that its steps open."""
        named = [step.file for step, _ in flat_steps(self.steps) if isinstance(step, Tokenise)]
        return tuple(dict.fromkeys([*([self.arrays] if self.arrays else []), *named]))

    @property
    def noise(self) -> tuple[str, ...]:
        """Tensors that are drawn unless they are given."""
        return tuple(step.output for step, _ in flat_steps(self.steps) if isinstance(step, Noise))


def flat_steps(steps: tuple[Step, ...], prefix: str = "", passes: int = 1) -> Iterator[tuple[Step, int]]:
    """Every step that does work, loops opened, with how often one inference runs it."""
    for step in steps:
        if isinstance(step, Repeat):
            yield from flat_steps(step.steps, prefix, passes * step.times)
        else:
            yield step, passes


def reads_of(step: Step) -> tuple[str, ...]:
    """Tensors that a step reads."""
    if isinstance(step, Call):
        return tuple(step.inputs.values())
    if isinstance(step, Tokenise):
        return (step.input, *([step.state] if step.state else []))
    if isinstance(step, Integrate):
        return (step.sample, step.prediction, *([step.noise] if step.noise else []))
    if isinstance(step, Generate):
        return (step.ids, *([step.mask] if step.mask else []))
    if isinstance(step, Noise):
        return ()
    if isinstance(step, Repeat):
        written: set[str] = set(step.each)
        found: list[str] = []
        for inner in step.steps:
            found += [name for name in reads_of(inner) if name not in written]
            written |= set(writes_of(inner))
        return tuple(dict.fromkeys(found))
    return (step.input,)


def writes_of(step: Step) -> tuple[str, ...]:
    """Tensors that a step writes."""
    if isinstance(step, Call):
        return tuple(step.outputs.values())
    if isinstance(step, Tokenise):
        return (step.ids, step.mask)
    if isinstance(step, Integrate):
        return (step.sample,)
    if isinstance(step, Repeat):
        return tuple(dict.fromkeys([*step.each, *(name for inner in step.steps for name in writes_of(inner))]))
    if isinstance(step, Generate):
        return (step.output, *([step.logits] if step.logits else []))
    return (step.output,)


def waits_for(program: Program) -> dict[str, tuple[str, ...]]:
    """For each step of the top level the ids of the steps whose results it needs: what is left may run beside it."""
    last: dict[str, str] = {}
    readers: dict[str, list[str]] = {}
    found: dict[str, tuple[str, ...]] = {}
    for step in program.steps:
        needed = [last[name] for name in reads_of(step) if name in last]
        for name in writes_of(step):
            # What it overwrites must have been read.
            needed += readers.pop(name, [])
            if name in last:
                needed.append(last[name])
        found[step.id] = tuple(dict.fromkeys(other for other in needed if other != step.id))
        for name in reads_of(step):
            readers.setdefault(name, []).append(step.id)
        for name in writes_of(step):
            last[name] = step.id
    return found
