"""What the steps of a program read and write, and which of them wait for each other."""

from __future__ import annotations

from edgectl_protos.domain.program import Call, Generate, Integrate, Noise, Program, Repeat, Step, Tokenise

__all__ = ["reads_of", "waits_for", "writes_of"]


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
