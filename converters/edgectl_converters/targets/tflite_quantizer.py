"""Quantises the layers of a `.tflite`, and no other operator. Runs in a toolchain.

Facts: products of two activations that are quantised dynamically give NaN on a trained policy; the delegate that runs
such files takes no dynamic int8 of depthwise and transposed convolutions and no int4 of any convolution, and leaves
them to slow kernels; a halved embedding table would be widened whole at every call. The quantizer averages the ranges
of calls, which cuts off what tells calls apart: here they are the extremes of all calls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgectl_converters.tflite_graph import LAYERS, TfliteGraph

__all__ = ["BITS", "STORED", "Layers", "layers_of", "outputs_of", "quantised", "ranges_of"]

Layers = Mapping[str, Sequence[tuple[str, str]]]
"""By name: kind and scope of the operators that share the weights."""

BITS: dict[str, dict[str, int]] = {
    "w16/a32": dict.fromkeys(LAYERS, 16),
    "int8": dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), 8),
    "int8-dynamic": {"CONV_2D": 8, "FULLY_CONNECTED": 8},
    "w4a8-dynamic": {"CONV_2D": 8, "FULLY_CONNECTED": 4},
}
"""By scheme: the width of the weights of each kind of layer that it changes."""
STORED = {16: "FLOAT16", 8: "INT8", 4: "INT4"}
_QUANTIZER_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}
_SIGNATURE = "serving_default"


def layers_of(data: bytes, scheme: str) -> dict[str, list[tuple[str, str]]]:
    """Layers that a scheme changes, by name: kind and scope of the operators that share the weights."""
    graph = TfliteGraph(data)
    found: dict[int, list[tuple[str, str]]] = {}
    for kind, one in graph.operators:
        weights = graph.weights(one) if kind in BITS[scheme] else None
        if weights is not None:
            scope = bytes(graph.tensors[one.outputs[0]].name).decode()
            found.setdefault(weights.buffer, []).append((kind, scope))
    return {f"{kind}_{at}": members for at, members in enumerate(found.values()) for kind in {members[0][0]}}


def _recipe(scheme: str, layers: Layers) -> Any:
    """What tells the quantizer to change these layers and nothing else."""
    from ai_edge_quantizer import qtyping, recipe_manager

    recipe = recipe_manager.RecipeManager()
    for kind, bits in BITS[scheme].items():
        # The scope of an operator is the name of what it gives.
        scopes = [re.escape(f"{scope};") for members in layers.values() for name, scope in members if name == kind]
        where, named = f"^(?:{'|'.join(scopes)})$", qtyping.TFLOperationName[_QUANTIZER_NAMES.get(kind, kind)]
        if not scopes:
            continue
        if scheme == "int8":
            recipe.add_static_config(where, named, bits, bits)
        elif bits == 16:
            halves = recipe_manager.AlgorithmName.FLOAT_CASTING
            recipe.add_weight_only_config(where, named, bits, algorithm_key=halves)
        else:
            recipe.add_dynamic_config(where, named, bits)
    return recipe


def ranges_of(data: bytes, scheme: str, layers: Layers, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The smallest and largest value of each activation over all calls, by tensor."""
    from ai_edge_quantizer import calibrator
    from ai_edge_quantizer.utils import qsv_utils

    runs = calibrator.Calibrator(data, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    runs.calibrate({_SIGNATURE: [_narrowed(call) for call in calls]}, _recipe(scheme, layers))
    found: dict[str, Any] = runs.get_model_qsvs()
    return found


def quantised(data: bytes, scheme: str, layers: Layers, ranges: dict[str, Any]) -> bytes:
    """The file with these layers in the scheme; `ranges` are those of `ranges_of`, for a static one."""
    from ai_edge_quantizer import quantizer

    recipe = _recipe(scheme, layers)
    if not recipe.get_quantization_recipe():
        return data
    runs = quantizer.Quantizer(data, recipe.get_quantization_recipe())
    return bytes(runs.quantize(ranges or None, enable_progress_bar=False, enable_progress_report=False).quantized_model)


def _narrowed(call: dict[str, Any]) -> dict[str, Any]:
    """What enters, as the converter stores it."""
    return {name: values.astype("int32") if values.dtype == "int64" else values for name, values in call.items()}


def outputs_of(data: bytes, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a file gives for each call, by output."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=data, num_threads=1).get_signature_runner(_SIGNATURE)
    return [dict(runner(**_narrowed(call))) for call in calls]
