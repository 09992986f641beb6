"""Reads and writes ONNX files that may be anything: truncated, altered, newer, with weights elsewhere. Never runs them.

Weights beside a graph stay beside it: they are copied, never read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile
from typing import Any

from edgectl_protos.domain.artifact import DType, TensorSpec, safe_path
from edgectl_protos.domain.errors import (
    BundlePathError,
    CheckpointCorruptError,
    CheckpointError,
    CheckpointVersionError,
)

__all__ = [
    "STANDARD_DOMAIN",
    "external_locations",
    "graph_files",
    "graph_inputs",
    "is_fed",
    "nodes_of",
    "read_graph",
    "save_graph",
    "spec_of",
    "subgraphs_of",
    "type_name",
    "write_graph",
]

STANDARD_DOMAIN = "ai.onnx"
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
    12: DType.UINT32,
    13: DType.UINT64,
}
_CONTAINERS = {
    "sequence_type": "sequence",
    "map_type": "map",
    "optional_type": "optional",
    "sparse_tensor_type": "sparse tensor",
}
_MAX_ELEMENTS = 1 << 30
_SMALL_BYTES = 1 << 16
"""Constants that shape inference may look at are smaller."""
_DATA_FIELDS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def read_graph(path: Path, *, weights: bool = False) -> Any:
    """The graph without its external data; without `weights` the larger constants are empty too: a look needs none.

    Raises:
        CheckpointCorruptError: it is none, or not whole.
        CheckpointVersionError: it is newer than the onnx package here.
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
    _check_versions(model, path.name)
    if not weights:
        for tensor in model.graph.initializer:
            if tensor.ByteSize() > _SMALL_BYTES:
                for name in _DATA_FIELDS:
                    tensor.ClearField(name)
    return model


def _check_versions(model: Any, name: str) -> None:
    import onnx

    takes = onnx.defs.onnx_opset_version()
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", STANDARD_DOMAIN)), default=0)
    for what, version, known in (("IR version", model.ir_version, int(onnx.IR_VERSION)), ("opset", opset, takes)):
        if version > known:
            raise CheckpointVersionError(
                f"{name} is written in ONNX {what} {version}; onnx {onnx.__version__} here reads up to {known}",
                hint=f"export it for opset {takes} or lower, or take an onnx after {onnx.__version__} that reads "
                f"{what} {version}: pip install --upgrade onnx",
            )


def graph_inputs(model: Any) -> list[Any]:
    """What is fed: old graphs list their constants as inputs too."""
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    return [value for value in model.graph.input if value.name not in constants]


def subgraphs_of(node: Any) -> Iterator[Any]:
    """The bodies of loops and branches."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def nodes_of(graph: Any) -> Iterator[Any]:
    """Every node, those of loops and branches too."""
    for node in graph.node:
        yield node
        for inner in subgraphs_of(node):
            yield from nodes_of(inner)


def type_name(value: Any) -> str:
    """The element type of an input or output, as ONNX names it, or what it is instead of a tensor."""
    from onnx import TensorProto

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return _CONTAINERS.get(kind, "unknown type")
    try:
        name: str = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    except ValueError:
        return f"element type {value.type.tensor_type.elem_type}"
    return name.lower()


def is_fed(value: Any) -> bool:
    """Whether it is a tensor of a type that edgectl feeds."""
    return value.type.WhichOneof("value") == "tensor_type" and value.type.tensor_type.elem_type in _DTYPES


def spec_of(value: Any) -> TensorSpec:
    """Name, type and shape of an input or output, free dimensions -1.

    Raises:
        CheckpointError: it is of a type or shape that cannot be fed.
    """
    if not is_fed(value):
        name = type_name(value)
        raise CheckpointError(
            f"{value.name!r} is of the type {name}, which edgectl does not feed",
            hint="tokenise outside of the graph: a policy.yaml with a tokenise step, see docs/policy-file.md"
            if name == "string"
            else f"export the graph with another type: {', '.join(dtype.value for dtype in _DTYPES.values())}",
        )
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        raise CheckpointError(f"{value.name!r} has no shape", hint="export the graph with fixed shapes")
    dims = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
    if min(dims, default=0) < -1 or math.prod(dims) > _MAX_ELEMENTS:
        raise CheckpointError(f"{value.name!r} has the shape {list(dims)}, which cannot be fed")
    return TensorSpec(value.name, _DTYPES[kind.elem_type], dims)


def external_locations(model: Any) -> list[str]:
    """Paths beside the graph that hold its weights."""
    tensors = [*model.graph.initializer]
    for node in nodes_of(model.graph):
        tensors += [tensor for inner in subgraphs_of(node) for tensor in inner.initializer]
        tensors += [tensor for attribute in node.attribute for tensor in (attribute.t, *attribute.tensors)]
    return sorted({entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"})


def graph_files(path: Path, model: Any) -> list[Path]:
    """The graph and its external data.

    Raises:
        CheckpointError: it keeps weights outside of its folder.
        CheckpointCorruptError: weights are missing, or cut off.
    """
    files = {location: _external(path, location) for location in external_locations(model)}
    for tensor in model.graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if "location" in entries:
            _check_length(entries, files[entries["location"]], f"{tensor.name!r} of {path.name}")
    return sorted({path, *files.values()})


def _external(path: Path, location: str) -> Path:
    try:
        file = path.parent / safe_path(location)
        # A link may lead out where the path does not.
        if not file.resolve().is_relative_to(path.parent.resolve()):
            raise BundlePathError("")
    except (BundlePathError, OSError, RuntimeError) as exc:
        raise CheckpointError(
            f"{path.name} keeps weights in {location!r}, which is outside its folder",
            hint="do not use this file; exporters write no such path",
        ) from exc
    if not file.is_file():
        raise CheckpointCorruptError(
            f"{path.name} keeps weights in {location!r}, which is not beside it", hint=f"copy it to {path.parent}"
        )
    return file


def _check_length(entries: dict[str, str], file: Path, what: str) -> None:
    try:
        end = int(entries.get("offset") or 0) + int(entries.get("length") or 0)
    except ValueError as exc:
        raise CheckpointCorruptError(f"the place of {what} in {file.name} is no number") from exc
    if end > file.stat().st_size:
        raise CheckpointCorruptError(
            f"{what} ends at byte {end} of {file.name}, which has {file.stat().st_size}", hint="copy the file again"
        )


def write_graph(model: Any, origin: Path, file: Path) -> None:
    """Write a graph that was read whole from `origin`, its external data beside it.

    Raises:
        CheckpointCorruptError: it is not valid.
    """
    import onnx

    for location in external_locations(model):
        target = file.parent / location
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            copyfile(origin.parent / location, target)
    if len(graph_inputs(model)) + len(model.graph.initializer) > len(model.graph.input):
        # Before this version every constant is an input too, which exporters forgot.
        model.ir_version = max(model.ir_version, 4)
    save_graph(model, file)
    try:
        # From the file: a graph of more than 2 GB is checked there only.
        onnx.checker.check_model(str(file))
    except (onnx.checker.ValidationError, UnicodeDecodeError) as exc:
        text = " ".join(str(exc).split())[:300]
        raise CheckpointCorruptError(f"{origin.name} is not a valid graph: {text}") from exc


def save_graph(model: Any, file: Path) -> None:
    """Write a graph; where it outgrows what one file of protobuf holds, with weights beside it."""
    import onnx

    beside = model.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF
    onnx.save(model, str(file), save_as_external_data=beside, location=f"{file.name}.data" if beside else None)
