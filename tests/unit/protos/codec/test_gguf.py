"""GGUF headers: what they say, and that nothing in them is believed before it is looked at."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgectl_protos.codec.gguf import read_gguf
from edgectl_protos.domain.errors import DocumentError
from edgectl_testkit.language_files import gguf_bytes

VALUES = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.rope.freq_base": 1e4,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.ggml.tokens": ["a", "Ġb"],
    "tokenizer.ggml.token_type": [1, 3],
}
Q8_0, F32 = 8, 0
TENSORS = {
    "token_embd.weight": (F32, (2, 32), bytes(256)),
    "blk.0.ffn_up.weight": (Q8_0, (4, 64), bytes(4 * 68)),
    "blk.0.attn_norm.weight": (F32, (64,), bytes(256)),
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(VALUES, TENSORS))
    return path


def test_values_and_tensors_are_what_was_written(file):
    found = read_gguf(file)
    assert found.values == VALUES
    assert [(t.name, t.type, t.shape, t.size_bytes) for t in found.tensors] == [
        ("token_embd.weight", "F32", (2, 32), 256),
        ("blk.0.ffn_up.weight", "Q8_0", (4, 64), 272),
        ("blk.0.attn_norm.weight", "F32", (64,), 256),
    ]
    assert (found.size_bytes, found.parameters, found.layer_type) == (784, 384, "Q8_0")
    assert (found.of_model("block_count"), found.of_model("nothing")) == (2, None)


def test_a_file_that_was_cut_short_is_refused_wherever_it_was_cut(file):
    data = file.read_bytes()
    for length in range(1, len(data), 7):
        file.write_bytes(data[:length])
        with pytest.raises(DocumentError, match="cut short|no GGUF file"):
            read_gguf(file)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cannot be read"),
        (b"GGML" + bytes(64), "no GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 0), "claims"),
        (gguf_bytes({}, {"x": (99, (32,), bytes(8))}), "type 99"),
        (gguf_bytes({}, {"x": (Q8_0, (33,), bytes(64))}), "no blocks of 32"),
        (gguf_bytes({"general.alignment": 0}, {}), "alignment"),
    ],
)
def test_what_is_wrong_is_named(file, data, words):
    file.write_bytes(data)
    with pytest.raises(DocumentError, match=words):
        read_gguf(file)


@given(at=st.integers(4, 600), byte=st.integers(0, 255))
@settings(deadline=None, max_examples=200)
def test_any_damage_gives_a_value_or_our_error(tmp_path_factory, at, byte):
    data = bytearray(gguf_bytes(VALUES, TENSORS))
    data[at % len(data)] = byte
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    path.write_bytes(bytes(data))
    with contextlib.suppress(DocumentError):
        read_gguf(path)
