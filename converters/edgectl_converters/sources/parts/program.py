"""From the policy file and the ports of its graphs to a `Policy` and a `Program`: names, shapes, arrays.

Order: steps are translated, observations and shapes that nobody wrote are taken from the ports, arrays are computed,
and the whole is checked: `check_program` and `check_components` refuse what does not meet.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from edgectl_converters.sources.base import ARRAYS
from edgectl_converters.sources.parts.arrays import Array, Numbers
from edgectl_converters.sources.parts.file import HINT, ObservationEntry, PolicyFile
from edgectl_converters.sources.parts.graphs import Part
from edgectl_converters.sources.parts.steps import Translation
from edgectl_converters.sources.parts.tensors import Specs, infer, meet_ports
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import CheckpointError, ProgramError
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy
from edgectl_protos.domain.program import Call, Normalise, Program, Step, flat_steps
from edgectl_protos.domain.program_checks import check_components, check_program
from edgectl_protos.domain.program_flow import reads_of, writes_of

__all__ = ["PolicyInParts", "program_of", "single_call"]

_E = TypeVar("_E", bound=enum.Enum)
_MAX_ELEMENTS = 1 << 30


@dataclass(frozen=True, slots=True)
class PolicyInParts:
    """What a policy file means. `files` maps paths in the release to files beside the policy file (tokenizers);
    `read` are the .npz files whose numbers were taken.
    """

    policy: Policy
    program: Program
    arrays: Mapping[str, Array]
    files: Mapping[str, Path]
    read: tuple[Path, ...]


def program_of(file: PolicyFile, parts: Mapping[str, Part], root: Path) -> PolicyInParts:
    """The policy and its program.

    Raises:
        CheckpointError: a value makes no sense, or the shape of a tensor is known from nowhere.
        TokenizerError: a tokenizer is absent.
        ProgramError: tensors, steps and components do not meet.
    """
    numbers = Numbers(root)
    translation = Translation(file, parts, root, numbers)
    steps = translation.steps()
    action = file.action
    if not file.action.tensor:
        raise CheckpointError("action: tensor is empty")
    shape = _shape(action.shape, "action.shape")
    specs: Specs = {
        name: TensorSpec(
            name, _one_of(DType, entry.dtype, f"tensors.{name}.dtype"), _shape(entry.shape, f"tensors.{name}")
        )
        for name, entry in file.tensors.items()
    }
    dtype = _one_of(DType, action.dtype, "action.dtype")
    specs[action.tensor] = TensorSpec(action.tensor, dtype, (action.chunk, *shape))
    try:
        policy = Policy(
            type=file.name,
            observations=_observations(file, steps, parts),
            action=Feature(action.tensor, FeatureKind.ACTION, dtype, shape),
            chunk_size=action.chunk,
            n_action_steps=action.use or action.chunk,
            history=file.history,
        )
    except ProgramError as exc:
        raise CheckpointError(exc.message, hint=HINT) from exc
    if clash := sorted({feature.name for feature in policy.observations} & set(specs)):
        raise ProgramError(f"the tensor {clash[0]!r} is an observation, and is declared again", hint=HINT)
    specs |= {feature.name: policy.observed(feature) for feature in policy.observations}
    ports: Specs = {}
    meet_ports(steps, parts, ports)
    for name, spec in translation.declared.items():
        specs.setdefault(name, replace(spec, dtype=ports[name].dtype if name in ports else spec.dtype))
    meet_ports(steps, parts, specs)
    infer(steps, specs, translation.slices)
    _read_something(policy, steps)
    observed = {feature.name for feature in policy.observations}
    used = {name for step in _all(steps) for name in (*reads_of(step), *writes_of(step))}
    arrays = translation.arrays(specs)
    program = Program(
        tensors=tuple(spec for name, spec in specs.items() if name not in observed and name in used),
        steps=steps,
        action=action.tensor,
        states=tuple(file.states),
        arrays=ARRAYS if arrays else "",
    )
    try:
        check_program(policy, program)
        check_components(program, policy, {name: (part.inputs, part.outputs) for name, part in parts.items()})
    except ProgramError as exc:
        raise ProgramError(exc.message, hint=exc.hint or HINT) from exc
    return PolicyInParts(policy, program, arrays, translation.files, numbers.files)


def _all(steps: tuple[Step, ...]) -> list[Step]:
    return [*steps, *(step for step, _ in flat_steps(steps))]


def _read_something(policy: Policy, steps: tuple[Step, ...]) -> None:
    read = {name for step in _all(steps) for name in reads_of(step)}
    for feature in policy.observations:
        if feature.name not in read:
            raise ProgramError(f"the observation {feature.name!r} is read by no step", hint="take it out, or bind it")


def _observations(file: PolicyFile, steps: tuple[Step, ...], parts: Mapping[str, Part]) -> tuple[Feature, ...]:
    ports: Specs = {}
    meet_ports(steps, parts, ports)
    for step, _ in flat_steps(steps):
        if isinstance(step, Normalise) and not step.planes and step.output in ports and step.input not in ports:
            # Its own type is that of the robot, not of what the graph takes.
            ports[step.input] = TensorSpec(step.input, DType.FLOAT32, ports[step.output].shape)
    return tuple(_observation(name, entry, ports, file.history) for name, entry in file.observe.items())


def _observation(name: str, entry: ObservationEntry, ports: Specs, history: int) -> Feature:
    where = f"observe.{name}"
    kinds = {kind.value.lower(): kind for kind in FeatureKind if kind is not FeatureKind.ACTION}
    kind = kinds.get(entry.kind.lower())
    if kind is None:
        raise CheckpointError(f"{where}: the kind {entry.kind!r} is not known; known: {', '.join(kinds)}", hint=HINT)
    default = {FeatureKind.VISUAL: DType.UINT8, FeatureKind.LANGUAGE: DType.TEXT}.get(kind)
    if kind is FeatureKind.TENSOR and name in ports:
        default = ports[name].dtype
    dtype = _one_of(DType, entry.dtype, f"{where}.dtype") if entry.dtype else default or DType.FLOAT32
    if kind is FeatureKind.LANGUAGE:
        if entry.shape or dtype is not DType.TEXT:
            raise CheckpointError(f"{where} is a text: it has neither shape nor another dtype", hint=HINT)
        return Feature(name, kind, dtype, ())
    if entry.shape is not None:
        shape = _shape(entry.shape, f"{where}.shape")
    elif name in ports and history == 1 and kind is not FeatureKind.VISUAL:
        shape = ports[name].shape
        shape = shape[1:] if shape[:1] == (1,) and len(shape) > 1 else shape
    else:
        raise CheckpointError(f"{where} has no shape, and no port says it", hint=f"write its shape; {HINT}")
    if kind is FeatureKind.VISUAL and (len(shape) != 3 or dtype is not DType.UINT8):
        raise CheckpointError(
            f"{where} is a frame: uint8, shape [height, width, channels]; found {list(shape)}", hint=HINT
        )
    return Feature(name, kind, dtype, shape)


def _shape(sizes: list[int], where: str) -> tuple[int, ...]:
    if min(sizes, default=1) < 1 or len(sizes) > 16 or math.prod(sizes) > _MAX_ELEMENTS:
        raise CheckpointError(f"{where}: {sizes[:16]} is no shape", hint=HINT)
    return tuple(sizes)


def _one_of(kind: type[_E], text: str, where: str) -> _E:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(str(member.value) for member in kind)
        raise CheckpointError(f"{where}: {text!r} is not known; known: {known}", hint=HINT) from None


def single_call(program: Program) -> Call | None:
    """The one step of a program that is a bare graph."""
    (first, *more) = program.steps
    return first if isinstance(first, Call) and not more else None
