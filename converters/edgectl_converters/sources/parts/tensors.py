"""Shapes of a program's tensors that nobody wrote: from the ports they meet, else from the steps that make them.

A tensor that meets ports of one shape, or of one shape with and without a leading 1, has the shorter one. What no port
touches has the shape that its step gives it. A tensor about which neither says anything must be written down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgectl_converters.sources.parts.file import HINT
from edgectl_converters.sources.parts.graphs import Part
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import CheckpointError, ProgramError
from edgectl_protos.domain.program import (
    Call,
    Ensemble,
    Integrate,
    Normalise,
    Slice,
    Step,
    Tokenise,
    Unnormalise,
    flat_steps,
)
from edgectl_protos.domain.program_flow import reads_of, writes_of

__all__ = ["Specs", "infer", "meet_ports"]

Specs = dict[str, TensorSpec]


def meet_ports(steps: tuple[Step, ...], parts: Mapping[str, Part], specs: Specs) -> None:
    """Add what the ports say of tensors that are not known yet."""
    found: Specs = {}
    for step, _ in flat_steps(steps):
        if not isinstance(step, Call) or step.component not in parts:
            continue
        part = parts[step.component]
        for bound, ports in ((step.inputs, part.inputs), (step.outputs, part.outputs)):
            by_name = {port.name: port for port in ports}
            for name, tensor in bound.items():
                port = by_name.get(name)
                if port is None or tensor in specs:
                    continue
                known = found.get(tensor)
                # Where two ports disagree otherwise, the check of the program names the second one.
                if known is None or (known.shape[:1] == (1,) and known.shape[1:] == port.shape):
                    found[tensor] = TensorSpec(tensor, port.dtype, port.shape)
    for step, _ in flat_steps(steps):
        if isinstance(step, Integrate):
            # What is updated in place has one shape with what updates it: a batch of 1 is left to the ports.
            trio = [name for name in (step.sample, step.prediction, step.noise) if name in specs or name in found]
            shapes = [(specs.get(name) or found[name]).shape for name in trio]
            shortest = min(shapes, key=len, default=())
            for name in trio:
                if name in found and found[name].shape == (1, *shortest):
                    found[name] = replace(found[name], shape=shortest)
    specs |= found


def infer(steps: tuple[Step, ...], specs: Specs, slices: Mapping[str, tuple[int, ...]]) -> None:
    """Add the other tensors. `slices` are shapes that slices were given.

    Raises:
        CheckpointError: nothing says the shape of one.
        ProgramError: statistics are applied between tensors that have other shapes.
    """
    flat = [step for step, _ in flat_steps(steps)]
    progress = True
    while progress:
        progress = False
        for step in flat:
            for name, spec in _made_by(step, specs, slices).items():
                if name not in specs:
                    specs[name] = spec
                    progress = True
    for step in flat:
        for name in (*reads_of(step), *writes_of(step)):
            if name not in specs:
                raise CheckpointError(
                    f"step {step.id!r}: nothing says the shape of the tensor {name!r}; is it written right?",
                    hint=f"write it down: tensors: {{{name}: {{shape: [...]}}}}; {HINT}",
                )
        if isinstance(step, (Normalise, Unnormalise)) and not _meet(
            step, specs[step.input].shape, specs[step.output].shape
        ):
            raise ProgramError(
                f"step {step.id!r} cannot turn {step.input!r} {list(specs[step.input].shape)} into {step.output!r} "
                f"{list(specs[step.output].shape)}",
                hint="put a slice before it, or resize the frames first",
            )


def _meet(step: Normalise | Unnormalise, source: tuple[int, ...], target: tuple[int, ...]) -> bool:
    if isinstance(step, Unnormalise):
        return source in (target, (1, *target)) or target == (1, *source)
    inner = target[1:] if len(target) == len(source) + 1 and target[0] == 1 else target
    if step.planes:
        return len(source) >= 3 and inner == (*source[:-3], source[-1], *source[-3:-1])
    return len(inner) == len(source) and inner[:-1] == source[:-1] and inner[-1:] >= source[-1:]


def _made_by(step: Step, specs: Specs, slices: Mapping[str, tuple[int, ...]]) -> Specs:
    """What a step says of its tensors by those that are known."""
    if isinstance(step, Integrate):
        for name in (step.sample, step.prediction, step.noise):
            if name in specs:
                shape = specs[name].shape
                return {
                    other: TensorSpec(other, DType.FLOAT32, shape)
                    for other in (step.sample, step.prediction, step.noise)
                    if other
                }
        return {}
    if isinstance(step, Tokenise):
        known = specs.get(step.ids) or specs.get(step.mask)
        if known is None:
            return {}
        return {
            step.ids: TensorSpec(step.ids, DType.INT64, known.shape),
            step.mask: TensorSpec(step.mask, DType.BOOL, known.shape),
        }
    if not isinstance(step, (Normalise, Unnormalise, Slice, Ensemble)) or step.input not in specs:
        return {}
    source = specs[step.input]
    if isinstance(step, Slice):
        return (
            {step.output: TensorSpec(step.output, source.dtype, slices[step.output])} if step.output in slices else {}
        )
    shape = source.shape
    if isinstance(step, Normalise) and step.planes and len(shape) >= 3:
        shape = (*shape[:-3], shape[-1], *shape[-3:-1])
    if isinstance(step, Ensemble):
        inner = shape[1:] if len(shape) > 2 and shape[0] == 1 else shape
        shape = (1, *inner[1:])
    return {step.output: TensorSpec(step.output, DType.FLOAT32, shape)}
