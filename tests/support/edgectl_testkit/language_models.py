"""Genuine language models with small nets and seeded random weights: `PYTHON language_models.py KIND FOLDER [SIZE]`.

Runs inside the toolchain `transformers`, which builds and saves everything; the tokenizer is byte-level BPE, trained on
the text below. Rows of 256 numbers are the shortest that blocks of 256 weights allow.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

KINDS = ("llama", "mistral", "qwen2", "qwen3", "ternary")
SIZES = {
    "tiny": {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4},
    "bench": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12},
}
VOCABULARY = 1024
STOP = "<|end|>"
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant: "
# The regular expressions by which these families cut a text before BPE.
CUT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {"llama": CUT % r"\p{N}{1,3}", "qwen2": CUT % r"\p{N}"}
CORPUS = (
    "pick up the red cube and place it in the top drawer",
    "open the drawer, close the lid of the box, fold the towel in half",
    "push the block to the left; stack the two bowls; hand over the screwdriver",
    "place the cup on the saucer, then turn the knob to the right by 90 degrees",
    "The gripper is open at 0.04 m. The arm moves 12 cm forward, 3 cm down and stops.",
    "Robots see, think and act: a policy looks at images and at a state, and answers with actions.",
    "What is on the table? Three blocks, one green, one blue, and a bowl that isn't empty.",
)


def tokenizer(split: str) -> Any:
    """A tokenizer of at most `VOCABULARY` tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLITS[split]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[STOP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(CORPUS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=STOP, pad_token=STOP)
    fast.chat_template = TEMPLATE
    return fast


def save(kind: str, out: Path, size: str = "tiny") -> None:
    """A model and its tokenizer."""
    import torch
    import transformers

    family = {"ternary": "llama"}.get(kind, kind)
    split = "qwen2" if family.startswith("qwen") else "llama"
    fast = tokenizer(split)
    name = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}[family]
    sizes = dict(SIZES[size])
    heads = sizes["num_attention_heads"]
    config = getattr(transformers, f"{name}Config")(
        **sizes,
        vocab_size=VOCABULARY,
        num_key_value_heads=heads // 2,
        head_dim=sizes["hidden_size"] // heads,
        max_position_embeddings=2048,
        # One of each kind, so that both are proved.
        tie_word_embeddings=kind in ("qwen2", "qwen3"),
        initializer_range=0.08 if size == "tiny" else 0.02,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    torch.manual_seed(20_261)
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key.endswith("bias"):
                weight.normal_(0.0, 0.1)
            elif "norm" in key:
                weight.normal_(1.0, 0.1)
            elif kind == "ternary" and "_proj" in key:
                weight.copy_(torch.sign(weight) * (weight.abs() > weight.std() / 2) * weight.abs().mean())
    model.save_pretrained(out)
    fast.save_pretrained(out)


if __name__ == "__main__":
    save(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
