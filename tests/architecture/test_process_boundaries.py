"""What crosses a process boundary is typed to the last field: no `dict[str, Any]`, no `Any`, no bare container."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing

import pytest

from edgectl_converters.passes.base import PassRequest
from edgectl_converters.sources.base import Export, ExportRequest
from edgectl_converters.targets.base import BuildRequest, Built
from edgectl_converters.worker import Kind
from edgectl_protos.codec import wire
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.worker.messages import MESSAGES

LEAVES = (str, int, float, bool, types.NoneType, Digest)


def crossing() -> dict[str, type]:
    found = dict(MESSAGES)
    found |= {cls.__name__: cls for cls in wire.MESSAGES}
    toolchain = (Kind, ExportRequest, Export, PassRequest, BuildRequest, Built)
    return found | {cls.__name__: cls for cls in toolchain}


def loose(kind: object, where: str, seen: set[object]) -> list[str]:
    """Places below a type that are not typed."""
    if kind in seen or kind in LEAVES or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return []
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        seen.add(kind)
        hints = typing.get_type_hints(kind)
        return [
            place
            for field in dataclasses.fields(kind)
            for place in loose(hints[field.name], f"{where}.{field.name}", seen)
        ]
    if typing.get_origin(kind) in (tuple, dict, types.UnionType, typing.Union):
        arguments = [part for part in typing.get_args(kind) if part is not Ellipsis]
        return [place for part in arguments for place in loose(part, where, seen)]
    return [f"{where}: {kind}"]


@pytest.mark.parametrize("cls", crossing().values(), ids=crossing().keys())
def test_everything_that_crosses_is_typed_to_the_last_field(cls):
    assert loose(cls, cls.__name__, set()) == []


def test_the_check_itself_finds_what_is_loose():
    @dataclasses.dataclass
    class Loose:
        body: dict[str, typing.Any]

    assert loose(Loose, "Loose", set()) == ["Loose.body: typing.Any"]
