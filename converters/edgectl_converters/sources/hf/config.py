"""config.json of a Hugging Face directory: which language model it is, and of which size.

Facts: `architectures` names the class, `model_type` the family; a list of end tokens may stand in
generation_config.json alone, and goes before that of config.json; `head_dim` is given where it is not
hidden / heads; the type of the weights is `dtype`, before transformers 5 `torch_dtype`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgectl_converters.sources.lerobot.foreign import read_json
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError, CheckpointFormatError

__all__ = ["ARCHITECTURES", "CONFIG", "ModelConfig", "read_config"]

CONFIG = "config.json"
_GENERATION = "generation_config.json"
ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
"""Those of which every target was seen to write what the reference computes."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What the directory says about its model. `stops` are the tokens that end a text, the first one foremost; `tied`:
    the output layer is the embedding.
    """

    architecture: str
    family: str
    layers: int
    hidden: int
    heads: int
    key_value_heads: int
    head_size: int
    inner: int
    vocabulary: int
    context: int
    tied: bool
    stops: tuple[int, ...]
    quantization: dict[str, Any] | None

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """The matrices that the weights must have, with their shapes; vectors and biases are the library's matter."""
        queries, keys = self.heads * self.head_size, self.key_value_heads * self.head_size
        found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocabulary, self.hidden)}
        if not self.tied:
            found["lm_head.weight"] = (self.vocabulary, self.hidden)
        for layer in range(self.layers):
            shapes = {
                "self_attn.q_proj": (queries, self.hidden),
                "self_attn.k_proj": (keys, self.hidden),
                "self_attn.v_proj": (keys, self.hidden),
                "self_attn.o_proj": (self.hidden, queries),
                "mlp.gate_proj": (self.inner, self.hidden),
                "mlp.up_proj": (self.inner, self.hidden),
                "mlp.down_proj": (self.hidden, self.inner),
            }
            found |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in shapes.items()}
        return found


def read_config(path: Path) -> ModelConfig:
    """The model of a directory.

    Raises:
        CheckpointCorruptError: config.json is missing, is no JSON, or lacks a size.
        CheckpointFormatError: its architecture is none that edgectl converts.
    """
    try:
        document = read_json(path / CONFIG)
    except FileNotFoundError as exc:
        raise CheckpointCorruptError(f"{path} has no {CONFIG}", hint="copy the checkpoint again, whole") from exc
    if not isinstance(document, dict):
        raise CheckpointCorruptError(f"{CONFIG} holds no object", hint="copy the checkpoint again")
    named = document.get("architectures")
    architecture = str(named[0])[:80] if isinstance(named, list) and named else "none"
    if architecture not in ARCHITECTURES:
        raise CheckpointFormatError(
            f"{path} is a Hugging Face model of the architecture {architecture}; edgectl converts the language models "
            f"{', '.join(ARCHITECTURES)}",
            hint="export it as a graph: torch.export.save, then edgectl inspect MODEL.pt2",
        )
    hidden, heads = _whole(document, "hidden_size"), _whole(document, "num_attention_heads")
    quantization = document.get("quantization_config", document.get("quantization"))
    return ModelConfig(
        architecture=architecture,
        family=str(document.get("model_type", "language"))[:40],
        layers=_whole(document, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        key_value_heads=_whole(document, "num_key_value_heads", heads),
        head_size=_whole(document, "head_dim", hidden // heads),
        inner=_whole(document, "intermediate_size"),
        vocabulary=_whole(document, "vocab_size"),
        context=_whole(document, "max_position_embeddings"),
        tied=bool(document.get("tie_word_embeddings", False)),
        stops=_stops(path, document),
        quantization=quantization if isinstance(quantization, dict) else None,
    )


def _whole(document: dict[str, Any], key: str, default: int = 0) -> int:
    value = document.get(key)
    if value is None and default:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointCorruptError(f"{CONFIG}: {key} is {str(value)[:40]}, wanted a number", hint="copy it again")
    return value


def _stops(path: Path, document: dict[str, Any]) -> tuple[int, ...]:
    try:
        said = read_json(path / _GENERATION)
    except (FileNotFoundError, CheckpointError):
        said = None
    for source in (said, document):
        found = source.get("eos_token_id") if isinstance(source, dict) else None
        values = found if isinstance(found, list) else [found]
        if stops := tuple(value for value in values if isinstance(value, int) and value >= 0):
            return stops
    return ()
