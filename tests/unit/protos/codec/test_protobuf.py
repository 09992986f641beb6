"""Protobuf without generated code, against the library's own encoder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import StringStringEntryProto, TensorProto

from edgectl_protos.codec import protobuf
from edgectl_protos.codec.protobuf import numbers, parts
from edgectl_protos.domain.errors import DocumentError

TENSOR = TensorProto(
    dims=[3, 1 << 40], data_type=1, name="w", raw_data=bytes(300), external_data=[StringStringEntryProto(key="k")]
).SerializeToString()


def test_fields_are_found_by_number_where_they_stand():
    found = {number: TENSOR[start:stop] for number, start, stop in parts(TENSOR, 0, len(TENSOR))}
    assert found == {8: b"w", 9: bytes(300), 13: b"\x0a\x01k"}
    assert list(numbers(TENSOR, 0, len(TENSOR))) == [(1, 3), (1, 1 << 40), (2, 1)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x0a", "ends inside a number"),
        (b"\x0a\x05abc", "longer than its message"),
        (b"\x0d\0\0", "ends inside a field"),
        (b"\x0b", "wire type 3"),
        (b"\x02\x00", "number 0"),
        (b"\x08" + b"\xff" * 11, "more than ten bytes"),
    ],
)
def test_what_is_no_message_is_refused(data, why):
    with pytest.raises(DocumentError, match=why):
        list(parts(data, 0, len(data)))


def test_it_ends_after_a_bounded_number_of_fields(monkeypatch):
    monkeypatch.setattr(protobuf, "_MAX_FIELDS", 100)
    with pytest.raises(DocumentError, match="more than 100 fields"):
        list(numbers(b"\x08\x01" * 101, 0, 202))


@given(st.binary(max_size=300), st.integers(0, 300))
def test_whatever_the_bytes_fields_lie_inside_or_it_is_our_error(data, cut):
    for message in (data, TENSOR[:cut]):
        try:
            found = list(parts(message, 0, len(message)))
        except DocumentError:
            continue
        assert all(0 < start <= stop <= len(message) for _, start, stop in found)
