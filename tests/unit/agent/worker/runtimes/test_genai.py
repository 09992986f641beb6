"""ONNX Runtime GenAI on a model made by hand, of which numpy knows the answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from contracts.language_runtime import TEXT, LanguageRuntimeContract
from edgectl_protos.domain.errors import BundleCorruptError

VOCABULARY, HIDDEN = 12, 8
EMBEDDING, OUTPUT = (
    np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    for seed, shape in ((1, (VOCABULARY, HIDDEN)), (2, (HIDDEN, VOCABULARY)))
)


def model() -> onnx.ModelProto:
    """Its cache holds the embeddings of all tokens so far, and the logits are of their sum."""
    ports = {
        "input_ids": (TensorProto.INT64, ["b", "s"]),
        "attention_mask": (TensorProto.INT64, ["b", "t"]),
        "past_key_values.0.key": (TensorProto.FLOAT, ["b", 1, "p", HIDDEN]),
        "past_key_values.0.value": (TensorProto.FLOAT, ["b", 1, "p", HIDDEN]),
    }
    outputs = {
        "logits": (TensorProto.FLOAT, ["b", 1, VOCABULARY]),
        "present.0.key": (TensorProto.FLOAT, ["b", 1, "t", HIDDEN]),
        "present.0.value": (TensorProto.FLOAT, ["b", 1, "t", HIDDEN]),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["seen"]),
        helper.make_node("Unsqueeze", ["seen", "one"], ["new"]),
        helper.make_node("Concat", ["past_key_values.0.key", "new"], ["present.0.key"], axis=2),
        helper.make_node("Concat", ["past_key_values.0.value", "new"], ["present.0.value"], axis=2),
        helper.make_node("ReduceSum", ["present.0.key", "two"], ["total"], keepdims=0),
        helper.make_node("MatMul", ["total", "output"], ["logits"]),
    ]
    constants = {"embedding": EMBEDDING, "output": OUTPUT, "one": np.array([1]), "two": np.array([2])}
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info(name, *spec) for name, spec in ports.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def config() -> dict[str, object]:
    names = {"input_ids": "input_ids", "attention_mask": "attention_mask"}
    names |= {"past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"}
    present = {"present_key_names": "present.%d.key", "present_value_names": "present.%d.value"}
    decoder = {
        "session_options": {"provider_options": []},
        "filename": "model.onnx",
        "head_size": HIDDEN,
        "hidden_size": HIDDEN,
        "inputs": names,
        "outputs": {"logits": "logits", **present},
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "num_key_value_heads": 1,
    }
    described = {"type": "llama", "vocab_size": VOCABULARY, "context_length": 64, "decoder": decoder}
    described |= {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return {"model": described, "search": {"max_length": 64, "past_present_share_buffer": False}}


class TestGenAiRuntime(LanguageRuntimeContract):
    runtime_name = "genai"
    library = "onnxruntime_genai"
    scheme = "fp32"
    entry = ""
    vocabulary = VOCABULARY
    tolerance = 1e-5

    def write(self, folder: Path) -> None:
        onnx.save(model(), str(folder / "model.onnx"))
        (folder / "genai_config.json").write_text(json.dumps(config()))

    def logits(self, ids: tuple[int, ...]) -> np.ndarray:
        return EMBEDDING[list(ids)].sum(axis=0) @ OUTPUT

    def damage(self, folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"not a graph")

    def test_a_folder_without_its_config_is_named(self, runtime, folder):
        (folder / "genai_config.json").unlink()
        with pytest.raises(BundleCorruptError, match="genai_config.json"):
            runtime.load(folder, self.component(), 1)

    def test_a_token_reads_the_weights_and_the_cache_so_far(self, runtime, folder):
        graph = runtime.load(folder, self.component(), 1)
        assert graph.token_bytes(10) == 0
        component = replace(self.component(), options={"context": "16", "weight_bytes": "1000"})
        graph = runtime.load(folder, component, 1)
        # Keys and values, one layer of one head, in float32.
        assert graph.token_bytes(10) == 1000 + 2 * HIDDEN * 4 * 10
        graph.prefill(np.array(TEXT))
