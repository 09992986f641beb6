"""In which range a policy takes its frames: what the first nodes of a graph do with them shows it, or golden data do.

A division by 255 (or 127.5), the mean of a data set, a clip, a quantiser: each says how bright a white pixel is.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_converters.sources.npz import read_npz

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["golden_ranges", "golden_spread", "graph_ranges"]

_BYTES, _UNIT = (0.0, 255.0), (0.0, 1.0)
# What moves values without changing them.
_MOVES = frozenset({"Cast", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Resize", "Gather"})
_MOVES |= {"Slice", "Pad", "Concat", "Split"}
_DEPTH = 12
_MOST_CONSTANT = 1024
_MOST_ELEMENTS = 1 << 16
"""Of a vector; what is larger is a frame, whose range says enough."""


def graph_ranges(model: Any) -> dict[str, tuple[float, float]]:
    """The values of a black and of a white pixel for each input of an ONNX model whose first nodes show them."""
    from onnx import TensorProto, numpy_helper

    constants = {one.name: one for one in model.graph.initializer if one.data_location != TensorProto.EXTERNAL}
    for node in model.graph.node:
        if node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def constant(name: str) -> Array | None:
        tensor = constants.get(name)
        # Weights are no limits, and their data may have been left out.
        if tensor is None or math.prod(tensor.dims) > _MOST_CONSTANT:
            return None
        values: Array = numpy_helper.to_array(tensor).astype("float64")
        return values

    def follow(name: str, depth: int) -> tuple[float, float] | None:
        for node in readers.get(name, ()) if depth else ():
            shown = _shown(node, name, constant)
            if shown is None and node.op_type in _MOVES and node.input[0] == name:
                shown = follow(node.output[0], depth - 1)
            if shown is not None:
                return shown
        return None

    found = {value.name: follow(value.name, _DEPTH) for value in model.graph.input}
    return {name: limits for name, limits in found.items() if limits is not None}


def _shown(node: Any, name: str, constant: Any) -> tuple[float, float] | None:
    others = [constant(other) for other in node.input if other != name]
    if not others or others[0] is None or not others[0].size:
        return None
    kind, value = node.op_type, others[0]
    most = float(abs(value).max())
    if kind == "Div" and node.input[0] == name:
        return _of_divisor(most)
    if kind == "Mul" and most > 0:
        return _of_divisor(1 / most)
    if kind in ("Sub", "Add") and value.size in (1, 3, 4):
        # The mean of a data set, of bytes or of fractions; a shift by one half or by one says as much.
        return _BYTES if most > 2 else _UNIT if most > 0 else None
    if kind == "Clip" and len(others) > 1 and others[1] is not None:
        return float(value.max()), float(others[1].max())
    if kind == "QuantizeLinear" and len(others) > 1 and others[1] is not None and float(others[1].min()) >= 0:
        zero, scale = float(others[1].max()), most
        return -zero * scale, (255 - zero) * scale
    return None


def _of_divisor(divisor: float) -> tuple[float, float] | None:
    # 127.5 is followed by a shift to -1..1; deviations of channels in bytes are around 58.
    return _BYTES if 20 < divisor < 260 else None


def golden_ranges(file: Path) -> dict[str, tuple[float, float]]:
    """The least and the largest value of each input in golden data.

    Raises:
        CheckpointError: they cannot be read.
    """
    import numpy as np

    found = {}
    for name, array in _inputs(file).items():
        low, high = float(array.min()), float(array.max())
        if np.isfinite([low, high]).all() and low < high:
            found[name] = (low, high)
    return found


def golden_spread(file: Path) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Mean and deviation of each element of each input in golden data of more than one case.

    Raises:
        CheckpointError: they cannot be read.
    """
    import numpy as np

    found = {}
    for name, array in _inputs(file).items():
        cases = array.reshape(len(array), -1).astype(np.float64)
        if len(cases) > 1 and cases.shape[1] <= _MOST_ELEMENTS and np.isfinite(cases).all():
            found[name] = (tuple(map(float, cases.mean(axis=0))), tuple(map(float, cases.std(axis=0))))
    return found


def _inputs(file: Path) -> dict[str, Array]:
    arrays = {key[3:]: array for key, array in read_npz(file).items() if key.startswith("in.")}
    return {name: array for name, array in arrays.items() if array.dtype.kind in "fiu" and array.ndim and array.size}
