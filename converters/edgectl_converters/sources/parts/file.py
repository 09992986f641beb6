"""The policy file: the YAML that names the parts of a policy, as structs. docs/policy-file.md says what each key means.

Only the shape of the file is checked here; what it means is worked out in `program`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgectl_converters.bounded_yaml import YamlError, read_yaml
from edgectl_protos.domain.errors import CheckpointError

__all__ = [
    "HINT",
    "Affine",
    "CallStep",
    "ComponentEntry",
    "EnsembleStep",
    "FileStep",
    "GenerateStep",
    "IntegrateStep",
    "NoiseStep",
    "NormaliseStep",
    "PolicyFile",
    "RepeatStep",
    "ResizeStep",
    "SliceStep",
    "TokeniseStep",
    "UnnormaliseStep",
    "read_policy_file",
]

HINT = "see docs/policy-file.md"


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """No key that edgectl does not know."""


class ObservationEntry(_Strict):
    """What is observed."""

    kind: str
    shape: list[int] | None = None
    dtype: str = ""


class ActionEntry(_Strict):
    """What comes out."""

    shape: list[int]
    chunk: int = 1
    use: int = 0
    tensor: str = "action"
    dtype: str = "float32"


class ComponentEntry(_Strict):
    """A graph; `sha256` of its file, and sizes of its free dimensions."""

    file: str
    sha256: str = ""
    dims: dict[str, int] = {}


class TensorEntry(_Strict):
    """A tensor whose shape follows from nothing."""

    shape: list[int]
    dtype: str = "float32"


class _Step(_Strict, tag_field="op"):
    id: str = ""


class _OneToOne(_Step, kw_only=True):
    in_: str = msgspec.field(name="in")
    out: str


class ResizeStep(_OneToOne, tag="resize", kw_only=True):
    """Frames to another size."""

    size: list[int]
    fit: str = "stretch"
    anchor: str = "centre"
    dtype: str = "float32"


class Affine(_OneToOne):
    """Statistics: mean and std, or min and max (which become `to`), or offset and scale; as `Numbers` reads them."""

    mean: Any = None
    std: Any = None
    min: Any = None
    max: Any = None
    offset: Any = None
    scale: Any = None
    to: list[float] = msgspec.field(default_factory=lambda: [-1.0, 1.0])
    divide: float = 1.0


class NormaliseStep(Affine, tag="normalise"):
    """Statistics applied before a component."""

    planes: bool = False


class UnnormaliseStep(Affine, tag="unnormalise"):
    """What `normalise` does, undone."""


class SliceStep(_OneToOne, tag="slice"):
    """Part of a tensor."""

    start: list[int] = []
    shape: list[int] | None = None


class TokeniseStep(_Step, tag="tokenise", kw_only=True):
    """An instruction to token ids."""

    in_: str = msgspec.field(name="in")
    ids: str = "ids"
    mask: str = "mask"
    file: str = "tokenizer.json"
    length: int = 0
    pad_id: int = 0
    suffix: str = ""
    template: str = ""
    state: str = ""


class CallStep(_Step, tag="component", kw_only=True):
    """A component, and which tensors its ports are."""

    component: str
    in_: dict[str, str] = msgspec.field(name="in", default_factory=dict)
    out: dict[str, str] = {}


class NoiseStep(_Step, tag="noise", kw_only=True):
    """What is drawn."""

    out: str
    shape: list[int] | None = None


class IntegrateStep(_Step, tag="integrate", kw_only=True):
    """One denoising update: by Euler, DDIM or DDPM, or by a table of coefficients."""

    sample: str
    prediction: str
    method: str = ""
    table: Any = None
    dt: float | None = None
    times: str = ""
    end: float = 0.0
    alphas: Any = None
    betas: str = ""
    train_steps: int = 0
    beta_start: float = 0.0001
    beta_end: float = 0.02
    final_alpha: float = 1.0
    predicts: str = ""
    clip: float = 0.0
    noise: str = ""


class RepeatStep(_Step, tag="repeat", kw_only=True):
    """A loop."""

    repeat: int
    steps: list[FileStep]
    each: dict[str, Any] = {}


class EnsembleStep(_OneToOne, tag="ensemble"):
    """Temporal ensembling."""

    coefficient: float = 0.01


class GenerateStep(_Step, tag="generate", kw_only=True):
    """Decoding by a component that owns its cache."""

    component: str
    ids: str
    out: str
    stop_id: int
    length: int = 0
    mask: str = ""


FileStep = (
    ResizeStep
    | NormaliseStep
    | UnnormaliseStep
    | SliceStep
    | TokeniseStep
    | CallStep
    | NoiseStep
    | IntegrateStep
    | RepeatStep
    | EnsembleStep
    | GenerateStep
)

_OPS = ("resize", "normalise", "unnormalise", "slice", "tokenise", "noise", "integrate", "ensemble", "generate")


class PolicyFile(_Strict, kw_only=True):
    """The whole file."""

    policy: str
    name: str = "parts"
    observe: dict[str, ObservationEntry]
    action: ActionEntry
    history: int = 1
    components: dict[str, str | ComponentEntry]
    dims: dict[str, int] = {}
    tensors: dict[str, TensorEntry] = {}
    states: list[str] = []
    steps: list[FileStep] = []
    golden: str = ""


def read_policy_file(path: Path) -> PolicyFile:
    """The file as structs.

    Raises:
        CheckpointError: it is not YAML, has an unknown key or op, or a value of another kind than its key takes.
    """
    try:
        document = read_yaml(path)
    except YamlError as exc:
        raise CheckpointError(f"{path.name} is not read as YAML: {exc}", hint=HINT) from exc
    if not isinstance(document, dict) or document.get("policy") != "v1":
        found = document.get("policy") if isinstance(document, dict) else type(document).__name__
        raise CheckpointError(f"{path.name}: `policy: v1` is missing, found {_short(found)}", hint=HINT)
    try:
        document["steps"] = _with_ops(document.get("steps", []), "steps")
        return msgspec.convert(document, type=PolicyFile)
    except msgspec.ValidationError as exc:
        raise CheckpointError(f"{path.name}: {exc}", hint=HINT) from exc
    except CheckpointError as exc:
        raise CheckpointError(f"{path.name}: {exc.message}", hint=exc.hint) from exc


def _with_ops(steps: Any, where: str) -> Any:
    """Steps that all say their op: `component:` and `repeat:` stand for it where they are written alone."""
    if not isinstance(steps, list):
        return steps
    found = []
    for index, step in enumerate(steps):
        at = f"{where}[{index}]"
        if not isinstance(step, dict):
            raise CheckpointError(f"{at} is no step: {_short(step)}", hint=HINT)
        implied = next((key for key in ("repeat", "component") if key in step), None)
        op = step.get("op", implied)
        if op is None or op not in (*_OPS, implied):
            raise CheckpointError(
                f"{at}: the op {_short(op)} is not known; known: {', '.join(_OPS)}, and component: NAME, repeat: N",
                hint=HINT,
            )
        found.append(step | {"op": op})
        if op == "repeat":
            found[-1]["steps"] = _with_ops(step.get("steps", []), f"{at}.steps")
    return found


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
