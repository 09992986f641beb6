"""Which outputs of a graph are its states, to be fed back to an input at the next inference: by their names.

Exporters write `h_in` and `h_out`, `hx` and `hn`, `state` and `next_state`, `past_key_values.0.key` and
`present.0.key`, `x` and `x_out`. A pair has one type and one shape, the output is computed from the input, and is not
the input handed through. What fits more than one way is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from edgectl_converters.sources.onnx_graph import subgraphs_of
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.errors import CheckpointError, UsageError

__all__ = ["declared_states", "find_states"]

_KEY_VALUES = re.compile(r"(past|present)_key_values?")
_SPLIT = re.compile(r"[^a-z0-9]+")
_BEFORE = frozenset({"in", "input", "inputs", "prev", "previous", "past", "old", "last", "init", "initial"})
_AFTER = frozenset({"out", "output", "outputs", "next", "new", "present", "final", "updated", "cur", "current"})
_CELLS = re.compile(r"([hc])(?:0|x|n|t|y)")
_LAST = re.compile(r"([a-z]{3,})(?:n|out|in)")
_OBSERVED = re.compile(r"obs|image|frame|pixel")
"""What a graph predicts of its next observation is none of its states."""

Graph = Any


def find_states(
    graph: Graph,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    name: str,
    given: Callable[[str, str], bool] = lambda into, out: False,
) -> dict[str, str]:
    """The output that is fed back to each input that is a state; `given`: it is known that this input is not fed by
    this output.

    Raises:
        CheckpointError: names fit more than one way, or nothing would be left to observe or to do.
    """
    found: dict[str, str] = {}
    for spec in inputs:
        fits = [out for out in outputs if _paired(spec.name, out.name) and _same(spec, out)]
        fits = [out for out in fits if _computed_from(graph, out.name, spec.name) and not given(spec.name, out.name)]
        if not fits:
            continue
        if len(fits) > 1 or fits[0].name in found.values():
            other = next((key for key, value in found.items() if value == fits[0].name), spec.name)
            told = ", ".join(repr(out.name) for out in fits)
            raise _ask(
                f"{name}: which of {told} is fed back to {spec.name!r}, or to {other!r}?", spec.name, fits[0].name
            )
        found[spec.name] = fits[0].name
    if outputs[0].name in found.values():
        state = next(key for key, value in found.items() if value == outputs[0].name)
        if len(outputs) == 1 or len(found) == len(inputs):
            # A model of the world: what comes out is what is asked for.
            return {}
        raise _ask(
            f"{name}: is {outputs[0].name!r} the action, or the state fed back to {state!r}?", state, outputs[0].name
        )
    return found if len(found) < len(inputs) else {}


def declared_states(
    states: Mapping[str, str], inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> dict[str, str]:
    """The states that the user names, seen to fit.

    Raises:
        UsageError: there is no such input or output, or they differ.
    """
    ins, outs = {spec.name: spec for spec in inputs}, {spec.name: spec for spec in outputs}
    for into, out in states.items():
        if into not in ins or out not in outs:
            raise UsageError(
                f"--state {into}={out}: the graph takes {', '.join(ins)} and gives {', '.join(outs)}",
                hint="--state INPUT=OUTPUT",
            )
        a, b = ins[into], outs[out]
        if not _same(a, b):
            raise UsageError(
                f"--state {into}={out}: the one is {a.dtype.value}{list(a.shape)}, the other {b.dtype.value}"
                f"{list(b.shape)}"
            )
    if len(set(states.values())) != len(states):
        raise UsageError("--state: one output is fed back to two inputs")
    if len(states) == len(ins) or len(states) == len(outs):
        raise UsageError("--state: nothing is left to observe, or to do", hint="--state none")
    return dict(states)


def _ask(question: str, into: str, out: str) -> CheckpointError:
    return CheckpointError(question, hint=f"say so: --state {into}={out}, or --state none")


def _same(into: TensorSpec, out: TensorSpec) -> bool:
    """One type and shape; -1 is a size that only a run tells."""
    return (
        into.dtype is out.dtype
        and len(into.shape) == len(out.shape)
        and all(b in (-1, a) for a, b in zip(into.shape, out.shape, strict=True))
    )


def _paired(into: str, out: str) -> bool:
    before, after = _stems(into, _BEFORE), _stems(out, _AFTER)
    return any(stem and (marked or after[stem]) for stem, marked in before.items() if stem in after)


def _stems(name: str, markers: frozenset[str]) -> dict[str, bool]:
    """What is left of a name without the word or letter that says before or after, and whether there was one."""
    text = _KEY_VALUES.sub(r"\1", name.lower())
    words = [word for word in _SPLIT.split(text) if word]
    kept = [word for word in words if word not in markers]
    if any(_OBSERVED.match(word) for word in kept):
        return {}
    found = {".".join(kept): len(kept) != len(words)}
    for index, word in enumerate(kept):
        if cell := _CELLS.fullmatch(word) or (_LAST.fullmatch(word) if index == len(kept) - 1 else None):
            found[".".join([*kept[:index], cell[1], *kept[index + 1 :]])] = True
    return found


def _computed_from(graph: Graph, out: str, into: str) -> bool:
    """Whether a node's work lies between them."""
    makers = {name: node for node in graph.node for name in node.output if name}
    current = out
    while current in makers and makers[current].op_type == "Identity":
        current = makers[current].input[0]
    if current == into:
        return False
    pending, seen = [current], set()
    while pending:
        name = pending.pop()
        if name == into:
            return True
        if name in seen or name not in makers:
            continue
        seen.add(name)
        pending += _read_by(makers[name])
    return False


def _read_by(node: Any) -> list[str]:
    inner = [name for graph in subgraphs_of(node) for part in graph.node for name in _read_by(part)]
    bodies = [value.name for graph in subgraphs_of(node) for value in graph.output]
    return [*node.input, *inner, *bodies]
