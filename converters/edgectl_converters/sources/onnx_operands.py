"""Inputs of a graph that are no observations but say a shape, an axis or a divisor: what they must be for it to run.

A graph that was exported for a robot has none: these are constants of it. Where one is an input all the same and no
golden data says its value, the declared shapes often do: a `Reshape` to an output of `[2, 12]` is fed `[2, 12]`. Of
several values the first is taken with which shape inference gives the declared outputs; where nothing is declared, one
that is valid. It is the same in every case, or the outputs would have more than one shape.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgectl_converters.observations import Spread
from edgectl_converters.sources.onnx_graph import graph_inputs
from edgectl_converters.sources.onnx_shapes import dims_of

__all__ = ["is_operand", "operands_of"]

Shape = tuple[int, ...]
Values = tuple[float, ...]

_PASSING = frozenset({"Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape"})
"""A value keeps what it means through these."""
_MOST = 64
"""Trials of shape inference."""
_MOST_ELEMENTS = 1 << 16
_FLOATS = frozenset({1, 10, 11, 16})
_REDUCE = "Reduce"


@dataclass(frozen=True, slots=True)
class _Use:
    """An input of the graph where a node takes it: `count` values. `shapes` are of the node's inputs, by the names in
    its schema, and `outs` of its outputs; one that is not known is None, an output then that of the graph.
    """

    operator: str
    attributes: Mapping[str, Any]
    shapes: Mapping[str, Shape | None]
    outs: tuple[Shape | None, ...]
    count: int

    @property
    def data(self) -> Shape:
        """The shape of the first input."""
        return next(iter(self.shapes.values()), None) or ()

    @property
    def out(self) -> Shape:
        """The shape of the first output."""
        return self.outs[0] or ()

    def along(self, shape: Shape) -> Values:
        """The sizes that the node's attribute `axes` picks; all where it has none."""
        axes = self.attributes.get("axes") or range(len(shape))
        return tuple(shape[axis] for axis in axes if -len(shape) <= axis < len(shape))


_Rule = Callable[[_Use], Iterable[Values]]


def operands_of(model: Any) -> dict[str, Spread]:
    """The values of each input that is an operand, with a scale of 0, and where those lie of which the first node
    takes a part of the numbers only. The inputs of the graph have their sizes.
    """
    inputs = {value.name: value for value in graph_inputs(model)}
    found = {}
    for name, node, formal in _reads(model):
        where = _DOMAINS.get((node.op_type, formal)) or _DOMAINS.get((node.op_type, ""))
        count = _elements(inputs[name])
        if where and inputs[name].type.tensor_type.elem_type in _FLOATS and 0 < count <= _MOST_ELEMENTS:
            found[name] = ((where[0],) * count, (where[1],) * count)
    return found | {name: (values, (0.0,) * len(values)) for name, values in _constants(model).items()}


def is_operand(model: Any, name: str) -> bool:
    """Whether a node takes this input as an operand."""
    return name in _uses(model)


def _constants(model: Any) -> dict[str, Values]:
    choices = {}
    for name, (rule, use) in _uses(model).items():
        fits = [values for values in itertools.islice(rule(use), _MOST) if len(values) == use.count]
        if fits:
            choices[name] = fits
    picked = itertools.islice(itertools.product(*choices.values()), _MOST)
    trials = [dict(zip(choices, picks, strict=True)) for picks in picked]
    if len(trials) == 1:
        return trials[0]
    wanted = {value.name: dims_of(value) for value in model.graph.output}
    return next((one for one in trials if _gives(model, one, wanted)), trials[0])


def _reads(model: Any) -> Iterator[tuple[str, Any, str]]:
    """Every input of the graph, a node that takes it, and what the node's schema calls it there."""
    origin = {value.name: value.name for value in graph_inputs(model)}
    for node in model.graph.node:
        if not any(name in origin for name in node.input):
            continue
        if node.op_type in _PASSING and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        for name, formal in zip(node.input, _formal(model, node), strict=False):
            if name in origin:
                yield origin[name], node, formal


def _uses(model: Any) -> dict[str, tuple[_Rule, _Use]]:
    """How each input that is an operand is used first."""
    import onnx

    inputs = {value.name: value for value in graph_inputs(model)}
    rules: dict[str, tuple[_Rule, Any]] = {}
    for name, node, formal in _reads(model):
        rule = _rule(node.op_type, formal, inputs[name].type.tensor_type.elem_type)
        if rule is not None:
            rules.setdefault(name, (rule, node))
    if not rules:
        return {}
    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        inferred = model.graph
    shapes = {value.name: _whole(value) for value in (*inferred.value_info, *model.graph.input, *model.graph.output)}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    declared = _whole(model.graph.output[0])
    found = {}
    for name, (rule, node) in rules.items():
        use = _Use(
            node.op_type,
            {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute},
            {formal: shapes.get(given) for given, formal in zip(node.input, _formal(model, node), strict=False)},
            tuple(shapes.get(given) or declared for given in node.output),
            _elements(inputs[name]),
        )
        found[name] = (rule, use)
    return found


def _rule(operator: str, formal: str, kind: int) -> _Rule | None:
    if operator.startswith(_REDUCE) and formal == "axes":
        return _axes
    if (operator, formal) in (("Div", "B"), ("Mod", "B")) and kind not in _FLOATS:
        return _all(2 if operator == "Mod" else 1)
    return _RULES.get((operator, formal))


def _formal(model: Any, node: Any) -> list[str]:
    """The names of a node's inputs in its schema."""
    import onnx

    if node.domain not in ("", "ai.onnx"):
        return []
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    try:
        return [one.name for one in onnx.defs.get_schema(node.op_type, opset).inputs]
    except onnx.defs.SchemaError:
        return []


def _whole(value: Any) -> Shape | None:
    dims = dims_of(value) if value.type.HasField("tensor_type") else None
    return None if dims is None or -1 in dims else dims


def _elements(value: Any) -> int:
    return math.prod(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _gives(model: Any, operands: Mapping[str, Values], wanted: Mapping[str, Shape | None]) -> bool:
    """Whether shape inference finds the declared outputs when these are constants."""
    import numpy as np
    import onnx

    tried = type(model)()
    tried.CopyFrom(model)
    for value in [value for value in tried.graph.input if value.name in operands]:
        kind = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        array = np.array(operands[value.name]).astype(dtype).reshape([dim.dim_value for dim in kind.shape.dim])
        tried.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        tried.graph.input.remove(value)
    for value in tried.graph.output:
        value.type.tensor_type.ClearField("shape")
    del tried.graph.value_info[:]
    try:
        outputs = onnx.shape_inference.infer_shapes(tried, strict_mode=True, data_prop=True).graph.output
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return False
    return all(dims_of(value) == wanted[value.name] for value in outputs)


def _all(number: float) -> _Rule:
    return lambda use: [(number,) * use.count]


def _axes(use: _Use) -> Iterable[Values]:
    """Every choice of as many axes; of a scalar, every axis."""
    rank = max(len(use.data), len(use.out)) if use.operator == "Unsqueeze" else len(use.data)
    return itertools.combinations(range(rank), use.count)


def _out(use: _Use) -> Iterable[Values]:
    return [use.along(use.out)]


def _ratio(use: _Use) -> Iterable[Values]:
    """Output sizes in units of those of the input."""
    pairs = zip(use.along(use.out), use.along(use.data), strict=False)
    return [tuple(_scale(int(out), int(size)) for out, size in pairs)]


def _scale(out: int, size: int) -> float:
    """The least float32 from out / size on of which the product with the size does not round below the output."""
    import numpy as np

    scale = np.float32(out / size if size else 1)
    while math.floor(np.float32(size) * scale) < out:
        scale = np.nextafter(scale, np.float32(np.inf))
    return float(scale)


def _region(use: _Use) -> Iterable[Values]:
    return [(0.0,) * (use.count // 2) + (1.0,) * (use.count - use.count // 2)]


def _cut(use: _Use) -> list[int]:
    """The axes that a `Slice` or `Pad` changes, and more from the first on until they are as many as it takes."""
    count = (use.shapes.get("axes") or use.shapes.get("starts") or (len(use.data),))[0]
    changed = [axis for axis, (a, b) in enumerate(zip(use.data, use.out, strict=False)) if a != b]
    if "axes" not in use.shapes:
        return list(range(count))
    others = [axis for axis in range(len(use.data)) if axis not in changed]
    return sorted([*changed, *others][:count])


def _cut_axes(use: _Use) -> Iterable[Values]:
    return [tuple(_cut(use))]


def _ends(use: _Use) -> Iterable[Values]:
    return [tuple(use.out[axis] for axis in _cut(use) if axis < len(use.out))]


def _pads(use: _Use) -> Iterable[Values]:
    more = [use.out[axis] - use.data[axis] for axis in _cut(use) if axis < len(use.out)]
    return [(*(size // 2 for size in more), *(size - size // 2 for size in more))]


def _length(use: _Use) -> Iterable[Values]:
    """The output's size along the attribute `axis`."""
    axis = use.attributes.get("axis", -1)
    return [(use.out[axis],)] if -len(use.out) <= axis < len(use.out) else [(1,)]


def _first_length(use: _Use) -> Iterable[Values]:
    return [use.out[:1] or (1,)]


def _parts(use: _Use) -> Iterable[Values]:
    axis = use.attributes.get("axis", 0)
    return [tuple(out[axis] for out in use.outs if out and axis < len(out))]


def _image(use: _Use) -> Iterable[Values]:
    return [use.out[2:]]


def _blocks(use: _Use) -> Iterable[Values]:
    """Blocks of `Col2Im`: as large together as there are channels for each of the output's, and as many as there are
    columns.
    """
    count, image = use.count, use.out[2:]
    total = use.data[1] // max(use.out[1], 1) if len(use.data) == 3 and len(use.out) == count + 2 else 0
    dilations = use.attributes.get("dilations") or [1] * count
    strides = use.attributes.get("strides") or [1] * count
    pads = use.attributes.get("pads") or [0] * 2 * count

    def columns(blocks: Shape) -> int:
        sizes = (
            (image[at] + pads[at] + pads[at + count] - dilations[at] * (size - 1) - 1) // strides[at] + 1
            for at, size in enumerate(blocks)
        )
        return math.prod(sizes)

    sizes = [size for size in range(1, total + 1) if total % size == 0]
    fits = (blocks for blocks in itertools.product(sizes, repeat=count) if math.prod(blocks) == total)
    return (blocks for blocks in fits if columns(blocks) == use.data[2])


def _grid(use: _Use) -> Iterable[Values]:
    return [(*use.out[:1], 1, *use.out[1:-1])]


def _ones_first(use: _Use) -> Iterable[Values]:
    """As many as the output has, along its axis or in all."""
    (kept,) = next(iter(_length(use))) if "axis" in use.attributes else use.out[:1] or (1,)
    return [(1,) * int(kept) + (0,) * (use.count - int(kept))]


def _frame(use: _Use) -> int:
    """The length of a frame of `STFT`, by its window or by how many frequencies come out."""
    if window := use.shapes.get("window"):
        return window[0]
    bins = use.out[2] if len(use.out) == 4 else 1
    return (bins - 1) * 2 if use.attributes.get("onesided", 1) else bins


def _frame_length(use: _Use) -> Iterable[Values]:
    return [(_frame(use),)]


def _frame_step(use: _Use) -> Iterable[Values]:
    length, frames = (use.data[1], use.out[1]) if len(use.data) > 1 and len(use.out) == 4 else (1, 1)
    return [(step,) for step in range(1, length + 1) if (length - _frame(use)) // step + 1 == frames] or [(1,)]


def _keys(use: _Use) -> Iterable[Values]:
    keys = use.shapes.get("K") or (1, 1)
    return [(keys[-2],) * use.count]


_RULES: dict[tuple[str, str], _Rule] = {
    ("Reshape", "shape"): _out,
    ("Expand", "shape"): _out,
    ("ConstantOfShape", "input"): _out,
    ("CenterCropPad", "shape"): _out,
    ("MaxUnpool", "output_shape"): _out,
    ("Resize", "sizes"): _out,
    ("Resize", "scales"): _ratio,
    ("Resize", "roi"): _region,
    ("Upsample", "scales"): _ratio,
    ("Tile", "repeats"): _ratio,
    ("Slice", "starts"): _all(0),
    ("Slice", "ends"): _ends,
    ("Slice", "axes"): _cut_axes,
    ("Slice", "steps"): _all(1),
    ("Pad", "pads"): _pads,
    ("Pad", "axes"): _cut_axes,
    ("Squeeze", "axes"): _axes,
    ("Unsqueeze", "axes"): _axes,
    ("CumSum", "axis"): _all(0),
    ("CumProd", "axis"): _all(0),
    ("Trilu", "k"): _all(0),
    ("TopK", "K"): _length,
    ("OneHot", "depth"): _length,
    ("Split", "split"): _parts,
    ("Range", "start"): _all(0),
    ("Range", "limit"): _first_length,
    ("Range", "delta"): _all(1),
    ("BlackmanWindow", "size"): _first_length,
    ("HannWindow", "size"): _first_length,
    ("HammingWindow", "size"): _first_length,
    ("STFT", "frame_step"): _frame_step,
    ("STFT", "frame_length"): _frame_length,
    ("Col2Im", "image_shape"): _image,
    ("Col2Im", "block_shape"): _blocks,
    ("AffineGrid", "size"): _grid,
    ("Compress", "condition"): _ones_first,
    ("Dropout", "ratio"): _all(0),
    ("Dropout", "training_mode"): _all(0),
    ("Attention", "nonpad_kv_seqlen"): _keys,
}
_UNIT, _AROUND_ONE = (0.5, 0.1), (1.0, 0.15)
_DOMAINS: dict[tuple[str, str], tuple[float, float]] = {
    ("Asin", ""): _UNIT,
    ("Acos", ""): _UNIT,
    ("Atanh", ""): _UNIT,
    ("Acosh", ""): (2.0, 0.15),
    ("Log", ""): _AROUND_ONE,
    ("Sqrt", ""): _AROUND_ONE,
    ("ReduceLogSum", "data"): _AROUND_ONE,
    ("Pow", "X"): _AROUND_ONE,
    ("Pow", "Y"): _AROUND_ONE,
    ("QuantizeLinear", "y_scale"): _AROUND_ONE,
    ("DequantizeLinear", "x_scale"): _AROUND_ONE,
    **{(f"QLinear{part}", f"{port}_scale"): _AROUND_ONE for part in ("Conv", "MatMul") for port in "abxwy"},
    ("BatchNormalization", "input_var"): _AROUND_ONE,
    ("BatchNormalization", "var"): _AROUND_ONE,
}
"""Five deviations of these lie where the operator is defined."""
