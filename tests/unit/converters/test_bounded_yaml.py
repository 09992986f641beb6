from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgectl_converters.bounded_yaml import MAX_SIZE_BYTES, YamlError, parse_yaml, read_yaml


def test_plain_scalars_are_what_they_look_like():
    text = "{a: 1, b: 1e-3, c: -0.5, d: true, e: null, f: yes, g: 2024-99-99, h: '1', i: 1:30, j: .5, k: on}"
    assert parse_yaml(text) == {
        "a": 1, "b": 0.001, "c": -0.5, "d": True, "e": None, "f": "yes", "g": "2024-99-99", "h": "1", "i": "1:30",
        "j": 0.5, "k": "on",
    }  # fmt: skip


def test_keys_are_texts():
    assert parse_yaml("1: {true: x}") == {"1": {"true": "x"}}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: &x 1\nb: *x", "alias"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' stands twice"),
        ("a: !!python/name:os.system x", "tag"),
        ("a: !!binary aGk=", "tag"),
        ("[a]: 1", "a key that is no text"),
        ("a: [1", "line"),
        ("[" * 100_000, "nested deeper"),
        ("- " * 5_000 + "a", "nested deeper"),
        ("[" + "1," * 120_000 + "]", "more than"),
        ("x" * (MAX_SIZE_BYTES + 1), "longer"),
        (b"\xff\xfe", "no UTF-8"),
        ('"\\UFFFFFFFF"', "too large"),
        ("a: b\n---\nc: d", "single document|document"),
        ("a\0b", "character"),
    ],
)
def test_what_is_not_read_is_said(text, word):
    with pytest.raises(YamlError, match=word):
        parse_yaml(text)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(YamlError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="{}[]:,-&*!|>'\"\\#%@ \n\tab01.eU~?", max_size=40))
def test_any_bytes_give_values_or_our_error(data):
    with contextlib.suppress(YamlError):
        parse_yaml(data)
