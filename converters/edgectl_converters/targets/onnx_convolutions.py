"""Folds what is done per channel after a convolution into it: batch normalisation, as exporters write it.

A quantizer then rounds once where it would round three times, and what is left is a chain that a runtime computes in
integers. Convolutions that share their weights, as cameras share a backbone, share the folded ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["fold_scales"]


def fold_scales(model: Any) -> None:
    """Change an ONNX model in place: Conv, then Mul and Add of a constant per channel, becomes one Conv."""
    from onnx import numpy_helper

    graph = model.graph
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        # A graph in a graph may read what is folded here.
        return
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[Any]] = {port.name: [None] for port in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    made: dict[tuple[str, ...], list[str]] = {}
    for conv in graph.node:
        if conv.op_type != "Conv" or any(name not in constants for name in conv.input[1:]):
            continue
        chain = _chain(conv, constants, readers)
        if not chain:
            continue
        # The same constants in the same roles give the same weights.
        key = (*conv.input[1:], *(word for node, name in chain for word in (node.op_type, name)))
        if key not in made:
            made[key] = [f"{conv.input[1]}.folded{len(made)}", f"{conv.input[1]}.bias{len(made)}"]
            own = [numpy_helper.to_array(constants[name]) for name in conv.input[1:]]
            steps = [(node.op_type, numpy_helper.to_array(constants[name])) for node, name in chain]
            graph.initializer.extend(map(numpy_helper.from_array, _folded(own, steps), made[key]))
        conv.input[:] = [conv.input[0], *made[key]]
        conv.output[0] = chain[-1][0].output[0]
        for node, _ in chain:
            del node.output[:]
    _keep(graph.node, lambda node: len(node.output) > 0)
    used = {name for node in graph.node for name in node.input} | {port.name for port in graph.output}
    _keep(graph.initializer, lambda tensor: tensor.name in used)


def _chain(conv: Any, constants: dict[str, Any], readers: dict[str, list[Any]]) -> list[tuple[Any, str]]:
    """The nodes that scale or shift the channels of what only they read, each with its constant."""
    shape = constants[conv.input[1]].dims
    found: list[tuple[Any, str]] = []
    last = conv.output[0]
    while True:
        node, *others = readers.get(last, [None])
        if node is None or others or node.op_type not in ("Mul", "Add"):
            return found
        constant = node.input[1] if node.input[0] == last else node.input[0]
        if constant not in constants or not _per_channel(constants[constant].dims, shape):
            return found
        found.append((node, constant))
        last = node.output[0]


def _per_channel(dims: Any, shape: Any) -> bool:
    """Whether a constant has one value, or one for each channel of a convolution with weights of this shape."""
    full = [1] * (len(shape) - len(dims)) + list(dims)
    return len(full) == len(shape) and full[1] in (1, shape[0]) and all(size == 1 for size in (full[0], *full[2:]))


def _folded(own: list[Array], steps: list[tuple[str, Array]]) -> tuple[Array, Array]:
    import numpy as np

    weights = own[0]
    bias = own[1] if len(own) > 1 else np.zeros(len(weights), weights.dtype)
    for kind, constant in steps:
        values = np.broadcast_to(constant.reshape(-1), len(weights))
        if kind == "Mul":
            weights, bias = weights * values.reshape(-1, *[1] * (weights.ndim - 1)), bias * values
        else:
            bias = bias + values
    return weights, bias


def _keep(items: Any, wanted: Any) -> None:
    kept = [item for item in items if wanted(item)]
    del items[:]
    items.extend(kept)
