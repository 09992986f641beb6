from __future__ import annotations

import random
import struct

import pytest

from edgectl_protos.codec.flat_tables import root_table
from edgectl_protos.domain.errors import DocumentError

# One table by hand: a root, its identifier, a vtable of four fields (the third absent), and what they point to.
_VTABLE = struct.pack("<6H", 12, 16, 4, 8, 0, 12)
_TABLE = struct.pack("<iiII", 12, -7, 8, 15)
_TEXT = struct.pack("<I3sx", 3, b"abc")
_NUMBERS = struct.pack("<I3h", 3, 1, -2, 3)
BUFFER = struct.pack("<I4s", 20, b"TEST") + _VTABLE + _TABLE + _TEXT + _NUMBERS


def test_fields_are_read_by_number_and_absent_ones_are_the_default():
    table = root_table(BUFFER, identifier="TEST")
    assert table.integer(0) == -7
    assert table.text(1) == "abc"
    assert table.integer(2, default=5) == 5
    assert table.integer(9, default=6) == 6
    assert table.text(9) == ""
    assert table.table(9) is None
    assert table.tables(9) == []


def test_another_identifier_is_refused():
    with pytest.raises(DocumentError, match="no OTHR"):
        root_table(BUFFER, identifier="OTHR")


def test_whatever_the_bytes_are_a_value_or_our_error_comes_out():
    drawn = random.Random(1)
    for _ in range(3000):
        data = bytearray(BUFFER[: drawn.randrange(len(BUFFER) + 1)])
        for _ in range(drawn.randrange(4)):
            if data:
                data[drawn.randrange(len(data))] = drawn.randrange(256)
        try:
            table = root_table(bytes(data))
            for field in range(5):
                table.integer(field)
                table.text(field)
                table.integers(field, "h")
                table.data(field)
                for one in [*table.tables(field), table.table(field)]:
                    if one is not None:
                        one.integer(0)
        except DocumentError:
            pass
