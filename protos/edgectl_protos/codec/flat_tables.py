"""Reads FlatBuffers without their schema's generated code: tables by field number, as their schema numbers them.

Total: whatever the bytes are, a value comes out or `DocumentError`. Nothing is copied but what is asked for.
"""

from __future__ import annotations

import struct

from edgectl_protos.domain.errors import DocumentError

__all__ = ["FlatTable", "root_table"]

_MAX_ITEMS = 1 << 22


def root_table(data: bytes | memoryview, *, identifier: str = "") -> FlatTable:
    """The root of a buffer; its identifier, four characters at byte 4, must be this one.

    Raises:
        DocumentError: it is another format, or damaged.
    """
    view = memoryview(data)
    if identifier and bytes(view[4:8]) != identifier.encode():
        raise DocumentError(f"no {identifier} is written in it")
    return FlatTable(view, _number(view, "<I", 0))


class FlatTable:
    """One table. Fields that are absent are the default."""

    __slots__ = ("_at", "_view", "_vtable")

    def __init__(self, view: memoryview, at: int) -> None:
        self._view, self._at = view, at
        self._vtable = at - _number(view, "<i", at)

    def integer(self, field: int, kind: str = "i", default: int = 0) -> int:
        """A number of this struct character."""
        at = self._place(field)
        return default if at is None else _number(self._view, f"<{kind}", at)

    def text(self, field: int) -> str:
        """A string; empty where it is absent."""
        at = self._place(field)
        if at is None:
            return ""
        start = at + _number(self._view, "<I", at)
        size = _number(self._view, "<I", start)
        if start + 4 + size > len(self._view):
            raise _damaged()
        return bytes(self._view[start + 4 : start + 4 + size]).decode(errors="replace")

    def table(self, field: int) -> FlatTable | None:
        """A table, or the value of a union."""
        at = self._place(field)
        return None if at is None else FlatTable(self._view, at + _number(self._view, "<I", at))

    def tables(self, field: int) -> list[FlatTable]:
        """A vector of tables."""
        start, count = self._vector(field, 4)
        return [FlatTable(self._view, at + _number(self._view, "<I", at)) for at in range(start, start + 4 * count, 4)]

    def integers(self, field: int, kind: str = "i") -> tuple[int, ...]:
        """A vector of numbers of this struct character."""
        start, count = self._vector(field, struct.calcsize(f"<{kind}"))
        return struct.unpack_from(f"<{count}{kind}", self._view, start) if count else ()

    def data(self, field: int) -> memoryview:
        """A vector of bytes, where it lies."""
        start, count = self._vector(field, 1)
        return self._view[start : start + count]

    def _vector(self, field: int, width: int) -> tuple[int, int]:
        at = self._place(field)
        if at is None:
            return 0, 0
        start = at + _number(self._view, "<I", at)
        count = _number(self._view, "<I", start)
        if start + 4 + count * width > len(self._view) or (width > 1 and count > _MAX_ITEMS):
            raise _damaged()
        return start + 4, count

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > _number(self._view, "<H", self._vtable):
            return None
        offset = _number(self._view, "<H", self._vtable + slot)
        return self._at + offset if offset else None


def _number(view: memoryview, kind: str, at: int) -> int:
    if at < 0:
        raise _damaged()
    try:
        found: int = struct.unpack_from(kind, view, at)[0]
    except struct.error as exc:
        raise _damaged() from exc
    return found


def _damaged() -> DocumentError:
    return DocumentError("the file is damaged or cut off")
