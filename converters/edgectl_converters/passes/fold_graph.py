"""Puts the processing of frames in front of an ONNX graph's inputs. Weights outside of the graph stay there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgectl_converters.files import link_or_copy
from edgectl_converters.sources.onnx_graph import external_locations
from edgectl_protos.domain.program import Anchor, Fit

__all__ = ["Folding", "fold_into_graph"]


@dataclass(frozen=True, slots=True)
class Folding:
    """Frames of bytes `shape` [(1,) …, H, W, C] to floats `planes` [(1,) …, C, H, W]: resized where it says how, then
    (x - offset) / scale by channel.
    """

    shape: tuple[int, ...]
    planes: tuple[int, ...]
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    resize: tuple[Fit, Anchor] | None


def fold_into_graph(graph: Path, out: Path, foldings: Mapping[str, Folding]) -> None:
    """Write the graph with its inputs changed; weights beside it are linked beside the new one."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(graph), load_external_data=False)
    prologue: list[Any] = []
    for port, folding in foldings.items():
        inner = f"{port}__planes"
        _rename(model.graph, port, inner)
        value = next(value for value in model.graph.input if value.name == port)
        value.CopyFrom(helper.make_tensor_value_info(port, TensorProto.UINT8, folding.shape))
        prologue += _prologue(model.graph, port, inner, folding)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*prologue, *nodes])
    onnx.save(model, str(out))
    for name in external_locations(model):
        if not (out.parent / name).exists():
            link_or_copy(graph.parent / name, out.parent / name)


def _rename(graph: Any, old: str, new: str) -> None:
    """Let every node, in subgraphs too, read another name."""
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                _rename(inner, old, new)


def _prologue(graph: Any, port: str, result: str, folding: Folding) -> list[Any]:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    current = port

    def constant(name: str, value: Any) -> str:
        graph.initializer.append(numpy_helper.from_array(value, f"{port}__{name}"))
        return f"{port}__{name}"

    def add(kind: str, inputs: list[str], name: str, **attributes: Any) -> None:
        nonlocal current
        output = f"{port}__{name}"
        nodes.append(helper.make_node(kind, [current, *inputs], [output], name=output, **attributes))
        current = output

    height, width, channels = folding.shape[-3:]
    frames = math.prod(folding.shape[:-3])
    if len(folding.shape) != 4:
        add("Reshape", [constant("frames", np.array([frames, height, width, channels], np.int64))], "frame")
    add("Transpose", [], "bytes", perm=[0, 3, 1, 2])
    add("Cast", [], "floats", to=TensorProto.FLOAT)
    if folding.resize is not None:
        _resize(add, constant, folding, frames)
    offset = np.array(folding.offset, np.float32)
    # As the executor: a division costs three times a multiplication.
    factor = np.float32(1) / np.array(folding.scale, np.float32)
    add("Sub", [constant("offset", offset.reshape(1, -1, 1, 1))], "centred")
    add("Mul", [constant("factor", factor.reshape(1, -1, 1, 1))], "scaled")
    if len(folding.planes) != 4:
        add("Reshape", [constant("planes_shape", np.array(folding.planes, np.int64))], "shaped")
    nodes[-1].output[0] = result
    return nodes


def _resize(add: Any, constant: Any, folding: Folding, frames: int) -> None:
    import numpy as np

    assert folding.resize is not None
    fit, anchor = folding.resize
    rows, columns, channels = folding.shape[-3:]
    height, width = folding.planes[-2:]
    inner = (height, width)
    if fit is Fit.PAD:
        ratio = max(columns / width, rows / height)
        inner = (int(rows / ratio), int(columns / ratio))
    if inner != (rows, columns):
        sizes = constant("sizes", np.array([frames, channels, *inner], np.int64))
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        # No region and no factors: sizes.
        add("Resize", ["", "", sizes], "resized", **how)
    spare = (height - inner[0], width - inner[1])
    if any(spare):
        before = spare if anchor is Anchor.BOTTOM_RIGHT else (spare[0] // 2, spare[1] // 2)
        after = (spare[0] - before[0], spare[1] - before[1])
        add("Pad", [constant("pads", np.array([0, 0, *before, 0, 0, *after], np.int64))], "padded")
