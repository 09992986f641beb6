"""Where the tensors of a file begin and end, where its format is known: safetensors, GGUF, ONNX and its external data.

Chunks that are cut there are the same wherever a tensor lies. No library, no weight is read, and a file that is damaged
or of another format simply has no such places: they make a transfer cheaper, and decide nothing.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path

from edgectl_protos.codec.gguf import read_gguf
from edgectl_protos.codec.protobuf import parts
from edgectl_protos.domain.errors import DocumentError

__all__ = ["external_cuts", "tensor_cuts"]

_MAX_HEADER_BYTES = 64 << 20
_GRAPH, _INITIALIZER = 7, 5
_PAYLOADS = (4, 5, 7, 9, 10, 11)
"""float_data, int32_data, int64_data, raw_data, double_data, uint64_data of a TensorProto."""
_EXTERNAL, _KEY, _VALUE = 13, 1, 2


_ODD = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What comes of a header of safetensors that is JSON and of another shape."""


def tensor_cuts(path: Path) -> list[int]:
    """Offsets in a file at which tensors begin or end, in no order; empty where the format is not known."""
    try:
        with open(path, "rb") as file:
            head = file.read(9)
        if head[:4] == b"GGUF":
            return [edge for t in read_gguf(path).tensors for edge in (t.offset, t.offset + t.size_bytes)]
        if head[8:] == b"{":
            return _safetensors(path)
        return [edge for tensor in _onnx(path) for start, stop in tensor[0] for edge in (start, stop)]
    except (DocumentError, OSError, *_ODD):
        return []


def external_cuts(graph: Path, name: str) -> list[int]:
    """Where tensors of an ONNX graph begin and end in its external data file of this name."""
    found = []
    try:
        for _, entries in _onnx(graph):
            if entries.get("location") == name:
                start = int(entries.get("offset", 0))
                found += [start, start + int(entries.get("length", 0))]
    except (DocumentError, OSError, ValueError):
        return []
    return found


def _safetensors(path: Path) -> list[int]:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER_BYTES:
            return []
        header = json.loads(file.read(length))
    places = [value["data_offsets"] for key, value in header.items() if key != "__metadata__"] if header else []
    return [8 + length + int(edge) for place in places for edge in place]


_Tensor = tuple[list[tuple[int, int]], dict[str, str]]
"""Where the values of a tensor stand in its graph, and what it says of external ones."""


def _onnx(path: Path) -> Iterator[_Tensor]:
    """Every initialiser of a graph."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, start, stop in parts(data, 0, len(data)):
            if number == _GRAPH:
                for inner, a, b in parts(data, start, stop):
                    if inner == _INITIALIZER:
                        yield _tensor(data, a, b)


def _tensor(data: mmap.mmap, start: int, stop: int) -> _Tensor:
    places, external = [], {}
    for number, a, b in parts(data, start, stop):
        if number in _PAYLOADS:
            places.append((a, b))
        elif number == _EXTERNAL:
            words = {key: data[c:d].decode() for key, c, d in parts(data, a, b)}
            external[words.get(_KEY, "")] = words.get(_VALUE, "")
    return places, external
