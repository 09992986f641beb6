"""The ONNX graphs of a policy in parts: read without weights, their ports with every dimension fixed, written whole.

A free dimension takes the size that the policy file's `dims` gives its name; the first one of an input, the batch, is 1
unless it is named there. Free dimensions of outputs follow from those of the inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgectl_converters.sources.onnx_graph import check_operators, graph_files, load_graph, read_graph, spec_of
from edgectl_protos.domain.artifact import TensorSpec, safe_path
from edgectl_protos.domain.errors import BundlePathError, CheckpointCorruptError, CheckpointError

__all__ = ["EXPORT_KEY", "Part", "inside", "read_part", "write_part"]

EXPORT_KEY = "edgectl.export"
"""Metadata of a graph: an id of the export that it belongs to."""

# Protobuf writes no more than 2 GiB; weights beyond go beside the graph.
_MAX_INLINE_BYTES = (1 << 31) - (1 << 24)


@dataclass(frozen=True, slots=True)
class Part:
    """One graph. `files` are the graph and its external data; `dims` sizes of its named free dimensions."""

    name: str
    path: Path
    files: tuple[Path, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    dims: Mapping[str, int]
    parameters: int
    export: str

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(file.stat().st_size for file in self.files)


def inside(root: Path, path: str, what: str) -> Path:
    """A file of the policy's folder.

    Raises:
        CheckpointError: the path leaves the folder, or there is no such file.
    """
    try:
        file = root / safe_path(path)
        # A link may lead out where the path does not.
        if not file.resolve().is_relative_to(root.resolve()):
            raise BundlePathError("")
    except (BundlePathError, ValueError, OSError, RuntimeError) as exc:
        raise CheckpointError(
            f"{what} names {path!r}, which is outside the policy's folder", hint="keep all parts in one folder"
        ) from exc
    if not file.is_file():
        raise CheckpointError(f"{what} names {path!r}, which is missing", hint=f"put it into {root}")
    return file


def read_part(name: str, path: Path, dims: Mapping[str, int]) -> Part:
    """The ports of a graph.

    Raises:
        CheckpointCorruptError: it is no whole ONNX graph, or its weights are not beside it.
        CheckpointError: a port is of a type that edgectl does not feed, or has a free dimension that nothing fixes.
    """
    model = read_graph(path)
    known = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in known]
    if not model.graph.output:
        raise CheckpointError(f"{path.name} has no outputs")
    _fix(model, path.name, dims)
    return Part(
        name=name,
        path=path,
        files=tuple(graph_files(path, model)),
        inputs=tuple(spec_of(value) for value in inputs),
        outputs=tuple(spec_of(value) for value in model.graph.output),
        dims=dims,
        parameters=sum(math.prod(initializer.dims) for initializer in model.graph.initializer),
        export=next((entry.value for entry in model.metadata_props if entry.key == EXPORT_KEY), ""),
    )


def write_part(part: Part, out: Path) -> str:
    """Write the graph, whole and of fixed shapes, as `<name>.onnx`; its path in `out`.

    Raises:
        OperatorError: it has an operator that its opset does not define.
        CheckpointCorruptError: it is not valid.
    """
    import onnx

    model = load_graph(part.path)
    check_operators(model, model.graph, evaluated=False)
    _fix(model, part.path.name, part.dims)
    file = out / f"{part.name}.onnx"
    large = sum(len(initializer.raw_data) for initializer in model.graph.initializer) > _MAX_INLINE_BYTES
    try:
        if not large:
            onnx.checker.check_model(model)
        onnx.save(model, str(file), save_as_external_data=large, location=f"{file.name}.data" if large else None)
        if large:
            onnx.checker.check_model(str(file))
    except (onnx.checker.ValidationError, UnicodeDecodeError, ValueError) as exc:
        text = " ".join(str(exc).split())[:300]
        raise CheckpointCorruptError(f"{part.path.name} is not a valid graph: {text}") from exc
    return file.name


def _fix(model: Any, what: str, dims: Mapping[str, int]) -> None:
    """Give every dimension of the ports its size."""
    sizes = dict(dims)
    known = {initializer.name for initializer in model.graph.initializer}
    changed = False
    for value in model.graph.input:
        if value.name in known:
            continue
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value:
                continue
            name = dim.dim_param
            size = sizes.get(name, 1 if axis == 0 else 0) if name else int(axis == 0)
            if not size:
                raise _free(what, value.name, axis, name)
            sizes.setdefault(name, size)
            dim.dim_value = size
            changed = True
    if changed:
        # What was inferred for free dimensions may say otherwise.
        del model.graph.value_info[:]
    _fix_outputs(model, what, sizes)


def _fix_outputs(model: Any, what: str, sizes: Mapping[str, int]) -> None:
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.dim_value and dim.dim_param and sizes.get(dim.dim_param):
                dim.dim_value = sizes[dim.dim_param]
    if not any(_open(value) for value in model.graph.output):
        return
    inferred = _inferred_outputs(model)
    for value in model.graph.output:
        if not _open(value):
            continue
        kind, found = value.type.tensor_type, inferred.get(value.name, ())
        shape = kind.shape
        if not kind.HasField("shape"):
            if value.name not in inferred:
                raise CheckpointError(f"{what}: {value.name!r} has no shape", hint="export the graph with fixed shapes")
            shape.SetInParent()
            for _ in found:
                shape.dim.add()
        for axis, dim in enumerate(shape.dim):
            if dim.dim_value:
                continue
            size = found[axis] if axis < len(found) else 0
            if not size:
                raise _free(what, value.name, axis, dim.dim_param)
            dim.dim_value = size


def _open(value: Any) -> bool:
    kind = value.type.tensor_type
    return not kind.HasField("shape") or any(not dim.dim_value for dim in kind.shape.dim)


def _inferred_outputs(model: Any) -> dict[str, tuple[int, ...]]:
    import onnx

    copy = type(model)()
    copy.CopyFrom(model)
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        found = onnx.shape_inference.infer_shapes(copy, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return {}
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in found.graph.output
        if value.type.tensor_type.HasField("shape")
    }


def _free(what: str, port: str, axis: int, name: str) -> CheckpointError:
    named = f"{name!r}" if name else f"number {axis}"
    return CheckpointError(
        f"{what}: the dimension {named} of {port!r} is free, and nothing says its size",
        hint=f"write it in the policy file: dims: {{{name}: SIZE}}" if name else "export the graph with fixed shapes",
    )
