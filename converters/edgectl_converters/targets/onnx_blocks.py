"""Products with constant matrices, their weights in blocks of four bits: the runtime's own MatMulNBits.

Each block of a column has one scale, and its weights stand for -8 to 7 times it, so that the largest of them is exact.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["BITS", "BLOCK", "matrices", "to_blocks"]

BITS, BLOCK = 4, 32
_ZERO = 1 << (BITS - 1)
_DOMAIN = "com.microsoft"
_IN_FLOAT32 = 1
"""MatMulNBits' level of accuracy at which activations stay float32; without it they may be rounded to eight bits."""


def matrices(model: Any) -> dict[str, list[str]]:
    """The outputs of products with a constant matrix, by the name of the matrix."""
    constants = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    found: dict[str, list[str]] = {}
    for node in model.graph.node:
        if _is_product(node) and node.input[1] in constants:
            found.setdefault(node.input[1], []).append(node.output[0])
    return found


def to_blocks(model: Any, names: Collection[str]) -> Any:
    """A copy of the model with these matrices in blocks."""
    import onnx
    from onnx import helper, numpy_helper

    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if not _is_product(node) or node.input[1] not in names:
            nodes.append(node)
            continue
        weight, out = node.input[1], node.output[0]
        # The two uses of one matrix may want it differently.
        stored = f"{weight}.{'rows' if _turned(node) else 'columns'}"
        values = numpy_helper.to_array(constants[weight])
        columns = values if _turned(node) else values.T
        if f"{stored}.blocks" not in constants:
            blocks, scales = pack(columns)
            for name, array in ((f"{stored}.blocks", blocks), (f"{stored}.scales", scales)):
                constants[name] = numpy_helper.from_array(array, name)
                graph.initializer.append(constants[name])
        biased = len(node.input) > 2
        product = f"{out}.product" if biased else out
        inputs = [node.input[0], f"{stored}.blocks", f"{stored}.scales"]
        shape = {"K": columns.shape[1], "N": columns.shape[0], "bits": BITS, "block_size": BLOCK}
        nodes.append(
            helper.make_node(
                "MatMulNBits", inputs, [product], domain=_DOMAIN, accuracy_level=_IN_FLOAT32, name=out, **shape
            )
        )
        if biased:
            nodes.append(helper.make_node("Add", [product, node.input[2]], [out]))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input} | {port.name for port in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    if _DOMAIN not in {entry.domain for entry in made.opset_import}:
        made.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return made


def pack(columns: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Float32 [columns, depth] as bytes [columns, blocks, BLOCK / 2], the even one low, and float32 scales."""
    import numpy as np

    count, depth = columns.shape
    padded = np.pad(columns.astype(np.float32), ((0, 0), (0, -depth % BLOCK))).reshape(count, -1, BLOCK)
    largest = np.take_along_axis(padded, np.abs(padded).argmax(axis=2, keepdims=True), axis=2)
    scales = largest / -_ZERO
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(scales == 0, 0, np.rint(padded / scales))
    levels = np.clip(steps + _ZERO, 0, 2**BITS - 1).astype(np.uint8)
    return levels[:, :, ::2] | levels[:, :, 1::2] << BITS, scales.reshape(count, -1).astype(np.float32)


def _is_product(node: Any) -> bool:
    if node.op_type == "Gemm":
        given = {attribute.name: attribute.f or attribute.i for attribute in node.attribute}
        return not given.get("transA") and given.get("alpha", 1) == given.get("beta", 1) == 1
    return node.op_type == "MatMul" and not node.domain


def _turned(node: Any) -> bool:
    return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
