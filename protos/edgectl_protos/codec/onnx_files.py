"""Which files an ONNX graph names besides itself: external data of its tensors, and what an engine context points to.

Reads the model by its field numbers (onnx.proto), without a library and without its weights. Total: bytes in, a list or
a BundleError out, whatever the depth or size.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from edgectl_protos.codec.protobuf import numbers, parts
from edgectl_protos.domain.artifact import safe_path
from edgectl_protos.domain.errors import BundleCorruptError, BundlePathError, DocumentError

__all__ = ["check_onnx_files", "files_of_onnx"]

_MAX_DEPTH = 64
_MAX_NAMES = 100_000
_MAX_TEXT_BYTES = 5000
_HINT = "convert the checkpoint again: edgectl convert"

_NODE_ATTRIBUTE = 5
_ATTRIBUTE_NAME, _ATTRIBUTE_STRING, _ATTRIBUTE_INTEGER = 1, 4, 3
_KEY, _VALUE = 1, 2
# message → field → message. What is not listed holds no file.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function", 20: "training"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {_NODE_ATTRIBUTE: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_CONTEXT = "ep_cache_context"
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


def files_of_onnx(model: Path, *, called: str = "") -> tuple[str, ...]:
    """The paths that a graph names, as it writes them. `called`: what a message calls a file of another name.

    Raises:
        BundleCorruptError: it is no protobuf of a graph.
    """
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return tuple(dict.fromkeys(_names(data, "model", 0, len(data), 0)))
    except (DocumentError, OSError, ValueError) as exc:
        raise BundleCorruptError(f"{called or model.name} is no ONNX graph: {exc}", hint=_HINT) from exc


def _names(data: mmap.mmap, message: str, start: int, stop: int, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise DocumentError("nested too deep")
    inside = _INSIDE[message]
    count = 0
    for field, first, last in parts(data, start, stop):
        kind = inside.get(field)
        if kind is None:
            continue
        if kind == "entry":
            entry = {number: _text(data, a, b) for number, a, b in parts(data, first, last)}
            if entry.get(_KEY) == "location":
                yield entry.get(_VALUE, "")
        elif kind == "attribute" and _attribute_name(data, first, last) == _CONTEXT:
            yield from _context(data, (start, stop), (first, last))
        else:
            for name in _names(data, kind, first, last, depth + 1):
                count += 1
                if count > _MAX_NAMES:
                    raise DocumentError("it names too many files")
                yield name


def _attribute_name(data: mmap.mmap, start: int, stop: int) -> str:
    name = ""
    for field, first, last in parts(data, start, stop):
        if field == _ATTRIBUTE_NAME:
            # Of a field that stands there twice protobuf takes the last.
            name = _text(data, first, last)
    return name


def _context(data: mmap.mmap, node: tuple[int, int], attribute: tuple[int, int]) -> Iterator[str]:
    """The path in an engine context, unless the context itself is embedded (`embed_mode` is 1, or not said)."""
    modes = [
        [number for field, number in numbers(data, start, stop) if field == _ATTRIBUTE_INTEGER][-1:]
        for field, start, stop in parts(data, *node)
        if field == _NODE_ATTRIBUTE and _attribute_name(data, start, stop) == "embed_mode"
    ]
    if not all(mode and mode[0] for mode in modes):
        yield from (_text(data, a, b) for field, a, b in parts(data, *attribute) if field == _ATTRIBUTE_STRING)


def _text(data: mmap.mmap, start: int, stop: int) -> str:
    if stop - start > _MAX_TEXT_BYTES:
        raise DocumentError(f"a name of {stop - start:,} bytes")
    return data[start:stop].decode(errors="backslashreplace")
