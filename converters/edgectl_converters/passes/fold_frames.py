"""Folds the normalisation and layout of frames into the graph: uint8 [1, H, W, 3] in, the rest as it was.

Frames then stay bytes until the first convolution, and the runtime fuses what it can. The order is transpose (of
bytes, a quarter of the memory), cast, multiply, add: the same float32 operations as outside, so the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from edgectl_protos.domain.loop import Feature, FeatureKind

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["fold_frames"]


def fold_frames(model: Any, features: Iterable[Feature], arrays: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """Change the ONNX model in place; returns the names of the features folded."""
    from onnx import TensorProto, helper, numpy_helper

    folded = []
    prologue = []
    for feature in features:
        if feature.kind is not FeatureKind.VISUAL or f"pre.{feature.name}.mul" not in arrays:
            continue
        name = feature.tensor
        taken = f"{name}__normalised"
        for node in model.graph.node:
            for index, used in enumerate(node.input):
                if used == name:
                    node.input[index] = taken
        value = next(value for value in model.graph.input if value.name == name)
        value.CopyFrom(helper.make_tensor_value_info(name, TensorProto.UINT8, [1, *feature.shape]))
        for part in ("mul", "add"):
            constant = arrays[f"pre.{feature.name}.{part}"].reshape(1, -1, 1, 1)
            model.graph.initializer.append(numpy_helper.from_array(constant, f"{name}__{part}"))
        prologue += [
            helper.make_node("Transpose", [name], [f"{name}__planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Cast", [f"{name}__planes"], [f"{name}__float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}__float", f"{name}__mul"], [f"{name}__scaled"]),
            helper.make_node("Add", [f"{name}__scaled", f"{name}__add"], [taken]),
        ]
        folded.append(feature.name)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*prologue, *nodes])
    return folded
