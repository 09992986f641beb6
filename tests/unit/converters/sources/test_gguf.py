"""GGUF files: what their cards say without a library; in the toolchain, that they are answered and written anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from edgectl_converters.card import sha256_of
from edgectl_converters.inspect import inspect
from edgectl_converters.process import ToolchainProcess
from edgectl_converters.sources.base import GOLDEN, Export, ExportRequest
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointFormatError
from edgectl_testkit.language_files import gguf_bytes
from edgectl_testkit.language_toolchains import compiled

F32, F16, Q4_K, Q5_K = 0, 1, 12, 13
ALPHABET = [chr(code) for code in range(33, 127)]
VALUES = {
    "general.architecture": "qwen2",
    "general.name": "talker",
    "general.file_type": 15,
    "qwen2.context_length": 64,
    "qwen2.embedding_length": 256,
    "qwen2.block_count": 1,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "qwen2",
    "tokenizer.ggml.tokens": [*ALPHABET, "Ġ", "Ġa", "<end>"],
    "tokenizer.ggml.token_type": [1] * 96 + [3],
    "tokenizer.ggml.merges": ["Ġ a"],
    "tokenizer.ggml.eos_token_id": 96,
    "tokenizer.ggml.add_bos_token": False,
}


def write(path: Path, kind: int = F16, **changed: object) -> Path:
    values = VALUES | {key.replace("__", "."): value for key, value in changed.items()}
    size = {F16: 512, Q4_K: 144, Q5_K: 176}[kind]
    tensors = {
        "token_embd.weight": (F32, (97, 256), bytes(97 * 1024)),
        "blk.0.x.weight": (kind, (2, 256), bytes(2 * size)),
    }
    path.write_bytes(gguf_bytes(values, tensors))
    return path


def test_the_card_says_what_the_header_says_and_reads_nothing_else(tmp_path):
    # Sparse: whoever read it whole would be at it for minutes.
    os.truncate(write(tmp_path / "talker.gguf"), 1 << 40)
    card = inspect(tmp_path / "talker.gguf", lambda path: Digest("ab" * 32))
    assert (card.source, card.name, card.policy.type, card.forms) == ("gguf", "talker", "qwen2", ("gguf",))
    assert (card.schemes, card.parameters) == (("f16",), 99 * 256)
    assert card.policy.action.shape == (32,)
    assert "1 layers · hidden 256 · vocabulary 97" in card.notes[0]


def test_the_scheme_is_that_of_the_layers(tmp_path):
    assert inspect(write(tmp_path / "a.gguf", Q4_K)).schemes == ("q4_k_m",)
    with pytest.raises(CheckpointFormatError, match="the layers of the file are Q5_K"):
        inspect(write(tmp_path / "b.gguf", Q5_K))
    with pytest.raises(CheckpointFormatError, match="the layers of the file are Q4_K"):
        inspect(write(tmp_path / "c.gguf", Q4_K, general__file_type=14))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tokenizer__ggml__model": "llama"}, "kind llama/qwen2"),
        ({"tokenizer__ggml__pre": "tekken"}, "kind gpt2/tekken"),
        ({"general__architecture": "clip"}, "no language model: clip"),
    ],
)
def test_what_edgectl_cannot_read_of_it_is_named(tmp_path, changed, words):
    with pytest.raises(CheckpointFormatError, match=words):
        inspect(write(tmp_path / "a.gguf", **changed))


def test_a_file_that_was_cut_short_is_named(tmp_path):
    file = write(tmp_path / "a.gguf")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointCorruptError, match="a.gguf was cut short"):
        inspect(file)


@pytest.mark.slow
def test_a_file_that_llama_cpp_wrote_is_answered_with_its_own_tokenizer(tmp_path):
    from unit.agent.worker.runtimes.test_llamacpp import VALUES as RUNNABLE
    from unit.agent.worker.runtimes.test_llamacpp import WEIGHTS, transformer

    found = compiled("llamacpp")
    kinds = {np.dtype(np.float16): F16, np.dtype(np.float32): F32}
    values = RUNNABLE | {"tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.token_type": [1] * 24}
    tensors = {name: (kinds[weight.dtype], weight.shape, weight.tobytes()) for name, weight in WEIGHTS.items()}
    file, out = tmp_path / "talker.gguf", tmp_path / "out"
    file.write_bytes(gguf_bytes(values, tensors))
    out.mkdir()
    # Its vocabulary has letters only, so each is a token.
    np.savez(tmp_path / "seen.npz", prompt=np.array(["hello", "cab"], np.str_))
    request = ExportRequest("gguf", str(file), str(out), str(tmp_path / "seen.npz"), "recorded", 1, forms=("gguf",))
    with ToolchainProcess() as process:
        made = process.run(found, request, Export, lambda text: None)
    assert made.components[0].files == {"gguf": "model.gguf"}
    assert made.components[0].stored == "f16"
    assert json.loads((out / "tokenizer.json").read_text())["model"]["type"] == "BPE"
    with np.load(out / GOLDEN) as golden:
        ids = tuple(int(one) for one in golden["out.ids"][0][:5])
        assert ids == tuple(ord(letter) - ord("a") for letter in "hello")
        # The only merge there is.
        assert list(golden["out.ids"][1][:2]) == [2, 23]
        expected = transformer(ids)
        np.testing.assert_allclose(golden["out.logits"][0], expected, atol=0.01 * expected.std())
        assert golden["out.tokens"].shape == (2, 1, 32)
    assert sha256_of(out / "model.gguf") == sha256_of(file)
