"""Gives every free dimension of a graph its size, in place: sizes that were said, the batch 1, and what follows.

A dimension is free where the graph has a name, nothing, 0 or a negative number for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgectl_converters.sources.onnx_graph import graph_inputs

__all__ = ["FreeDim", "dims_of", "fix_inputs", "fix_outputs", "runs_as_one", "set_shape"]

_BATCH = re.compile(r"batch|^(n|b|bs|bsz|none|num_samples|num_envs)$|(^|_)bs(z)?($|_)", re.IGNORECASE)
_NO_BATCH = re.compile(
    r"height|width|seq|time|frame|length|len$|step|channel|token|point|box|^(h|w|t|l|s|c)$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class FreeDim:
    """A dimension whose size nothing says; `name` is empty where the graph has none."""

    port: str
    axis: int
    name: str


def dims_of(value: Any) -> tuple[int, ...] | None:
    """The shape, free dimensions -1; None where the graph does not even say how many there are."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.dim_value > 0 else -1 for dim in kind.shape.dim)


def set_shape(value: Any, shape: tuple[int, ...]) -> None:
    """Give an input or output this shape, -1 for what is free."""
    kind = value.type.tensor_type
    names = [dim.dim_param for dim in kind.shape.dim]
    kind.ClearField("shape")
    kind.shape.SetInParent()
    for axis, size in enumerate(shape):
        dim = kind.shape.dim.add()
        if size >= 0:
            dim.dim_value = size
        elif axis < len(names) and names[axis]:
            dim.dim_param = names[axis]


def fix_inputs(model: Any, sizes: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> list[FreeDim]:
    """Fix inputs by `shapes`, then by the `sizes` of names, which those of `shapes` add to; what is left free."""
    known = dict(sizes)
    ports = graph_inputs(model)
    before = [dims_of(value) for value in ports]
    for value in ports:
        if value.name in shapes:
            for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=False):
                if _name(dim) and size > 0:
                    known.setdefault(dim.dim_param, size)
    left = []
    for value in ports:
        if value.name in shapes:
            set_shape(value, shapes[value.name])
            continue
        rank = len(value.type.tensor_type.shape.dim)
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value > 0:
                continue
            name = _name(dim)
            size = known.get(name, 0)
            if not size and _is_batch(name, axis, rank):
                size = 1
            if not size:
                left.append(FreeDim(value.name, axis, name))
                continue
            if name:
                known[name] = size
            dim.dim_value = size
    if before != [dims_of(value) for value in ports]:
        # What was inferred for free dimensions may say otherwise.
        del model.graph.value_info[:]
    _name_outputs(model, known)
    return left


def fix_outputs(model: Any) -> list[FreeDim]:
    """Fix outputs as far as they follow from the inputs; what is left free."""
    opened = [value for value in model.graph.output if value.type.HasField("tensor_type") and _open(value)]
    if opened:
        inferred = _inferred_outputs(model)
        for value in opened:
            found, declared = inferred.get(value.name), dims_of(value)
            if found is None:
                continue
            if declared is None or len(declared) != len(found):
                set_shape(value, found)
            else:
                merged = (a if a > 0 else b for a, b in zip(declared, found, strict=True))
                set_shape(value, tuple(merged))
    return [
        FreeDim(value.name, axis, _name(dim))
        for value in opened
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        if dim.dim_value <= 0
    ]


def runs_as_one(model: Any) -> bool:
    """Whether the graph, whose inputs and first output all begin with one size above 1, also makes one of one.

    Then each row may be a case of its own, which only a run can tell.
    """
    one = type(model)()
    one.CopyFrom(model)
    for value in graph_inputs(one):
        set_shape(value, (1, *(dims_of(value) or ())[1:]))
    del one.graph.value_info[:]
    inferred = _inferred_outputs(one)
    return all(inferred.get(value.name, ())[:1] == (1,) for value in one.graph.output)


def _name(dim: Any) -> str:
    """What a free dimension is called; some exporters call all of them `?`."""
    name: str = dim.dim_param
    return name if any(letter.isalnum() for letter in name) else ""


def _is_batch(name: str, axis: int, rank: int) -> bool:
    if name and _BATCH.search(name):
        return True
    # A vector of free length is as likely a signal as a batch of numbers.
    return axis == 0 and rank > 1 and not (name and _NO_BATCH.search(name))


def _name_outputs(model: Any, sizes: Mapping[str, int]) -> None:
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value <= 0 and sizes.get(_name(dim), 0) > 0:
                dim.dim_value = sizes[dim.dim_param]


def _open(value: Any) -> bool:
    dims = dims_of(value)
    return dims is None or -1 in dims


def _inferred_outputs(model: Any) -> dict[str, tuple[int, ...]]:
    import onnx

    copy = type(model)()
    copy.CopyFrom(model)
    for value in copy.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    try:
        found = onnx.shape_inference.infer_shapes(copy, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return {}
    return {value.name: dims for value in found.graph.output if (dims := dims_of(value)) is not None}
