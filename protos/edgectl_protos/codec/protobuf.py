"""Reads a protobuf message without its schema's generated code: fields by number, in place, so that what is not asked
for (weights) is passed over and never read.

Total: whatever the bytes are, fields come out or `DocumentError`, after a bounded time. Standard library only.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

from edgectl_protos.domain.errors import DocumentError

__all__ = ["Bytes", "numbers", "parts"]

Bytes = bytes | memoryview | mmap.mmap

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_FIELDS = 1 << 20


def parts(data: Bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Of the message that stands there, each field that is a text, bytes or a message: its number, and from where to
    where it stands.

    Raises:
        DocumentError: it is no message.
    """
    for field, kind, first, second in _fields(data, start, stop):
        if kind == _BYTES:
            yield field, first, second


def numbers(data: Bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Of the message that stands there, each field that is a varint: its number, and the value.

    Raises:
        DocumentError: it is no message.
    """
    for field, kind, value, _ in _fields(data, start, stop):
        if kind == _VARINT:
            yield field, value


def _fields(data: Bytes, at: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, and the value or the place."""
    for _ in range(_MAX_FIELDS):
        if at >= stop:
            return
        tag, at = _varint(data, at, stop)
        field, kind = tag >> 3, tag & 7
        if not field:
            raise DocumentError("no field has the number 0")
        if kind == _VARINT:
            value, at = _varint(data, at, stop)
            yield field, kind, value, 0
        elif kind == _BYTES:
            size, at = _varint(data, at, stop)
            if size > stop - at:
                raise DocumentError("a field is longer than its message")
            yield field, kind, at, at + size
            at += size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
            if at > stop:
                raise DocumentError("it ends inside a field")
        else:
            raise DocumentError(f"a field of wire type {kind}")
    raise DocumentError(f"a message of more than {_MAX_FIELDS:,} fields")


def _varint(data: Bytes, at: int, stop: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= stop:
            raise DocumentError("it ends inside a number")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise DocumentError("a number of more than ten bytes")
