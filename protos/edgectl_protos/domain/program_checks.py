"""Whether the parts of a program meet: refused here, before anything is converted or loaded."""

from __future__ import annotations

from collections.abc import Mapping

from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.errors import ProgramError
from edgectl_protos.domain.policy import Policy
from edgectl_protos.domain.program import MAX_CALLS, Call, Integrate, Program, Repeat, Slice, Step, Tokenise, flat_steps
from edgectl_protos.domain.program_flow import reads_of, writes_of

__all__ = ["check_components", "check_program"]

Ports = Mapping[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]]
"""Inputs and outputs of each component."""


def check_program(policy: Policy, program: Program) -> None:
    """Refuse a program whose tensors do not meet.

    Raises:
        ProgramError: a tensor is read before it is written, not declared, or of another shape than a step can make.
    """
    specs = {spec.name: spec for spec in program.tensors}
    if len(specs) != len(program.tensors):
        raise ProgramError("two tensors of the program have one name")
    known: set[str] = set(program.states)
    for feature in policy.observations:
        if feature.name in specs:
            raise ProgramError(f"the tensor {feature.name!r} is an observation, and is declared again")
        specs[feature.name] = policy.observed(feature)
        known.add(feature.name)
    for name in program.states:
        if name not in specs:
            raise ProgramError(f"the state {name!r} is not declared")
    if (calls := sum(passes for _, passes in flat_steps(program.steps))) > MAX_CALLS:
        raise ProgramError(f"an inference would take {calls:,} steps; at most {MAX_CALLS:,} are run")
    ids: set[str] = set()
    _check_steps(program.steps, specs, known, ids)
    action = specs.get(program.action)
    if action is None or program.action not in known:
        raise ProgramError(f"no step of the program writes {program.action!r}, its action")
    if -1 not in policy.action.shape and action.shape != (policy.chunk_size, *policy.action.shape):
        raise ProgramError(
            f"the program's action is {list(action.shape)}; the policy says {policy.chunk_size} actions of "
            f"{list(policy.action.shape)}"
        )


def _check_steps(steps: tuple[Step, ...], specs: Mapping[str, TensorSpec], known: set[str], ids: set[str]) -> None:
    for step in steps:
        if not step.id or step.id in ids:
            raise ProgramError(f"two steps have the id {step.id!r}, or it is empty")
        ids.add(step.id)
        if isinstance(step, Repeat):
            if not 1 <= step.times <= MAX_CALLS:
                raise ProgramError(f"step {step.id!r} is repeated {step.times} times")
            for name in step.each:
                _declared(step, name, specs)
                known.add(name)
            _check_steps(step.steps, specs, known, ids)
            continue
        for name in reads_of(step):
            _declared(step, name, specs)
            if name not in known:
                raise ProgramError(f"step {step.id!r} reads {name!r}, which nothing has written")
        for name in writes_of(step):
            _declared(step, name, specs)
            known.add(name)
        _check_shapes(step, specs)


def _declared(step: Step, name: str, specs: Mapping[str, TensorSpec]) -> None:
    if name not in specs:
        raise ProgramError(f"step {step.id!r} names the tensor {name!r}, which is not declared")


def _check_shapes(step: Step, specs: Mapping[str, TensorSpec]) -> None:
    if isinstance(step, Tokenise) and (specs[step.ids].shape != specs[step.mask].shape or not specs[step.ids].shape):
        raise ProgramError(f"step {step.id!r}: ids and mask have other shapes")
    if isinstance(step, Integrate):
        sizes = {specs[name].shape for name in reads_of(step)}
        if len(sizes) != 1:
            raise ProgramError(f"step {step.id!r}: sample, prediction and noise have other shapes")
    if isinstance(step, Slice):
        into, of = specs[step.output].shape, specs[step.input].shape
        # A leading 1 may be dropped on the way.
        inner = of[1:] if len(into) == len(of) - 1 and of[0] == 1 else of
        start = step.start or (0,) * len(inner)
        fits = len(into) == len(inner) == len(start)
        if not fits or any(s < 0 or s + n > m for s, n, m in zip(start, into, inner, strict=True)):
            raise ProgramError(f"step {step.id!r} takes {list(into)} at {list(start)} out of {list(of)}")


def check_components(program: Program, policy: Policy, ports: Ports) -> None:
    """Refuse components whose ports (inputs, outputs) are not the tensors that the program binds to them.

    Raises:
        ProgramError: a component is missing or never used, a port is not bound, or has another shape or type.
    """
    used = program.components
    for name in used:
        if name not in ports:
            raise ProgramError(f"the program runs the component {name!r}; there is: {', '.join(ports) or 'none'}")
    if unused := sorted(set(ports) - set(used)):
        raise ProgramError(f"the program never runs the component {unused[0]!r}")
    specs = {spec.name: spec for spec in program.tensors}
    specs |= {feature.name: policy.observed(feature) for feature in policy.observations}
    for step, _ in flat_steps(program.steps):
        if not isinstance(step, Call):
            continue
        for kind, bound, offered in (
            ("input", step.inputs, ports[step.component][0]),
            ("output", step.outputs, ports[step.component][1]),
        ):
            by_name = {spec.name: spec for spec in offered}
            if kind == "input" and (open_ports := sorted(set(by_name) - set(bound))):
                raise ProgramError(f"step {step.id!r} leaves the input {open_ports[0]!r} of {step.component!r} open")
            for port, tensor in bound.items():
                if port not in by_name:
                    raise ProgramError(
                        f"step {step.id!r}: {step.component!r} has no {kind} {port!r}; it has: {', '.join(by_name)}"
                    )
                if not _meets(specs[tensor], by_name[port]):
                    want, have = by_name[port], specs[tensor]
                    raise ProgramError(
                        f"step {step.id!r}: {kind} {port!r} of {step.component!r} is {want.dtype.value}"
                        f"{list(want.shape)}, the tensor {tensor!r} is {have.dtype.value}{list(have.shape)}"
                    )


def _meets(tensor: TensorSpec, port: TensorSpec) -> bool:
    if tensor.dtype is not port.dtype:
        return False
    shapes = (port.shape, port.shape[1:]) if port.shape[:1] in ((1,), (-1,)) else (port.shape,)
    return any(
        len(shape) == len(tensor.shape)
        and all(-1 in (a, b) or a == b for a, b in zip(shape, tensor.shape, strict=True))
        for shape in shapes
    )
