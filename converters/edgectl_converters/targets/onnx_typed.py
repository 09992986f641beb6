"""Writes a component as a strongly typed ONNX graph: every type that a builder needs stands in it.

fp32 as it is; fp16 and bf16 by casts; int8 by Q/DQ pairs around layers with constant weights. Shapes are those of the
ports, and nodes are named after their operators.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_converters.targets.base import BuildRequest
from edgectl_converters.targets.onnx_files import external_files
from edgectl_converters.targets.onnx_symmetric import quantise_symmetric
from edgectl_converters.targets.onnx_types import (
    HALVES,
    check_pairs,
    check_ports,
    halve,
    heavy_nodes,
    name_nodes,
    read_fixed,
)

__all__ = ["ENTRY", "shapes_of", "write_typed"]

ENTRY = "model.onnx"
_SIDE = "model.data"


def shapes_of(request: BuildRequest) -> str:
    """The shapes of the component's inputs, for a builder's profile: JSON, `{"x": [1, 3, 480, 640]}`."""
    return json.dumps({spec.name: list(spec.shape) for spec in request.inputs}, sort_keys=True)


def write_typed(request: BuildRequest, folder: Path, progress: Callable[[str], None]) -> dict[str, str]:
    """Write `model.onnx`, with its weights beside it where the graph had them so; what to say of it in the provenance.

    Raises:
        RouteError: a port is not of a fixed shape, or of a type that engines do not take, or nothing of it can be int8.
        ParityError: too much of it is lost in int8.
        BundleCorruptError: the graph cannot be read.
        OperatorError: a graph inside the graph, in a half type; Q/DQ pairs that engines do not take.
    """
    check_ports(request.runtime, (*request.inputs, *request.outputs))
    model = read_fixed(Path(request.graph), request.inputs)
    beside = bool(external_files(Path(request.graph)))
    half = HALVES.get(request.scheme)
    heavy = len(heavy_nodes(model))
    settings = {"weight_carrying_nodes": str(heavy)}
    if half is not None:
        progress(f"writing {request.scheme} into {request.component}")
        settings["halved_nodes"] = str(halve(model, half))
    elif request.scheme == "int8":
        with tempfile.TemporaryDirectory(prefix="edgectl-") as work:
            fixed = Path(work) / "fixed.onnx"
            _save(model, fixed, beside=beside)
            settings |= quantise_symmetric(request, fixed, Path(work) / "quantised.onnx", progress)
            model = read_fixed(Path(work) / "quantised.onnx", request.inputs)
    check_pairs(request.runtime, model)
    name_nodes(model)
    _save(model, folder / ENTRY, beside=beside)
    return settings


def _save(model: Any, path: Path, *, beside: bool) -> None:
    import onnx

    onnx.save(model, str(path), save_as_external_data=beside, location=_SIDE if beside else None)
