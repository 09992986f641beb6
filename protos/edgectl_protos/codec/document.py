"""Domain dataclasses as JSON documents: the bundle manifest, loop files, the journal, the worker protocol.

Strict in both directions: an unknown key, a missing key without a default, or a value of another type is an error that
names its place. A union of dataclasses is told apart by the key `op`, the class variable of that name. Reading is
total: bytes in, a value or a DocumentError out, whatever their size, depth or encoding. Standard library only, so the
agent daemon and its workers can use it.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import types
import typing
from typing import Any, TypeVar

from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.errors import DocumentError, EdgectlError
from edgectl_protos.domain.newer import kept, newer

__all__ = ["canonical_bytes", "carried_over", "from_bytes", "from_document", "to_document"]

T = TypeVar("T")

MAX_BYTES = 64 << 20
"""Documents are read whole; none that edgectl writes comes near this."""
MAX_INTEGER = 2**63 - 1
"""What a message carries, and an array counts by."""
MAX_TEXT_CHARACTERS = 1 << 16
"""Of one text: an instruction, a template, the end of a log."""


def to_document(value: Any) -> Any:
    """The value as plain JSON types. Enums by value, digests as `sha256:…`, None and defaults included."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, Digest):
            return str(value)
        document = {field.name: to_document(getattr(value, field.name)) for field in dataclasses.fields(value)}
        op = getattr(type(value), "op", None)
        return {"op": op, **document} if isinstance(op, str) else document
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [to_document(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_document(item) for key, item in value.items()}
    return value


def canonical_bytes(value: Any) -> bytes:
    """The one way a value is written when its digest matters: sorted keys, no spaces, no NaN."""
    document = to_document(value)
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def carried_over(older: Any, document: Any) -> Any:
    """A document with the keys that it lacks and an older state of it had: those of a newer version."""
    if not isinstance(older, dict) or not isinstance(document, dict):
        return document
    known = {key: carried_over(older.get(key), value) for key, value in document.items()}
    return {**known, **{key: value for key, value in older.items() if key not in document}}


def from_bytes(cls: type[T], data: bytes, *, what: str, lenient: bool = False) -> T:
    """Parse JSON bytes into a dataclass. `lenient`: the document may be of a newer version. Keys that are not known
    here are left out, words are kept, and rules of this version that a value breaks are not applied.

    Raises:
        DocumentError: not JSON, or not of this type; `what` names the document.
    """
    if len(data) > MAX_BYTES:
        raise DocumentError(f"{what} has {len(data):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise DocumentError(f"{what} is not JSON: {str(exc) or 'nested too deep'}") from exc
    return from_document(cls, document, what=what, lenient=lenient)


def from_document(cls: type[T], document: Any, *, what: str, lenient: bool = False) -> T:
    """Build a dataclass from plain JSON types; `lenient` as for `from_bytes`.

    Raises:
        DocumentError: a key is unknown or missing, or a value has another type.
        EdgectlError: the dataclass itself refuses its values.
    """
    try:
        result: T = _read(cls, document, what, lenient)
    except RecursionError as exc:
        raise DocumentError(f"{what} is nested too deep") from exc
    return result


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _read(kind: Any, value: Any, where: str, lenient: bool) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        options = [option for option in typing.get_args(kind) if option is not types.NoneType]
        if value is None and len(options) < len(typing.get_args(kind)):
            return None
        return _read(options[0] if len(options) == 1 else _tagged(options, value, where), value, where, lenient)
    if origin is tuple:
        if not isinstance(value, list):
            raise DocumentError(f"{where}: expected a list, got {_shown(value)}")
        item = typing.get_args(kind)[0]
        return tuple(_read(item, entry, f"{where}[{index}]", lenient) for index, entry in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise DocumentError(f"{where}: expected an object, got {_shown(value)}")
        item = typing.get_args(kind)[1]
        for key in value:
            _sayable(key, where)
        return {key: _read(item, entry, f"{where}.{key}", lenient) for key, entry in value.items()}
    if isinstance(kind, type):
        return _read_plain(kind, value, where, lenient)
    raise TypeError(f"{where}: {kind!r} has no JSON form")


def _tagged(options: list[Any], value: Any, where: str) -> Any:
    """The class of a union that the document's `op` names."""
    by_op = {option.op: option for option in options}
    op = value.get("op") if isinstance(value, dict) else None
    if not isinstance(op, str) or op not in by_op:
        raise DocumentError(f"{where}: op {_shown(op)} is not known; known: {', '.join(by_op)}")
    return by_op[op]


def _shown(value: Any) -> str:
    """A foreign value, short enough for a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _read_plain(kind: Any, value: Any, where: str, lenient: bool) -> Any:
    if kind is Digest:
        return Digest.parse(_expect(str, value, where))
    if issubclass(kind, enum.Enum):
        try:
            return kind(value)
        except (ValueError, TypeError):
            if lenient:
                return newer(kind, _expect(str, value, where))
            known = ", ".join(str(member.value) for member in kind)
            raise DocumentError(f"{where}: {_shown(value)} is not known; known: {known}") from None
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where, lenient)
    if kind is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            raise DocumentError(f"{where}: {_shown(value)} is too large") from None
    return _expect(kind, value, where)


def _expect(kind: Any, value: Any, where: str) -> Any:
    if type(value) is not kind:
        raise DocumentError(f"{where}: expected {kind.__name__}, got {_shown(value)}")
    if kind is float and not math.isfinite(value):
        raise DocumentError(f"{where}: {value!r} is not finite")
    if kind is int and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise DocumentError(f"{where}: {_shown(value)} is too large")
    if kind is str:
        _sayable(value, where)
    return value


def _sayable(text: str, where: str) -> None:
    """JSON can spell half a character, which no file and no message takes."""
    if len(text) > MAX_TEXT_CHARACTERS:
        raise DocumentError(f"{where}: a text of {len(text):,} characters; at most {MAX_TEXT_CHARACTERS:,} are read")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DocumentError(f"{where}: {_shown(text)} is no text") from None


def _read_dataclass(kind: Any, value: Any, where: str, lenient: bool) -> Any:
    if not isinstance(value, dict):
        raise DocumentError(f"{where}: expected an object, got {_shown(value)}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    tag = {"op"} if isinstance(getattr(kind, "op", None), str) else set()
    if tag and value.get("op") != kind.op:
        raise DocumentError(f"{where}: op {_shown(value.get('op'))} is not {kind.op!r}")
    unknown = sorted(set(value) - set(fields) - tag)
    if unknown and not lenient:
        raise DocumentError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(fields)}")
    hints = _hints(kind)
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _read(hints[name], value[name], f"{where}.{name}", lenient)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise DocumentError(f"{where}: missing key {name!r}")
    try:
        return kind(**arguments)
    except EdgectlError as exc:
        if lenient:
            return kept(kind, arguments)
        raise type(exc)(f"{where}: {exc.message}", hint=exc.hint) from exc
