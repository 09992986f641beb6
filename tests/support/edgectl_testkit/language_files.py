"""Language models on disk without torch: Hugging Face directories, and GGUF files, spoiled on purpose by tests."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

__all__ = ["CONFIG", "gguf_bytes", "hf_dir", "hf_tensors"]

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 32,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "eos_token_id": 3,
}
_FORMS = {int: (4, "<I"), float: (6, "<f"), bool: (7, "<?")}


def hf_tensors() -> dict[str, np.ndarray[Any, Any]]:
    """The weights of `CONFIG`, random."""
    rng = np.random.default_rng(0)
    shapes = {"model.embed_tokens.weight": (32, 8), "lm_head.weight": (32, 8), "model.norm.weight": (8,)}
    for layer in range(2):
        parts = {"q": (8, 8), "k": (4, 8), "v": (4, 8), "o": (8, 8)}
        shapes |= {f"model.layers.{layer}.self_attn.{name}_proj.weight": shape for name, shape in parts.items()}
        parts = {"gate": (16, 8), "up": (16, 8), "down": (8, 16)}
        shapes |= {f"model.layers.{layer}.mlp.{name}_proj.weight": shape for name, shape in parts.items()}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def hf_dir(folder: Path, *, shards: int = 1, config: dict[str, Any] | None = None) -> Path:
    """A directory as save_pretrained writes it, in one file or several."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE"}}))
    (folder / "tokenizer_config.json").write_text("{}")
    tensors = hf_tensors()
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    places = {name: f"model-{at % shards + 1:05}-of-{shards:05}.safetensors" for at, name in enumerate(tensors)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name, place in places.items() if place == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def gguf_bytes(values: dict[str, Any], tensors: dict[str, tuple[int, tuple[int, ...], bytes]]) -> bytes:
    """A GGUF file of version 3: values by key, and tensors by name as (number of the type, shape, data)."""
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    for key, value in values.items():
        header += _text(key) + _value(value)
    data = b""
    for name, (kind, shape, body) in tensors.items():
        header += _text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
        header += struct.pack("<IQ", kind, len(data))
        data += body + bytes(-len(body) % 32)
    return header + bytes(-len(header) % 32) + data


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        kind, body = (8, b"".join(map(_text, value))) if isinstance(value[0], str) else _numbers(value)
        return struct.pack("<IIQ", 9, kind, len(value)) + body
    kind, form = _FORMS[type(value)]
    return struct.pack("<I", kind) + struct.pack(form, value)


def _numbers(values: list[Any]) -> tuple[int, bytes]:
    # Of llama.cpp's lists those of integers are signed.
    kind, form = (5, "<i") if type(values[0]) is int else _FORMS[type(values[0])]
    return kind, b"".join(struct.pack(form, value) for value in values)
