"""Reads ONNX files that may be anything: truncated, altered, with weights elsewhere. Never runs them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from edgectl_protos.domain.artifact import DType, TensorSpec, safe_path
from edgectl_protos.domain.errors import BundlePathError, CheckpointCorruptError, CheckpointError, OperatorError

__all__ = ["check_operators", "dims_of", "free_values", "graph_files", "load_graph", "read_graph", "spec_of"]

_DTYPES = {
    1: DType.FLOAT32,
    2: DType.UINT8,
    3: DType.INT8,
    4: DType.UINT16,
    5: DType.INT16,
    6: DType.INT32,
    7: DType.INT64,
    9: DType.BOOL,
    10: DType.FLOAT16,
    11: DType.FLOAT64,
}
_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_MAX_ELEMENTS = 1 << 30


def check_operators(model: Any, graph: Any, *, evaluated: bool) -> None:
    """Refuse what no opset defines; `evaluated`: and what the reference evaluator cannot run."""
    import onnx

    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    own = {(function.domain, function.name) for function in model.functions}
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                check_operators(model, inner, evaluated=evaluated)
        if (node.domain, node.op_type) in own:
            continue
        where = f"the operator {node.op_type!r} (node {node.name or 'without a name'!r})"
        if node.domain not in _STANDARD_DOMAINS:
            if not evaluated:
                continue
            raise OperatorError(
                f"the graph has {where} of {node.domain!r}, which the reference evaluator does not know",
                hint="put golden data beside the graph, and choose a runtime that has the operator",
            )
        domain = node.domain or "ai.onnx"
        try:
            onnx.defs.get_schema(node.op_type, opsets.get(domain, 1), node.domain.removeprefix("ai.onnx"))
        except onnx.defs.SchemaError as exc:
            raise OperatorError(
                f"the graph has {where}, which ONNX opset {opsets.get(domain)} does not define",
                hint="export the graph again with standard operators",
            ) from exc


def read_graph(path: Path) -> Any:
    """The graph without its external data.

    Raises:
        CheckpointCorruptError: it is none, or not whole.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError) as exc:
        raise CheckpointCorruptError(
            f"{path.name} is not an ONNX graph, or is truncated: {exc}", hint="copy the file again"
        ) from exc
    names = [text for node in model.graph.node for text in (node.op_type, node.domain, node.name)]
    names += [value.name for value in (*model.graph.input, *model.graph.output, *model.graph.initializer)]
    # A damaged name is handed out as bytes where it is no UTF-8.
    damaged = any(isinstance(name, bytes) for name in names)
    if damaged or not model.graph.node or not model.opset_import:
        raise CheckpointCorruptError(
            f"{path.name} holds no whole graph: it is empty, truncated or altered", hint="copy the file again"
        )
    return model


def load_graph(path: Path) -> Any:
    """The graph and its external data, whose paths were checked when the card was made."""
    import onnx

    model = read_graph(path)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (onnx.checker.ValidationError, OSError, ValueError) as exc:
        raise CheckpointCorruptError(f"the external data of {path.name} cannot be read: {exc}") from exc
    return model


def _external(path: Path, location: str) -> Path:
    try:
        file = path.parent / safe_path(location)
    except BundlePathError as exc:
        raise CheckpointError(
            f"{path.name} keeps weights in {location!r}, which is outside its folder",
            hint="do not use this file; exporters write no such path",
        ) from exc
    if not file.exists():
        raise CheckpointCorruptError(f"{path.name} keeps weights in {location!r}, which is not beside it")
    return file


def dims_of(value: Any) -> tuple[int, ...]:
    """The shape of an input or output, its free dimensions 1.

    Raises:
        CheckpointError: it cannot be fed.
    """
    dims = tuple(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)
    if min(dims, default=1) < 1 or math.prod(dims) > _MAX_ELEMENTS:
        raise CheckpointError(f"{value.name!r} has the shape {list(dims)}, which cannot be fed")
    return dims


def free_values(model: Any) -> list[str]:
    """Names of inputs and outputs with free dimensions."""
    initializers = {initializer.name for initializer in model.graph.initializer}
    values = [value for value in (*model.graph.input, *model.graph.output) if value.name not in initializers]
    return [v.name for v in values if any(not dim.dim_value for dim in v.type.tensor_type.shape.dim)]


def spec_of(value: Any) -> TensorSpec:
    """Name, type and shape of an input or output, its free dimensions 1.

    Raises:
        CheckpointError: it is of a type or shape that cannot be fed.
    """
    code = value.type.tensor_type.elem_type
    if code not in _DTYPES:
        raise CheckpointError(f"{value.name!r} has the element type {code}, which edgectl does not feed")
    return TensorSpec(value.name, _DTYPES[code], dims_of(value))


def graph_files(path: Path, model: Any) -> list[Path]:
    """The graph and its external data.

    Raises:
        CheckpointError: it keeps weights outside of its folder.
        CheckpointCorruptError: weights are missing.
    """
    files = {path}
    for initializer in model.graph.initializer:
        for entry in initializer.external_data:
            if entry.key == "location":
                files.add(_external(path, entry.value))
    return sorted(files)
