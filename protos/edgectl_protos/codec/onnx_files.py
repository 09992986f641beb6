"""Which files an ONNX graph names besides itself: external data of its tensors, and what an engine context points to.

Reads the protobuf of the model by its field numbers (onnx.proto), in place and without a library: weights are skipped,
not read. Total: bytes in, a list or a BundleError out, whatever the depth or size. Standard library only.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from edgectl_protos.domain.artifact import safe_path
from edgectl_protos.domain.errors import BundleCorruptError, BundlePathError

__all__ = ["check_onnx_files", "files_of_onnx"]

_MAX_DEPTH = 64
_MAX_NAMES = 100_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_HINT = "convert the checkpoint again: edgectl convert"

# message → field → message. What is not listed holds no file.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function", 20: "training"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_ATTRIBUTE_NAME, _ATTRIBUTE_STRING, _ATTRIBUTE_INTEGER = 1, 4, 3
_CONTEXT = b"ep_cache_context"
"""Of an EPContext node: the compiled context itself, or the path of it."""


def check_onnx_files(model: Path) -> None:
    """Refuse a graph by which a runtime would open a file that is not in the graph's own folder.

    Raises:
        BundleCorruptError: it cannot be read as a graph, or names a file that is not there.
        BundlePathError: a path leaves the folder.
    """
    for name in files_of_onnx(model):
        try:
            beside = model.parent / safe_path(name)
        except BundlePathError as exc:
            raise BundlePathError(
                f"the graph {model.name} names {name[:200]!r}, a file outside its folder", hint=_HINT
            ) from exc
        if beside.is_symlink() or not beside.resolve().is_relative_to(model.parent.resolve()):
            raise BundlePathError(f"the graph {model.name} names {name!r}, which is a link", hint=_HINT)
        if not beside.is_file():
            raise BundleCorruptError(f"the graph {model.name} names {name!r}, which is not beside it", hint=_HINT)


def files_of_onnx(model: Path) -> tuple[str, ...]:
    """The paths that a graph names, as it writes them.

    Raises:
        BundleCorruptError: it is no protobuf of a graph.
    """
    try:
        with model.open("rb") as file:
            if not file.seek(0, 2):
                raise _Damaged("it is empty")
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return tuple(dict.fromkeys(_names(view, "model", 0)))
    except (_Damaged, OSError, ValueError) as exc:
        raise BundleCorruptError(f"{model.name} is no ONNX graph: {exc}", hint=_HINT) from exc


class _Damaged(Exception):
    """The bytes are no such message."""


def _names(view: memoryview, message: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise _Damaged("nested too deep")
    inside = _INSIDE[message]
    count = 0
    for field, part in _parts(view):
        kind = inside.get(field)
        if kind is None:
            continue
        if kind == "entry":
            key, value = _entry(part)
            if key == b"location":
                yield _text(value)
        elif kind == "attribute" and _is_context(part):
            yield from _context(view, part)
        else:
            for name in _names(part, kind, depth + 1):
                count += 1
                if count > _MAX_NAMES:
                    raise _Damaged("it names too many files")
                yield name


def _entry(view: memoryview) -> tuple[bytes, bytes]:
    found = {field: bytes(part[:5000]) for field, part in _parts(view)}
    return found.get(1, b""), found.get(2, b"")


def _is_context(attribute: memoryview) -> bool:
    return any(field == _ATTRIBUTE_NAME and bytes(part[:100]) == _CONTEXT for field, part in _parts(attribute))


def _context(node: memoryview, attribute: memoryview) -> Iterator[str]:
    """The path in an engine context, unless the context itself is embedded (`embed_mode` is 1, or not said)."""
    embedded = True
    for field, part in _parts(node):
        if field == 5:
            name = next((bytes(p[:100]) for f, p in _parts(part) if f == _ATTRIBUTE_NAME), b"")
            if name == b"embed_mode":
                embedded = next((value != 0 for f, value in _numbers(part) if f == _ATTRIBUTE_INTEGER), False)
    if not embedded:
        yield from (_text(bytes(p[:5000])) for f, p in _parts(attribute) if f == _ATTRIBUTE_STRING)


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _parts(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that have a length."""
    for field, kind, _, part in _fields(view):
        if kind == _BYTES:
            yield field, part


def _numbers(view: memoryview) -> Iterator[tuple[int, int]]:
    for field, kind, number, _ in _fields(view):
        if kind == _VARINT:
            yield field, number


def _fields(view: memoryview) -> Iterator[tuple[int, int, int, memoryview]]:
    at, end = 0, len(view)
    nothing = view[:0]
    while at < end:
        tag, at = _varint(view, at)
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            number, at = _varint(view, at)
            yield field, kind, number, nothing
        elif kind == _BYTES:
            size, at = _varint(view, at)
            if size > end - at:
                raise _Damaged("a field is longer than the file")
            yield field, kind, 0, view[at : at + size]
            at += size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
            if at > end:
                raise _Damaged("it ends inside a field")
        else:
            raise _Damaged(f"a field of wire type {kind}")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise _Damaged("it ends inside a number")
        byte = view[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise _Damaged("a number of more than ten bytes")
