"""llama.cpp on a file made by hand, against a transformer of one layer in numpy."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from contracts.language_runtime import TEXT, LanguageRuntimeContract
from edgectl_protos.domain.errors import BundleCorruptError, DeviceError, PrecisionError
from edgectl_testkit.language_files import gguf_bytes
from edgectl_testkit.language_toolchains import borrow, compiled

HIDDEN, INNER, HEADS, HEAD, VOCABULARY = 64, 96, 2, 32, 24
EPSILON, BASE = 1e-5, 10_000.0
F32, F16 = 0, 1
VALUES = {
    "general.architecture": "llama",
    "llama.context_length": 64,
    "llama.embedding_length": HIDDEN,
    "llama.block_count": 1,
    "llama.feed_forward_length": INNER,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": 1,
    "llama.attention.layer_norm_rms_epsilon": EPSILON,
    "llama.rope.freq_base": BASE,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "qwen2",
    "tokenizer.ggml.tokens": [*(chr(ord("a") + at) for at in range(VOCABULARY - 1)), "ab"],
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.eos_token_id": 0,
}


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shapes = {
        "token_embd.weight": (VOCABULARY, HIDDEN),
        "output.weight": (VOCABULARY, HIDDEN),
        "blk.0.attn_q.weight": (HEADS * HEAD, HIDDEN),
        "blk.0.attn_k.weight": (HEAD, HIDDEN),
        "blk.0.attn_v.weight": (HEAD, HIDDEN),
        "blk.0.attn_output.weight": (HIDDEN, HEADS * HEAD),
        "blk.0.ffn_gate.weight": (INNER, HIDDEN),
        "blk.0.ffn_up.weight": (INNER, HIDDEN),
        "blk.0.ffn_down.weight": (HIDDEN, INNER),
    }
    found = {name: rng.normal(0, 0.3, shape).astype(np.float16) for name, shape in shapes.items()}
    norms = ("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight")
    return found | {name: rng.uniform(0.8, 1.2, HIDDEN).astype(np.float32) for name in norms}


WEIGHTS = weights()


def norm(x: np.ndarray, name: str) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * WEIGHTS[name]


def product(x: np.ndarray, name: str) -> np.ndarray:
    return x @ WEIGHTS[name].astype(np.float64).T


def turned(x: np.ndarray) -> np.ndarray:
    """Rotary positions of [n, head], in pairs of neighbours."""
    angles = np.arange(len(x))[:, None] * BASE ** (-np.arange(0, HEAD, 2) / HEAD)
    even, odd = x[:, ::2], x[:, 1::2]
    out = np.empty_like(x)
    out[:, ::2] = even * np.cos(angles) - odd * np.sin(angles)
    out[:, 1::2] = even * np.sin(angles) + odd * np.cos(angles)
    return out


def transformer(ids: tuple[int, ...]) -> np.ndarray:
    x = WEIGHTS["token_embd.weight"][list(ids)].astype(np.float64)
    seen = norm(x, "blk.0.attn_norm.weight")
    keys, values = turned(product(seen, "blk.0.attn_k.weight")), product(seen, "blk.0.attn_v.weight")
    heads = []
    for query in np.split(product(seen, "blk.0.attn_q.weight"), HEADS, axis=1):
        scores = turned(query) @ keys.T / np.sqrt(HEAD) + np.triu(np.full((len(ids),) * 2, -np.inf), 1)
        share = np.exp(scores - scores.max(-1, keepdims=True))
        heads.append(share / share.sum(-1, keepdims=True) @ values)
    x = x + product(np.concatenate(heads, axis=1), "blk.0.attn_output.weight")
    seen = norm(x, "blk.0.ffn_norm.weight")
    gate = product(seen, "blk.0.ffn_gate.weight")
    x = x + product(gate / (1 + np.exp(-gate)) * product(seen, "blk.0.ffn_up.weight"), "blk.0.ffn_down.weight")
    return product(norm(x, "output_norm.weight"), "output.weight")[-1].astype(np.float32)


def model(values: dict[str, object] = VALUES) -> bytes:
    kinds = {np.dtype(np.float16): F16, np.dtype(np.float32): F32}
    return gguf_bytes(values, {n: (kinds[w.dtype], w.shape, w.tobytes()) for n, w in WEIGHTS.items()})


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    borrow(compiled("llamacpp"), monkeypatch)


class TestLlamaCppRuntime(LanguageRuntimeContract):
    runtime_name = "llamacpp"
    library = "llama_cpp"
    scheme = "f16"
    entry = "model.gguf"
    vocabulary = VOCABULARY
    tolerance = 1e-2
    """The cache and the activations of products are in half precision."""

    def write(self, folder: Path) -> None:
        (folder / self.entry).write_bytes(model())

    def logits(self, ids: tuple[int, ...]) -> np.ndarray:
        return transformer(ids)

    def damage(self, folder: Path) -> None:
        file = folder / self.entry
        file.write_bytes(file.read_bytes()[:-40])

    def test_a_file_that_only_the_library_refuses_is_named_with_its_words(self, runtime, folder):
        (folder / self.entry).write_bytes(model({**VALUES, "general.architecture": "nothing"}))
        with pytest.raises(BundleCorruptError, match="unknown model architecture: 'nothing'"):
            runtime.load(folder / self.entry, self.component(), 1)

    def test_a_token_reads_the_weights_but_the_embedding_and_the_cache_so_far(self, runtime, folder):
        graph = runtime.load(folder / self.entry, self.component(), 1)
        stored = sum(weight.nbytes for name, weight in WEIGHTS.items() if name != "token_embd.weight")
        # Keys and values of one head, in half precision.
        assert graph.token_bytes(10) == stored + 2 * HEAD * 2 * 10
        graph.close()

    def test_what_was_loaded_must_be_what_the_file_holds(self, runtime, folder, monkeypatch):
        monkeypatch.setattr(sys.modules["llama_cpp"], "llama_model_size", lambda model: 1)
        with pytest.raises(PrecisionError, match="1 bytes of weights"):
            runtime.load(folder / self.entry, self.component(), 1)

    def test_a_token_that_does_not_exist_is_an_error_of_the_device(self, runtime, folder):
        graph = runtime.load(folder / self.entry, self.component(), 1)
        graph.prefill(np.array(TEXT))
        with pytest.raises(DeviceError, match="llama_decode ended with"):
            graph.decode(VOCABULARY + 5)
        graph.close()
