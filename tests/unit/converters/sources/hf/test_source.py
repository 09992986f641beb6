"""Hugging Face directories: what their cards say, and what is wrong with them, without torch."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgectl_converters.inspect import inspect
from edgectl_converters.sources.hf.source import HuggingFaceSource
from edgectl_converters.sources.registry import source
from edgectl_protos.domain.errors import (
    CheckpointCorruptError,
    CheckpointFormatError,
    ShapeError,
    TokenizerError,
)
from edgectl_protos.domain.policy import FeatureKind
from edgectl_testkit.language_files import CONFIG, hf_dir, hf_tensors


@pytest.mark.parametrize("shards", [1, 3])
def test_the_card_says_what_the_directory_is(tmp_path, shards):
    folder = hf_dir(tmp_path / "talker", shards=shards)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    card = inspect(folder)
    assert (card.source, card.name, card.policy.type, card.toolchain) == ("hf", "talker", "llama", "transformers")
    assert card.forms == ("hf",)
    assert card.parameters == sum(tensor.size for tensor in hf_tensors().values())
    assert card.policy.is_text
    assert card.policy.action.shape == (32,)
    assert [feature.kind for feature in card.policy.observations] == [FeatureKind.LANGUAGE]
    said = " ".join(card.notes)
    assert "LlamaForCausalLM · 2 layers · hidden 8 · vocabulary 32" in said
    assert "with a chat template" in said


def test_the_digest_covers_weights_config_and_tokenizer(tmp_path):
    seen = set()
    for name, text in (("", ""), ("tokenizer.json", '{"model": 1}'), ("generation_config.json", "{}")):
        folder = hf_dir(tmp_path / f"with-{name}")
        if name:
            (folder / name).write_text(text)
        seen.add(inspect(folder).digest)
    assert len(seen) == 3


def test_a_policy_directory_is_left_to_the_others(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"type": "act"}))
    assert not HuggingFaceSource().sniff(tmp_path)
    assert source("lerobot").sniff(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert not HuggingFaceSource().sniff(tmp_path)


def test_missing_shards_are_named(tmp_path):
    folder = hf_dir(tmp_path / "m", shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointCorruptError, match="lacks 1 of 3 shards: model-00002-of-00003.safetensors"):
        inspect(folder)


def test_a_shard_that_was_cut_short_is_named(tmp_path):
    folder = hf_dir(tmp_path / "m", shards=2)
    file = folder / "model-00002-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(CheckpointCorruptError, match=r"model-00002-of-00002.safetensors has .* cut short"):
        inspect(folder)


def test_a_shard_of_another_model_is_named(tmp_path):
    folder = hf_dir(tmp_path / "m", shards=2)
    file = folder / "model-00001-of-00002.safetensors"
    save_file({"other": np.zeros(2, np.float32)}, file)
    with pytest.raises(CheckpointCorruptError, match="model-00001-of-00002.safetensors does not hold"):
        inspect(folder)


def test_a_git_lfs_pointer_is_named(tmp_path):
    folder = hf_dir(tmp_path / "m")
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n")
    with pytest.raises(CheckpointCorruptError, match="Git LFS pointer"):
        inspect(folder)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"architectures": ["BertModel"]}, CheckpointFormatError, "architecture BertModel"),
        ({"architectures": []}, CheckpointFormatError, "architecture none"),
        ({"hidden_size": "big"}, CheckpointCorruptError, "hidden_size is big"),
        ({"num_hidden_layers": 3}, CheckpointCorruptError, "no model.layers.2.self_attn.q_proj.weight"),
        ({"vocab_size": 33}, ShapeError, r"model.embed_tokens.weight is \[32, 8\]; config.json says \[33, 8\]"),
        ({"num_key_value_heads": 2}, ShapeError, "k_proj"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path, changed, error, words):
    with pytest.raises(error, match=words):
        inspect(hf_dir(tmp_path / "m", config=changed))


def test_a_directory_without_weights_or_tokenizer_is_refused(tmp_path):
    folder = hf_dir(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match="no tokenizer.json"):
        inspect(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointCorruptError, match="pytorch_model.bin, whose pickles edgectl does not open"):
        inspect(folder)


def test_an_adapter_is_told_from_a_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "lab/base"}))
    with pytest.raises(CheckpointFormatError, match="adapter for lab/base") as caught:
        inspect(tmp_path)
    assert "merge_and_unload" in caught.value.hint


WEIGHTS = {"config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 128}}}}
SAID = {
    "modelopt fp8": ({"quant_method": "modelopt", "quant_algo": "FP8"}, "ModelOpt (FP8)", "q8_0"),
    "modelopt nvfp4": ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "ModelOpt (NVFP4)", "q4_k_m"),
    "modelopt smoothed": (
        {"quant_method": "modelopt", "quant_algo": "W8A8_SQ_PER_CHANNEL"},
        "ModelOpt (W8A8_SQ_PER_CHANNEL)",
        "q8_0",
    ),
    "compressed": (
        {"quant_method": "compressed-tensors", "format": "pack-quantized", **WEIGHTS},
        "compressed-tensors (pack-quantized, weights int4, groups of 128)",
        "q4_k_m",
    ),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 128}, "AWQ (4 bits, groups of 128)", "q4_k_m"),
    "gptq": ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "GPTQ (8 bits)", "q8_0"),
    "torchao": (
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}}},
        "torchao (Int8WeightOnlyConfig)",
        "q8_0",
    ),
    "bitsandbytes": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        "bitsandbytes (nf4)",
        "q4_k_m",
    ),
    "bitnet": ({"quant_method": "bitnet"}, "BitNet (ternary weights)", "tq2_0"),
    "unknown": ({"quant_method": "quip-sharp"}, "quip-sharp", "q8_0"),
}


@pytest.mark.parametrize("case", SAID, ids=str)
def test_a_checkpoint_that_is_quantised_is_refused_with_its_tool_and_scheme(tmp_path, case):
    said, words, nearest = SAID[case]
    with pytest.raises(CheckpointFormatError) as caught:
        inspect(hf_dir(tmp_path / "m", config={"quantization_config": said}))
    assert f"by {words}" in caught.value.message
    assert nearest in caught.value.hint


def test_older_modelopt_and_mlx_say_it_elsewhere(tmp_path):
    folder = hf_dir(tmp_path / "a")
    (folder / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "W4A16_AWQ"}}))
    with pytest.raises(CheckpointFormatError, match="ModelOpt .W4A16_AWQ"):
        inspect(folder)
    with pytest.raises(CheckpointFormatError, match="MLX .4 bits, groups of 64"):
        inspect(hf_dir(tmp_path / "b", config={"quantization": {"bits": 4, "group_size": 64}}))


@pytest.mark.parametrize(
    ("suffix", "words"),
    [("qweight", "GPTQ or AWQ"), ("weight_packed", "compressed-tensors"), ("SCB", "bitsandbytes")],
)
def test_tensors_tell_what_the_config_does_not(tmp_path, suffix, words):
    folder = hf_dir(tmp_path / "m")
    name = f"model.layers.0.self_attn.q_proj.{suffix}"
    save_file(hf_tensors() | {name: np.zeros((4, 4), np.int32)}, folder / "model.safetensors")
    with pytest.raises(CheckpointFormatError, match=words):
        inspect(folder)


def test_a_weight_of_integers_is_refused_whatever_the_config_says(tmp_path):
    folder = hf_dir(tmp_path / "m")
    tensors = hf_tensors()
    tensors["lm_head.weight"] = np.zeros((32, 8), np.int8)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointFormatError, match="lm_head.weight is I8"):
        inspect(folder)


def test_end_tokens_of_generation_come_first(tmp_path):
    from edgectl_converters.sources.hf.config import read_config

    folder = hf_dir(tmp_path / "m")
    assert read_config(folder).stops == (CONFIG["eos_token_id"],)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    assert read_config(folder).stops == (7, 9)
