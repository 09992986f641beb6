"""The header of a GGUF file: what it says about its model, and its tensors. No library, and no weight is read.

Facts: after the magic come a version, the counts of tensors and of values, the values, the tensors, and, aligned, their
data; strings and arrays carry their length. Types of tensors store blocks of weights, and every row is whole blocks.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgectl_protos.domain.errors import DocumentError

__all__ = ["GgufFile", "GgufTensor", "read_gguf"]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = "general.alignment"
_MAX_TENSORS = 1 << 20
_MAX_VALUES = 1 << 16
_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOL: "?", 10: "Q", 11: "q", 12: "d"}
# By number: name, weights of a block, bytes of a block.
_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor: its type by GGUF's name, its shape, the row's length last, and where its weights lie in the file."""

    name: str
    type: str
    shape: tuple[int, ...]
    size_bytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class GgufFile:
    """What stands in the header. Values are numbers, booleans, texts and lists of them, by GGUF's own keys."""

    values: dict[str, Any]
    tensors: tuple[GgufTensor, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        """How many weights."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def layer_type(self) -> str:
        """The type of most weights of the layers, embedding and output left aside; empty where there are none."""
        counts: dict[str, int] = {}
        for tensor in self.tensors:
            if len(tensor.shape) > 1 and tensor.name.startswith("blk."):
                counts[tensor.type] = counts.get(tensor.type, 0) + math.prod(tensor.shape)
        return max(counts, key=counts.__getitem__, default="")

    def of_model(self, key: str) -> Any:
        """A value that stands below the architecture's own name, such as `block_count`; None where there is none."""
        return self.values.get(f"{self.values.get('general.architecture')}.{key}")


def read_gguf(path: Path) -> GgufFile:
    """The header of a file.

    Raises:
        DocumentError: it is no GGUF file of a known version, is cut short, or has a type of tensor that is not known.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data, path.name).read()
    except (OSError, ValueError) as exc:
        raise DocumentError(f"{path.name} cannot be read as GGUF: {exc}") from exc


class _Reader:
    """Walks through the header; whatever points beyond the file is refused before it is followed."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self._data, self._name, self._at = data, name, 0

    def read(self) -> GgufFile:
        if self._data[:4] != _MAGIC:
            raise DocumentError(f"{self._name} is no GGUF file")
        self._at = 4
        version = self._number("I")
        if version not in _VERSIONS:
            raise DocumentError(f"{self._name} is GGUF version {version}; edgectl reads {_VERSIONS}")
        tensors, count = self._number("Q"), self._number("Q")
        if tensors > _MAX_TENSORS or count > _MAX_VALUES:
            raise DocumentError(f"{self._name} claims {tensors:,} tensors and {count:,} values")
        values = {}
        for _ in range(count):
            key = self._text()
            values[key] = self._value(self._number("I"))
        headers = [self._tensor() for _ in range(tensors)]
        alignment = values.get(_ALIGNMENT, 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise DocumentError(f"{self._name}: an alignment of {alignment!r}")
        start = -(-self._at // alignment) * alignment
        placed = tuple(replace(tensor, offset=start + tensor.offset) for tensor in headers)
        end = max((tensor.offset + tensor.size_bytes for tensor in placed), default=start)
        if end > len(self._data):
            raise DocumentError(f"{self._name} was cut short: {len(self._data):,} of {end:,} bytes")
        return GgufFile(values, placed)

    def _tensor(self) -> GgufTensor:
        """Its offset is from where the data begins."""
        name = self._text()
        rank = self._number("I")
        if rank > 4:
            raise DocumentError(f"{self._name}: {name[:80]!r} has {rank} dimensions")
        # The row's length stands first.
        shape = tuple(self._number("Q") for _ in range(rank))[::-1]
        number, offset = self._number("I"), self._number("Q")
        if number not in _TYPES:
            raise DocumentError(f"{self._name}: {name[:80]!r} is of type {number}, which is not known")
        kind, block, size = _TYPES[number]
        if shape and shape[-1] % block:
            raise DocumentError(f"{self._name}: a row of {name[:80]!r} has {shape[-1]} weights, no blocks of {block}")
        return GgufTensor(name, kind, shape, math.prod(shape) // block * size, offset)

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind != _ARRAY:
            raise DocumentError(f"{self._name}: a value of type {kind}, which is not known")
        kind, count = self._number("I"), self._number("Q")
        if kind == _STRING:
            # Each has its length at least.
            self._need(8 * count)
            return [self._text() for _ in range(count)]
        if kind not in _NUMBERS:
            raise DocumentError(f"{self._name}: a list of type {kind}, which is not known")
        form = _NUMBERS[kind]
        size = struct.calcsize(f"<{form}") * count
        self._need(size)
        found = list(struct.unpack_from(f"<{count}{form}", self._data, self._at))
        self._at += size
        return found

    def _number(self, form: str) -> Any:
        size = struct.calcsize(f"<{form}")
        self._need(size)
        (value,) = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += size
        return value

    def _text(self) -> str:
        length = self._number("Q")
        self._need(length)
        found = self._data[self._at : self._at + length]
        self._at += length
        # Pieces of characters are tokens too.
        return found.decode(errors="surrogateescape")

    def _need(self, size: int) -> None:
        if self._at + size > len(self._data):
            raise DocumentError(f"{self._name} was cut short, within its header")
