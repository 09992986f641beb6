"""A bare ONNX graph, opened: its ports with every size that can be known before it runs, its states, what it is.

A size is said by the user, by golden data, by footage, or by the graph; the batch is 1. What nobody says is asked for,
with the option to type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgectl_converters.card import Declared
from edgectl_converters.observations import Spread, find_footage
from edgectl_converters.sources.npz import read_npz
from edgectl_converters.sources.onnx_graph import graph_inputs, is_fed, read_graph, spec_of, type_name
from edgectl_converters.sources.onnx_operands import is_operand, operands_of
from edgectl_converters.sources.onnx_operators import stored_schemes
from edgectl_converters.sources.onnx_shapes import (
    FreeDim,
    dims_of,
    fix_inputs,
    fix_outputs,
    runs_as_one,
    set_shape,
)
from edgectl_converters.sources.onnx_states import declared_states, find_states
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.errors import CheckpointError, UsageError
from edgectl_protos.domain.loop import SourceKind

__all__ = ["BareGraph", "golden_file", "open_graph"]

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class BareGraph:
    """`model` has empty weights, and `outputs` -1 where only a run tells a size. `dropped` are outputs that cannot be
    handed on. `rows`: how many cases at once the file takes of which one is run; 1 where it is run as it is.
    `operands`: where inputs must lie for the graph to run, where no golden data says it.
    """

    path: Path
    model: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: dict[str, str]
    schemes: tuple[str, ...]
    golden: Path | None
    dropped: tuple[str, ...]
    rows: int
    notes: tuple[str, ...]
    operands: dict[str, Spread]

    @property
    def declared(self) -> Declared:
        """What was said and found, so that nobody need find it again."""
        return Declared({spec.name: spec.shape for spec in self.inputs}, self.states)


def open_graph(path: Path, declared: Declared, footage: Path | None = None) -> BareGraph:
    """Read the graph without its weights.

    Raises:
        CheckpointError: it has no inputs or outputs, some that cannot be fed, or sizes that nothing says.
        CheckpointCorruptError: the file is no graph, or not whole.
        UsageError: what was said does not fit the graph.
    """
    model = read_graph(path)
    values = _fed_inputs(model, path.name)
    dropped = _drop_outputs(model, path.name)
    golden = golden_file(path)
    before = {value.name: dims_of(value) for value in values}
    said = _asked(before, declared.shapes)
    rows = _rows(before, model)
    arrays = read_npz(golden) if golden else {}
    from_golden = {name: array.shape[1:] for name, array in arrays.items() if array.ndim}
    recorded = {f"in.{name}": shape for name, shape in _recorded(footage, before).items()}
    for source in (from_golden, recorded):
        found = {name: _meant(dims, source.get(f"in.{name}")) for name, dims in before.items() if name not in said}
        said |= {name: shape for name, shape in found.items() if shape is not None}
    notes = []
    if rows > 1 and not said:
        if runs_as_one(model):
            said = {name: (1, *(dims or ())[1:]) for name, dims in before.items()}
        else:
            notes.append(
                f"takes and gives {rows} at once and does not run on one: taken as one case of {rows}; if it is a "
                f"batch of {rows} cases, export it again with a batch of 1"
            )
    empty = [value.name for value in values if value.name not in said and _is_empty(value)]
    said |= {name: (0,) for name in empty if is_operand(model, name)}
    as_one = rows > 1 and all(shape[:1] == (1,) for shape in said.values())
    if as_one:
        whole = " ".join(_option(name, dims or ()) for name, dims in before.items())
        notes.append(f"a batch of {rows}, run as one; as a single case of {rows}: {whole}")
    if left := _apply_shapes(model, said):
        raise _free(path.name, left, {value.name: dims_of(value) for value in values})
    for value in model.graph.output:
        _shape_from_golden(value, from_golden.get(f"out.{value.name}"))
    inputs, outputs = tuple(map(spec_of, graph_inputs(model))), tuple(map(spec_of, model.graph.output))
    if declared.states is None:
        given: dict[str, str] = {}

        def is_given(into: str, out: str) -> bool:
            if f"in.{into}" in arrays and not _is_sequence(arrays, into, out):
                given[into] = out
            return into in given

        states = find_states(model.graph, inputs, outputs, path.name, is_given)
        notes += [
            f"{into} is no state: the golden data gives it case by case; to feed it back: --state {into}={out}"
            for into, out in given.items()
        ]
    else:
        states = declared_states(declared.states, inputs, outputs)
    kept = {out: next(spec.shape for spec in inputs if spec.name == into) for into, out in states.items()}
    outputs = tuple(replace(spec, shape=kept.get(spec.name, spec.shape)) for spec in outputs)
    free = [name for name, dims in before.items() if dims is None or -1 in dims]
    fixed = [f"{spec.name} {'×'.join(map(str, spec.shape))}" for spec in inputs if spec.name in free]
    notes += [f"free dimensions fixed: {', '.join(fixed)}"] if fixed else []
    notes += [f"state fed back, zero at the start: {into} ← {out}" for into, out in states.items()]
    notes += [f"not handed on: the output {text}" for text in dropped.values()]
    operands = {} if golden else operands_of(model)
    notes += [_drawn(name, *spread) for name, spread in operands.items()]
    schemes = stored_schemes(model)
    notes += [f"{schemes[0]} already: taken as it is"] if schemes else []
    return BareGraph(
        *(path, model, inputs, outputs, states, schemes, golden, tuple(dropped), rows if as_one else 1),
        tuple(notes),
        operands,
    )


def golden_file(path: Path) -> Path | None:
    """Golden data that lies beside the graph."""
    file = path.with_suffix(".golden.npz")
    return file if file.exists() else None


def _fed_inputs(model: Any, name: str) -> list[Any]:
    values = graph_inputs(model)
    if not values or not model.graph.output:
        raise CheckpointError(f"{name} has no inputs or no outputs")
    names = [value.name for value in (*values, *model.graph.output)]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CheckpointError(f"two inputs or outputs of {name} are called {twice!r}")
    for value in values:
        if not is_fed(value):
            spec_of(value)
    return values


def _drop_outputs(model: Any, name: str) -> dict[str, str]:
    """Take away, from the second on, outputs that are no tensors of numbers; by name what they are."""
    first, *others = model.graph.output
    if not is_fed(first):
        spec_of(first)
    dropped = {value.name: f"{value.name} ({type_name(value)})" for value in others if not is_fed(value)}
    kept = [value for value in model.graph.output if value.name not in dropped]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return dropped


def _asked(ports: Mapping[str, tuple[int, ...] | None], shapes: Shapes) -> dict[str, tuple[int, ...]]:
    for name, shape in shapes.items():
        said = f"--shape {name}={'x'.join(map(str, shape))}"
        if name not in ports:
            raise UsageError(f"{said}: the graph has no such input; it has: {', '.join(ports)}")
        dims = ports[name]
        if dims is None:
            continue
        # A batch may be run as one.
        fits = len(dims) == len(shape) and all(
            a in (-1, b) or (axis == 0 and b == 1) for axis, (a, b) in enumerate(zip(dims, shape, strict=True))
        )
        if not fits:
            raise UsageError(f"{said}: the graph says {_words(dims)}", hint=_option(name, dims))
    return dict(shapes)


def _rows(inputs: Mapping[str, tuple[int, ...] | None], model: Any) -> int:
    """The size above 1 with which all inputs and outputs begin; 1 where there is none such."""
    first = {(dims or ())[:1] for dims in (*inputs.values(), *map(dims_of, model.graph.output))}
    ranks = [len(dims or ()) for dims in (*inputs.values(), dims_of(model.graph.output[0]))]
    size = first.pop() if len(first) == 1 else ()
    return size[0] if size and size[0] > 1 and min(ranks) > 1 else 1


def _is_sequence(arrays: Mapping[str, Any], into: str, out: str) -> bool:
    """Whether golden cases are the steps of one run: the input begins at zero, and is what came out a case before."""
    before, after = arrays[f"in.{into}"], arrays.get(f"out.{out}")
    if after is None or len(before) < 2 or before[1:].size != after[:-1].size:
        return False
    return not before[0].any() and bool((before[1:].reshape(-1) == after[:-1].reshape(-1)).all())


def _recorded(footage: Path | None, names: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of one frame of the arrays among the footage."""
    import numpy as np

    found = {}
    for name in names if footage is not None else ():
        assert footage is not None
        file = find_footage(footage, name)
        if file is None or file[1] is not SourceKind.RECORDED:
            continue
        try:
            array = np.load(file[0], mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            # Whoever reads the values says what is wrong with it.
            continue
        found[name] = tuple(array.shape[1:])
    return found


def _meant(dims: tuple[int, ...] | None, shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The whole shape of an input of which one case has this shape; None where it does not fit."""
    if shape is None or dims is None:
        return shape
    whole = shape if len(shape) == len(dims) else (1, *shape)
    fits = len(whole) == len(dims) and all(
        a in (-1, b) or (axis == 0 and b == 1) for axis, (a, b) in enumerate(zip(dims, whole, strict=True))
    )
    return whole if fits else None


def _apply_shapes(model: Any, shapes: Shapes) -> list[FreeDim]:
    """Fix inputs, and outputs as far as they follow; what is left free of the inputs."""
    dims = {value.name: dims_of(value) or () for value in graph_inputs(model)}
    changed = any(a > 0 and a != b for name, shape in shapes.items() for a, b in zip(dims[name], shape, strict=False))
    left = fix_inputs(model, {}, shapes)
    if changed:
        # What the file says of the outputs is true of its own sizes.
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
    fix_outputs(model)
    return left


def _shape_from_golden(value: Any, shape: tuple[int, ...] | None) -> None:
    dims = dims_of(value)
    if shape is None or (dims is not None and -1 not in dims):
        return
    whole = _meant(dims, shape)
    if whole is not None:
        set_shape(value, whole)


def _free(name: str, left: list[FreeDim], ports: Mapping[str, tuple[int, ...] | None]) -> CheckpointError:
    named: dict[str, list[str]] = {}
    for one in left:
        named.setdefault(one.port, []).append(one.name or f"dimension {one.axis}")
    told = "; ".join(f"{port} {_words(ports[port])}: {', '.join(dims)}" for port, dims in named.items())
    options = " ".join(_option(port, ports[port] or ()) for port in named)
    return CheckpointError(
        f"{name} leaves sizes open that nothing says: {told}", hint=f"say what the robot feeds, such as {options}"
    )


def _option(name: str, dims: tuple[int, ...]) -> str:
    """The option with example sizes for what is free."""
    image = len(dims) == 4
    sizes = [
        size if size > 0 else 1 if axis == 0 else ((3, 480, 640)[axis - 1] if image else 16)
        for axis, size in enumerate(dims)
    ]
    if image and dims[3] in (1, 3, 4):
        sizes[1:3] = [a if b < 0 else b for a, b in zip((480, 640), dims[1:3], strict=True)]
    return f"--shape {name}={'x'.join(map(str, sizes))}"


def _is_empty(value: Any) -> bool:
    """Whether it is a vector that the graph says to be of no elements."""
    sizes = value.type.tensor_type.shape.dim
    return len(sizes) == 1 and bool(sizes[0].HasField("dim_value")) and sizes[0].dim_value == 0


def _drawn(name: str, offset: tuple[float, ...], scale: tuple[float, ...]) -> str:
    if any(scale):
        return f"drawn where the graph computes it: {name} = {offset[0]:g} ± {scale[0]:g}"
    shown = ", ".join(f"{value:g}" for value in offset[:8])
    return f"drawn as an operand, the same in every case: {name} = [{shown}{', …' if len(offset) > 8 else ''}]"


def _words(dims: tuple[int, ...] | None) -> str:
    return "of no declared rank" if dims is None else "×".join("?" if size < 0 else str(size) for size in dims)
