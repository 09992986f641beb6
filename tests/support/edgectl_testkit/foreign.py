"""What a stranger may send where a document is expected: strategies for tests that a reader is total."""

from __future__ import annotations

import json

from hypothesis import strategies as st

__all__ = ["json_values", "odd_bytes"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
"""Any JSON value, also numbers that no float holds."""

_deep = st.integers(1, 200_000).map(lambda depth: b"[" * depth)
odd_bytes = st.one_of(
    st.binary(max_size=200),
    _deep,
    st.sampled_from(
        [
            b"",
            b"null",
            b'{"a":' * 100_000,
            b"1" * 10_000,
            b"1e999",
            b"NaN",
            b'"\xff"',
            b"\xff\xfe[\x00]\x00",
            b'"\\ud800"',
            b'{"op":"Probe","body":' + b"[" * 900 + b"]" * 900 + b"}",
        ]
    ),
    json_values.map(lambda value: json.dumps(value).encode()),
)
"""Bytes that are no document, or one of an odd depth, size or encoding."""
