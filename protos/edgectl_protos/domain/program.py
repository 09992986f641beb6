"""A program: how a policy comes from the raw observation to the chunk of actions, as data.

It is a list of named steps over named tensors. One piece of code runs it, the executor of the device's worker: in the
loop, in the device's parity gate, and in the host's gates. A tensor is an observed feature (as the robot has it, under
the feature's own name), a persistent state, or what a step writes; every tensor but the observed ones is declared with
its shape in `Program.tensors`. Steps run in order; two may run side by side when neither waits for the other
(`program_flow.py`).

Arrays that steps name (statistics, tables of coefficients) stand in the release's npz, `Program.arrays`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from edgectl_protos.domain.artifact import TensorSpec

__all__ = [
    "MAX_CALLS",
    "Anchor",
    "Call",
    "Ensemble",
    "Fit",
    "Generate",
    "Integrate",
    "Noise",
    "Normalise",
    "Prediction",
    "Program",
    "Repeat",
    "Resize",
    "Slice",
    "Step",
    "Tokenise",
    "Unnormalise",
    "flat_steps",
]

MAX_CALLS = 1_000_000
"""Steps of one inference, loops written out. Beyond that a document is wrong, not a robot slow."""


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


def flat_steps(steps: tuple[Step, ...], passes: int = 1) -> Iterator[tuple[Step, int]]:
    """Every step that does work, loops opened, with how often one inference runs it."""
    for step in steps:
        if isinstance(step, Repeat):
            yield from flat_steps(step.steps, passes * step.times)
        else:
            yield step, passes
