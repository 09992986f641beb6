"""What a `.pte` says about itself: its methods, the operators of each, and what its delegates hold.

Read from the file's tables (identifier ET12, the extended header of version 1) without any library. Of delegates those
of XNNPACK are opened: their operators, and in which types their convolutions and products hold weights and take what
enters them. Offsets outside the file are damage.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edgectl_protos.codec.flat_tables import FlatTable, root_table
from edgectl_protos.domain.errors import DocumentError

__all__ = ["PteMethod", "read_pte"]

_T = TypeVar("_T")

_MAX_BYTES = 1 << 33
_EXTENDED_AT, _EXTENDED = 8, b"eh00"
_XNNPACK = "XnnpackBackend"
_XNN_HEADER = struct.Struct("<4x4sHIIIQ")
_KERNEL, _DELEGATE = 1, 2
_TENSOR, _STRING = 5, 6
_DTYPES = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64"}
_DTYPES |= {11: "bool", 15: "bfloat16", 27: "uint16", 28: "uint32", 29: "uint64"}
# Members of its unions and enumerations, in their order, from 1.
# fmt: off
_NODES = (
    "Add", "FullyConnected", "Softmax", "Sigmoid", "StaticTranspose", "Clamp", "Conv2d", "Div",
    "StaticResizeBilinear2D", "StaticConstantPad", "AvgPooling2d", "Minimum", "DepthwiseConv2d", "MaxPooling2d",
    "Multiply", "Subtract", "Floor", "Convert", "GlobalAvgPooling2d", "StaticReshape", "ArgMaxPooling2d",
    "SquareRoot", "Ceiling", "Hardswish", "LeakyReLU", "Maximum", "Negate", "Square", "ELU", "Abs", "PReLU",
    "Concatenate2", "Concatenate3", "Concatenate4", "StaticSlice", "ScaledDotProductAttention",
    "BatchMatrixMultiply", "Concatenate5", "ConvTranspose2d", "ReciprocalSquareRoot", "Log", "Gelu", "Tanh", "Exp",
    "Sin", "Copy", "Cos",
)
# fmt: on
# fmt: off
_TYPES = (
    "fp32", "fp16", "qint8", "quint8", "qint32", "qcint8", "qcint32", "qcint4", "qdint8", "qbint4", "qpint8",
    "int32", "pfp32", "bf16",
)
# fmt: on
# Where a node with weights names what enters it and its filter.
_WITH_WEIGHTS = {"FullyConnected": (0, 1), "Conv2d": (15, 16), "DepthwiseConv2d": (15, 16), "ConvTranspose2d": (15, 16)}


@dataclass(frozen=True, slots=True)
class PteMethod:
    """One method. `operators` are those that run outside of delegates, `delegates` backends and `delegated` operators
    inside them, by name with how often; `weighted` counts nodes with weights by (type that enters, type of weights).
    `inputs` and `outputs` are types (`float32` …, or a number that is not known here) and shapes of its tensors in
    their order; `texts` are what it gives back, where that is constant text.
    """

    operators: dict[str, int]
    delegates: dict[str, int]
    delegated: dict[str, int]
    weighted: dict[tuple[str, str], int]
    inputs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    outputs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    texts: tuple[str, ...] = ()


def read_pte(path: Path) -> dict[str, PteMethod]:
    """The methods of a program by name.

    Raises:
        DocumentError: it is no such program, or damaged.
        OSError: it cannot be read.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise DocumentError(f"{path.name} has {path.stat().st_size} bytes")
    data = memoryview(path.read_bytes())
    program_bytes, segments_at = len(data), 0
    if bytes(data[_EXTENDED_AT : _EXTENDED_AT + 4]) == _EXTENDED:
        if len(data) < _EXTENDED_AT + 24:
            raise DocumentError("the file is damaged or cut off")
        program_bytes, segments_at = struct.unpack_from("<QQ", data, _EXTENDED_AT + 8)
    root = root_table(data[:program_bytes], identifier="ET12")
    segments = [_slice(data, segments_at + one.integer(0, "Q"), one.integer(1, "Q")) for one in root.tables(4)]
    inline = [one.data(0) for one in root.tables(3)]
    return {plan.text(0): _method(plan, inline, segments) for plan in root.tables(1)}


def _method(plan: FlatTable, inline: list[memoryview], segments: list[memoryview]) -> PteMethod:
    names = [".".join(filter(None, (one.text(0), one.text(1)))) for one in plan.tables(6)]
    backends = plan.tables(7)
    operators: Counter[str] = Counter()
    delegates: Counter[str] = Counter()
    delegated: Counter[str] = Counter()
    weighted: Counter[tuple[str, str]] = Counter()
    for chain in plan.tables(5):
        for instruction in chain.tables(2):
            kind, call = instruction.integer(0, "B"), instruction.table(1)
            if call is None or kind not in (_KERNEL, _DELEGATE):
                continue
            index = call.integer(0)
            if kind == _KERNEL:
                operators[_item(names, index)] += 1
                continue
            backend = _item(backends, index)
            delegates[backend.text(0)] += 1
            place = backend.table(1)
            if backend.text(0) == _XNNPACK and place is not None:
                held = segments if place.integer(0, "b") else inline
                _read_delegate(_item(held, place.integer(1, "I")), delegated, weighted)
    values = plan.tables(2)
    inputs, outputs = (tuple(_ports(values, plan.integers(side))) for side in (3, 4))
    texts = [value.text(0) for value in _values(values, plan.integers(4), _STRING)]
    counted = (dict(operators), dict(delegates), dict(delegated), dict(weighted))
    return PteMethod(*counted, inputs, outputs, tuple(texts))


def _ports(values: list[FlatTable], indices: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for tensor in _values(values, indices, _TENSOR):
        kind = tensor.integer(0, "b")
        yield _DTYPES.get(kind, f"type {kind}"), tensor.integers(2)


def _values(values: list[FlatTable], indices: tuple[int, ...], kind: int) -> Iterator[FlatTable]:
    for index in indices:
        value = _item(values, index)
        held = value.table(1)
        if value.integer(0, "B") == kind and held is not None:
            yield held


def _read_delegate(data: memoryview, delegated: Counter[str], weighted: Counter[tuple[str, str]]) -> None:
    graph = data
    if bytes(data[4:8]) == b"XH00":
        if len(data) < _XNN_HEADER.size:
            raise DocumentError("the file is damaged or cut off")
        _, _, start, size, _, _ = _XNN_HEADER.unpack_from(data)
        graph = _slice(data, start, size)
    root = root_table(graph)
    types = {}
    for value in root.tables(2):
        tensor = value.table(1)
        if tensor is not None and value.integer(0, "B") == 2:
            tensor = tensor.table(0)
        if tensor is not None:
            kind = tensor.integer(0, "h")
            # One that is rounded at each call says so in another field.
            kind = tensor.integer(7, "h") or kind
            types[tensor.integer(6, "I")] = _TYPES[kind - 1] if 0 < kind <= len(_TYPES) else f"type {kind}"
    for node in root.tables(1):
        number, call = node.integer(0, "B"), node.table(1)
        name = _NODES[number - 1] if 0 < number <= len(_NODES) else f"node {number}"
        delegated[name] += 1
        if call is not None and name in _WITH_WEIGHTS:
            entering, weights = (types.get(call.integer(at, "I"), "unknown") for at in _WITH_WEIGHTS[name])
            weighted[entering, weights] += 1


def _slice(data: memoryview, start: int, size: int) -> memoryview:
    if start + size > len(data):
        raise DocumentError("the file is damaged or cut off")
    return data[start : start + size]


def _item(items: list[_T], index: int) -> _T:
    if not 0 <= index < len(items):
        raise DocumentError("the file is damaged or cut off")
    return items[index]
