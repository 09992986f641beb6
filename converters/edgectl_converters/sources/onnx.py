"""Any ONNX graph: its inputs are observations as they are, its first output is the action.

Without golden data, the graph's own reference evaluation on seeded inputs is the golden data. Free dimensions are set
to 1. A file `<name>.golden.npz` beside the graph, with `in.<input>` and `out.<output>`, is taken instead.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_converters.card import CheckpointCard, Sha256, digest_of_files, sha256_of
from edgectl_protos.domain.artifact import DType, safe_path
from edgectl_protos.domain.errors import (
    BundlePathError,
    CheckpointCorruptError,
    CheckpointError,
    NonFiniteError,
    OperatorError,
)
from edgectl_protos.domain.loop import Feature, FeatureKind, Policy

__all__ = ["card", "export", "input_shapes", "sniff"]

_DTYPES = {
    1: DType.FLOAT32,
    2: DType.UINT8,
    3: DType.INT8,
    6: DType.INT32,
    7: DType.INT64,
    9: DType.BOOL,
    10: DType.FLOAT16,
    11: DType.FLOAT64,
}


_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_MAX_ELEMENTS = 1 << 30
# What a graph that is wrong in itself makes the evaluator raise.
_EVALUATOR_ERRORS = (ArithmeticError, AttributeError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)


def sniff(path: Path) -> bool:
    """A file ending in .onnx."""
    return path.is_file() and path.suffix == ".onnx"


def golden_file(path: Path) -> Path | None:
    """Golden data that lies beside the graph."""
    file = path.with_suffix(".golden.npz")
    return file if file.exists() else None


def checkpoint_files(path: Path) -> list[Path]:
    """The graph, its external data, and its golden data."""
    model = _read(path)
    files = {path, *((golden,) if (golden := golden_file(path)) else ())}
    for initializer in model.graph.initializer:
        for entry in initializer.external_data:
            if entry.key == "location":
                files.add(_external(path, entry.value))
    return sorted(files)


def card(path: Path, sha256: Sha256 = sha256_of) -> CheckpointCard:
    """Inputs, outputs and size of the graph."""
    model = _read(path)
    initializers = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    if not inputs or not model.graph.output:
        raise CheckpointError(f"{path.name} has no inputs or no outputs")
    free = [value.name for value in (*inputs, *model.graph.output) if _is_free(value)]
    observations = tuple(_feature(value, FeatureKind.TENSOR) for value in inputs)
    action = _feature(model.graph.output[0], FeatureKind.ACTION)
    # [1, chunk, action …] is a chunk; anything of lower rank is one action.
    dims = _dims(model.graph.output[0])
    chunk = dims[1] if len(dims) >= 3 and dims[0] == 1 else 1
    shape = dims[2:] if len(dims) >= 3 and dims[0] == 1 else (dims[1:] if len(dims) == 2 and dims[0] == 1 else dims)
    golden = golden_file(path)
    files = checkpoint_files(path)
    notes = [f"golden data: {golden.name}" if golden else "no golden data: the reference evaluator makes it"]
    notes += [f"free dimensions set to 1: {', '.join(free)}"] if free else []
    return CheckpointCard(
        path=path,
        format="onnx",
        policy=Policy(
            type="onnx",
            observations=observations,
            action=Feature(action.name, FeatureKind.ACTION, action.dtype, shape, action.tensor),
            chunk_size=chunk,
            n_action_steps=1,
            pre=(),
            post=(),
            arrays="",
        ),
        parameters=sum(math.prod(initializer.dims) for initializer in model.graph.initializer),
        size_bytes=sum(file.stat().st_size for file in files if file != golden),
        toolchain="host",
        digest=digest_of_files(path.parent, files, sha256),
        notes=tuple(notes),
    )


def export(request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
    """The graph with static shapes as full.onnx, and golden.npz.

    Raises:
        OperatorError: the graph has an operator that its opset does not define.
        CheckpointCorruptError: the graph is not valid, or cannot be evaluated.
        NonFiniteError: an output holds NaN or infinity.
    """
    import onnx

    path, out = Path(request["checkpoint"]), Path(request["out"])
    progress("checking the graph")
    model = _load_with_weights(path)
    golden = golden_file(path)
    _check_operators(model, model.graph, evaluated=golden is None)
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if not dim.dim_value:
                dim.dim_value = 1
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, UnicodeDecodeError) as exc:
        raise CheckpointCorruptError(f"{path.name} is not a valid graph: {str(exc).splitlines()[0]}") from exc
    onnx.save(model, str(out / "full.onnx"))
    if golden is not None:
        shutil.copyfile(golden, out / "golden.npz")
        reference, kind = f"{golden.name}", "recorded"
    else:
        progress("computing golden outputs with the reference evaluator")
        _write_golden(model, path.name, request["observations"], request["features"], out / "golden.npz")
        reference, kind = f"onnx {onnx.__version__} ReferenceEvaluator", request["inputs_kind"]
    document = {
        "reference": reference,
        "versions": {"onnx": onnx.__version__},
        "toolchain": "host",
        "lock": request["lock"],
        "inputs_kind": kind,
    }
    (out / "export.json").write_text(json.dumps(document))
    return document


def input_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes of the graph's inputs as they are fed, the free dimensions set."""
    return {value.name: list(_dims(value)) for value in _read(path).graph.input}


def _write_golden(model: Any, name: str, observations: str, features: list[dict[str, Any]], golden: Path) -> None:
    import numpy as np
    from onnx.reference import ReferenceEvaluator

    with np.load(observations, allow_pickle=False) as file:
        raw = {key: file[key] for key in file.files}
    outputs = [output.name for output in model.graph.output]
    cases = []
    try:
        evaluator = ReferenceEvaluator(model)
        with np.errstate(all="ignore"):
            for case in range(len(next(iter(raw.values())))):
                feeds = {f["tensor"]: raw[f["name"]][case].reshape(f["tensor_shape"]) for f in features}
                cases.append(evaluator.run(None, feeds))
    except _EVALUATOR_ERRORS as exc:
        raise CheckpointCorruptError(
            f"the reference evaluator cannot run {name}: {type(exc).__name__}: {exc}",
            hint=f"put golden data beside it: {Path(name).stem}.golden.npz with in.<input> and out.<output>",
        ) from exc
    arrays: Any = {f"in.{key}": values for key, values in raw.items()}
    for index, output in enumerate(outputs):
        values = np.stack([case[index] for case in cases])
        if not np.isfinite(values).all():
            raise NonFiniteError(
                f"{name} gives {int((~np.isfinite(values)).sum())} values of {output!r} that are not finite, "
                "by the reference evaluator already",
                hint="give it inputs from its own world: --footage DIR",
            )
        arrays[f"out.{output}"] = values
    np.savez(golden, **arrays)


def _check_operators(model: Any, graph: Any, *, evaluated: bool) -> None:
    """Refuse what no opset defines; `evaluated`: and what the reference evaluator cannot run."""
    import onnx

    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    own = {(function.domain, function.name) for function in model.functions}
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                _check_operators(model, inner, evaluated=evaluated)
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


def _read(path: Path) -> Any:
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


def _load_with_weights(path: Path) -> Any:
    """The graph and its external data, whose paths were checked when the card was made."""
    import onnx

    model = _read(path)
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


def _dims(value: Any) -> tuple[int, ...]:
    dims = tuple(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)
    if min(dims, default=1) < 1 or math.prod(dims) > _MAX_ELEMENTS:
        raise CheckpointError(f"{value.name!r} has the shape {list(dims)}, which cannot be fed")
    return dims


def _is_free(value: Any) -> bool:
    return any(not dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _feature(value: Any, kind: FeatureKind) -> Feature:
    code = value.type.tensor_type.elem_type
    if code not in _DTYPES:
        raise CheckpointError(f"{value.name!r} has the element type {code}, which edgectl does not feed")
    dims = _dims(value)
    shape = dims[1:] if dims and dims[0] == 1 else dims
    return Feature(value.name, kind, _DTYPES[code], shape, value.name)
