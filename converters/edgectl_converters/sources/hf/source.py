"""A Hugging Face directory of a causal language model: config.json, safetensors, tokenizer.json. Read without torch.

Golden cases are prompts, with what transformers computes for them in float32: token ids, the logits after the prompt,
the tokens of a greedy answer. Nothing is asked of a hub, and no code of the checkpoint is run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from edgectl_converters.card import CheckpointCard, Sha256, digest_of_files
from edgectl_converters.language import COMPONENT, TOKENIZER, context_of, language_policy
from edgectl_converters.sources.base import Export, ExportRequest, Source
from edgectl_converters.sources.hf.config import CONFIG, ModelConfig, read_config
from edgectl_converters.sources.hf.quantised import refuse_quantised
from edgectl_converters.sources.hf.weights import Weights, check_weights, read_weights
from edgectl_converters.sources.lerobot.foreign import read_json
from edgectl_protos.domain.errors import CheckpointError, CheckpointFormatError, TokenizerError

__all__ = ["HuggingFaceSource", "model_files", "read_model"]

_ADAPTER = "adapter_config.json"
_TEMPLATE = "chat_template.jinja"
_SMALL = (".json", ".jinja", ".model", ".txt")


class HuggingFaceSource(Source):
    """Causal language models that transformers' save_pretrained wrote."""

    name: ClassVar[str] = "hf"

    def sniff(self, path: Path) -> bool:
        """A directory whose config.json names architectures, as none of a robot's policy does, or an adapter's."""
        if not path.is_dir():
            return False
        if (path / _ADAPTER).is_file() and not (path / CONFIG).is_file():
            return True
        try:
            document = read_json(path / CONFIG)
        except (FileNotFoundError, CheckpointError):
            return False
        return isinstance(document, dict) and "architectures" in document and "type" not in document

    def card(self, path: Path, sha256: Sha256) -> CheckpointCard:
        """What the directory says about itself.

        Raises:
            CheckpointFormatError: an adapter alone, an architecture that is not converted, weights quantised already.
            CheckpointCorruptError: a file is missing, damaged or cut short; shards are named.
            ShapeError: config.json and the weights are of two models.
            TokenizerError: there is no tokenizer.json.
        """
        config, weights = read_model(path)
        chat = (path / _TEMPLATE).is_file() or "chat_template" in _tokenizer_config(path)
        notes = [
            f"{config.architecture} · {config.layers} layers · hidden {config.hidden} · vocabulary {config.vocabulary}",
            f"{TOKENIZER}, {'with a' if chat else 'no'} chat template; prompts are taken as they are",
        ]
        if len(config.stops) > 1:
            notes.append(
                f"a text ends at token {config.stops[0]}; {len(config.stops) - 1} other end tokens are ignored"
            )
        return CheckpointCard(
            path=path,
            source=self.name,
            policy=language_policy(config.family, context_of(config.context)),
            parameters=weights.parameters,
            size_bytes=weights.size_bytes,
            toolchain="transformers",
            digest=digest_of_files(path, model_files(path, weights), sha256),
            components=(COMPONENT,),
            notes=tuple(notes),
            forms=("hf",),
        )

    def export(self, request: ExportRequest, progress: Callable[[str], None]) -> Export:
        """Copy the directory, and have transformers answer the prompts in float32.

        Raises:
            CheckpointError: transformers cannot load the model.
            TokenizerError: tokenizer.json and the checkpoint's own tokenizer give other ids.
        """
        from edgectl_converters.sources.hf.export import export_model

        return export_model(request, progress)


def read_model(path: Path) -> tuple[ModelConfig, Weights]:
    """The directory, checked.

    Raises:
        EdgectlError: as `HuggingFaceSource.card`.
    """
    if (path / _ADAPTER).is_file() and not (path / CONFIG).is_file():
        base = _adapted(path)
        raise CheckpointFormatError(
            f"{path} is an adapter for {base}, and no model by itself",
            hint="merge it into its model: PeftModel.from_pretrained(MODEL, ADAPTER).merge_and_unload(), then "
            "save_pretrained(DIR)",
        )
    config, weights = read_config(path), read_weights(path)
    refuse_quantised(path, config, weights.tensors)
    check_weights(weights, config)
    if not (path / TOKENIZER).is_file():
        raise TokenizerError(
            f"{path} has no {TOKENIZER}",
            hint="save one: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR), with transformers",
        )
    return config, weights


def model_files(path: Path, weights: Weights) -> list[Path]:
    """The files that decide what the model computes, and the small ones that travel with it."""
    small = [file for file in path.iterdir() if file.suffix in _SMALL and file.is_file()]
    return sorted({*small, *weights.files})


def _adapted(path: Path) -> str:
    try:
        found = read_json(path / _ADAPTER)
    except CheckpointError:
        found = None
    return str(found.get("base_model_name_or_path") if isinstance(found, dict) else None)[:120]


def _tokenizer_config(path: Path) -> dict[str, object]:
    try:
        found = read_json(path / "tokenizer_config.json")
    except (FileNotFoundError, CheckpointError):
        return {}
    return found if isinstance(found, dict) else {}
