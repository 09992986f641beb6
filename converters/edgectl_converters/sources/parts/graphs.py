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

from edgectl_converters.sources.onnx_graph import graph_files, graph_inputs, read_graph, spec_of, write_graph
from edgectl_converters.sources.onnx_operators import check_operators, stored_schemes
from edgectl_converters.sources.onnx_shapes import fix_inputs, fix_outputs
from edgectl_protos.domain.artifact import TensorSpec, safe_path
from edgectl_protos.domain.errors import BundlePathError, CheckpointError

__all__ = ["EXPORT_KEY", "Part", "inside", "read_part", "write_part"]

EXPORT_KEY = "edgectl.export"
"""Metadata of a graph: an id of the export that it belongs to."""


@dataclass(frozen=True, slots=True)
class Part:
    """One graph. `files` are the graph and its external data; `dims` sizes of its named free dimensions; `stored`
    what it is already (int8, fp16), empty for fp32.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    dims: Mapping[str, int]
    parameters: int
    export: str
    stored: str

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
    inputs = graph_inputs(model)
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
        stored=next(iter(stored_schemes(model)), ""),
    )


def write_part(part: Part, out: Path) -> str:
    """Write the graph, whole and of fixed shapes, as `<name>.onnx`; its path in `out`.

    Raises:
        OperatorError: it has an operator that its opset does not define, or draws its own noise.
        CheckpointCorruptError: it is not valid.
    """
    model = read_graph(part.path, weights=True)
    check_operators(model)
    _fix(model, part.path.name, part.dims)
    file = out / f"{part.name}.onnx"
    write_graph(model, part.path, file)
    return file.name


def _fix(model: Any, what: str, dims: Mapping[str, int]) -> None:
    """Give every dimension of the ports its size."""
    for left in (*fix_inputs(model, dims, {}), *fix_outputs(model)):
        named = f"{left.name!r}" if left.name else f"number {left.axis}"
        raise CheckpointError(
            f"{what}: the dimension {named} of {left.port!r} is free, and nothing says its size",
            hint=f"write it in the policy file: dims: {{{left.name}: SIZE}}"
            if left.name
            else "export the graph with fixed shapes",
        )
