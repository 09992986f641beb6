"""Reads a Core ML package back, in a process of its own, and compares what is in it with the weights that went in.

Facts: Core ML Tools leaves a weight as it is with no more than a line in its log, so what is stored is counted from the
package; it names weights anew where it splits or folds them, so each weight that went in is looked for among those of
its shape, of which all others are at least a deviation away; it runs nothing on Linux, but computes weights that are
stored in integers; it takes one scale for the same place of all matrices in a stack.

A weight's error is held to what rounding alone may do to it: half a step of its own channel or block, found from the
weight that went in, with the rounding of a scale in half precision.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgectl_protos.domain.errors import ToolchainError

__all__ = ["KINDS", "Package", "Stored", "Unlike", "read_apart", "weights_in"]

KINDS = {"linear": "weight", "conv": "weight", "conv_transpose": "weight", "matmul": "y", "gather": "x"}
"""Operators with weights, and which of their inputs those are."""
_COMPUTING = frozenset({"linear", "conv", "conv_transpose", "matmul", "scaled_dot_product_attention"})
_SAMPLE = 4096
_HALF, _SMALLEST = 2.0**-11, 2.0**-24
"""Half precision: the largest error of a rounding in parts of the value, and the step next to zero."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A weight of the package. `type` is how it is stored: fp32, fp16, int8, int4. `channel` and `summed` are the axes
    of what comes out and of what is summed over, `size` its elements, `inputs` the length of the axis `summed`;
    `stacked` that there are several matrices, one for each product.
    """

    name: str
    kind: str
    type: str
    channel: int
    summed: int
    size: int
    inputs: int
    stacked: bool


@dataclass(frozen=True, slots=True)
class Unlike:
    """How far a weight that went in is from its nearest in the package: the largest error in parts of its deviation,
    what rounding may do to it in the same parts, and the largest error in parts of what rounding may do there.
    """

    name: str
    error: float
    limit: float
    excess: float


@dataclass(frozen=True, slots=True)
class Package:
    """What was read back. `lost` are weights that went in and have none of their shape, `computed` counts operators
    with weights or products by kind and type, `deep` names tensors of more than five axes, `infinite` constants.
    """

    stored: tuple[Stored, ...]
    unlike: tuple[Unlike, ...]
    lost: tuple[str, ...]
    computed: tuple[tuple[str, str, int], ...]
    deep: tuple[str, ...]
    infinite: tuple[str, ...]
    largest_rank: int


def read_apart(package: Path, weights: Path) -> Package:
    """Read a package where nothing of its making is left; `weights` is an .npz of what went in, by name.

    Raises:
        ToolchainError: it cannot be read.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_read, str(package), str(weights)).result()
        except BrokenProcessPool as exc:
            raise ToolchainError(f"the process that read {package.name} back has ended") from exc
        except Exception as exc:  # Core ML Tools raises whatever its parsers do
            said = " ".join(str(exc).split())[:300]
            raise ToolchainError(f"{package.name} cannot be read back: {type(exc).__name__}: {said}") from exc


def weights_in(model: Any) -> tuple[Stored, ...]:
    """The weights of a model of Core ML Tools."""
    return tuple(weight for weight, _ in _weights(_operations(model)))


def _operations(model: Any) -> list[Any]:
    from coremltools.converters.mil.frontend.milproto.load import load

    spec = model.get_spec()
    return list(load(spec, spec.specificationVersion, model.weights_dir).functions["main"].operations)


def _read(package: str, weights: str) -> Package:
    import numpy as np
    from coremltools.models import MLModel

    operations = _operations(MLModel(package, skip_model_load=True))
    stored, values = [], []
    for weight, value in _weights(operations):
        stored.append(weight)
        values.append(value)
    computed = Counter((op.op_type, _type(op.outputs[0].dtype)) for op in operations if op.op_type in _COMPUTING)
    ranks = {out.name: out.rank for op in operations for out in op.outputs}
    infinite = [
        op.name
        for op in operations
        if op.op_type == "const" and np.issubdtype(np.asarray(op.val.val).dtype, np.floating)
        if not np.isfinite(op.val.val).all()
    ]
    unlike, lost = [], []
    with np.load(weights) as went_in:
        for name in went_in.files:
            found = _nearest(name, went_in[name], stored, values)
            if found is None:
                lost.append(name)
            else:
                unlike.append(found)
    return Package(
        stored=tuple(stored),
        unlike=tuple(unlike),
        lost=tuple(lost),
        computed=tuple((kind, kept, count) for (kind, kept), count in sorted(computed.items())),
        deep=tuple(name for name, rank in ranks.items() if rank > 5),
        infinite=tuple(infinite),
        largest_rank=max(ranks.values(), default=0),
    )


def _weights(operations: list[Any]) -> Iterator[tuple[Stored, Any]]:
    """Each weight once, with its values."""
    seen = set()
    for operation in operations:
        names = ("x", "y") if operation.op_type == "matmul" else (KINDS.get(operation.op_type, ""),)
        for name in names:
            held = operation.inputs.get(name)
            maker = getattr(held, "op", None)
            if maker is None or maker.name in seen or held.rank < 2:
                continue
            if maker.op_type == "const":
                value, kept = held.val, _type(held.dtype)
            elif maker.op_type.startswith("constexpr_"):
                value = maker.materialized_val_inference()
                kept = _type((maker.inputs.get("data") or maker.inputs["quantized_data"]).dtype)
            else:
                continue
            seen.add(maker.name)
            channel, summed = _axes(operation, name, held.rank)
            stacked = operation.op_type == "matmul" and held.rank > 2
            inputs = value.shape[summed]
            yield Stored(maker.name, operation.op_type, kept, channel, summed, value.size, inputs, stacked), value


def _axes(operation: Any, name: str, rank: int) -> tuple[int, int]:
    """The axes of a weight that come out and that are summed over."""
    if operation.op_type == "conv_transpose":
        return 1, 0
    if operation.op_type != "matmul":
        return 0, 1
    turned = bool(operation.inputs[f"transpose_{name}"].val)
    last_comes_out = (name == "y") != turned
    return (rank - 1, rank - 2) if last_comes_out else (rank - 2, rank - 1)


def _nearest(name: str, value: Any, stored: list[Stored], values: list[Any]) -> Unlike | None:
    """The weight of the package that is most like this one; None where none has its shape."""
    import numpy as np

    best: tuple[float, Stored, Any, Any] | None = None
    for weight, other in zip(stored, values, strict=True):
        turns = [value, np.swapaxes(value, -1, -2)] if value.ndim == 2 else [value]
        for turned in turns:
            if np.squeeze(turned).shape != np.squeeze(other).shape:
                continue
            mine = turned.reshape(other.shape)
            step = max(mine.size // _SAMPLE, 1)
            distance = float(np.abs(mine.ravel()[::step] - other.ravel()[::step].astype(np.float32)).mean())
            if best is None or distance < best[0]:
                best = distance, weight, mine, other
    if best is None:
        return None
    _, weight, mine, other = best
    errors, allowed = np.abs(mine - other.astype(np.float32)), _allowed(mine, weight)
    deviation = float(mine.std()) or 1.0
    at = int(np.argmax(errors / allowed))
    return Unlike(
        name,
        float(errors.max()) / deviation,
        float(allowed.max()) / deviation,
        float((errors / allowed).ravel()[at]),
    )


def _allowed(value: Any, weight: Stored) -> Any:
    """What rounding may do to each element at most."""
    import numpy as np

    if weight.type == "fp32":
        return np.abs(value) * 2.0**-22 + 1e-30
    rounded = np.abs(value) * _HALF + _SMALLEST
    if weight.type == "fp16":
        return rounded
    bits = int(weight.type.removeprefix("int"))
    largest, peaks = 2 ** (bits - 1) - 1, np.abs(value)
    if bits == 8:
        axes = tuple(axis for axis in range(value.ndim) if axis != weight.channel)
        peaks = np.broadcast_to(peaks.max(axis=axes, keepdims=True), value.shape)
    else:
        ahead = np.moveaxis(peaks, weight.summed, -1)
        blocks = ahead.reshape(*ahead.shape[:-1], -1, 32).max(axis=-1, keepdims=True)
        peaks = np.moveaxis(np.broadcast_to(blocks, (*blocks.shape[:-1], 32)).reshape(ahead.shape), -1, weight.summed)
    return peaks * (0.5 / largest + 2 * _HALF) + _SMALLEST * largest + rounded


def _type(builtin: Any) -> str:
    from coremltools.converters.mil.mil import types

    return str(types.builtin_to_string(builtin))
