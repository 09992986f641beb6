"""What a newer version says: words that this one does not know are kept and shown as they are, and never understood."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping
from typing import Any, TypeVar

__all__ = ["is_newer", "kept", "newer"]

E = TypeVar("E", bound=enum.Enum)


@functools.lru_cache(maxsize=1024)
def newer(kind: type[E], word: str) -> E:
    """A member for a word that the enum does not have; equal for equal words."""
    member = object.__new__(kind)
    member._name_ = f"NEWER {word}"
    member._value_ = word
    return member


def is_newer(member: enum.Enum) -> bool:
    """Whether it is a word of a newer version."""
    return member.name not in type(member).__members__


def kept(cls: Any, values: Mapping[str, Any]) -> Any:
    """An object of a dataclass, whatever this version's rules say of its values."""
    made = object.__new__(cls)
    for field in dataclasses.fields(cls):
        value = values[field.name] if field.name in values else _default(field)
        object.__setattr__(made, field.name, value)
    return made


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
