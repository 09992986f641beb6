"""Exports a Hugging Face directory: the folder itself, and what transformers answers to the prompts. In the toolchain.

Facts: the weights are computed in float32 whatever they are stored in; the attention that is written out ("eager") is
the reference, since fused kernels sum in another order; a loaded model says itself which weights it did not find.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_converters.language import (
    COMPONENT,
    PROMPT,
    TOKENIZER,
    UNJUDGED,
    context_of,
    language_policy,
    language_program,
    padded,
    ports_of,
)
from edgectl_converters.sources.base import GOLDEN, Export, ExportedComponent, ExportRequest
from edgectl_converters.sources.hf.config import ModelConfig
from edgectl_converters.sources.hf.source import model_files, read_model
from edgectl_converters.sources.npz import read_npz
from edgectl_protos.domain.errors import CheckpointError, TokenizerError

__all__ = ["FOLDER", "export_model"]

FOLDER = "hf"
_TIE = 0.02
"""Two tokens whose logits are nearer than this part of all logits' deviation: half precision may take the other one."""


def export_model(request: ExportRequest, progress: Callable[[str], None]) -> Export:
    """Write the export.

    Raises:
        EdgectlError: as `HuggingFaceSource.export`.
    """
    import importlib.metadata

    import numpy as np

    path, out = Path(request.checkpoint), Path(request.out)
    config, weights = read_model(path)
    (out / FOLDER).mkdir()
    for file in model_files(path, weights):
        shutil.copyfile(file, out / FOLDER / file.name)
    shutil.copyfile(path / TOKENIZER, out / TOKENIZER)
    program = language_program(config.vocabulary, context_of(config.context), config.stops)
    prompts = read_npz(Path(request.observations))[PROMPT]
    progress(f"answering {len(prompts)} prompts with transformers in float32")
    golden = _answers(out / FOLDER, config, [str(prompt) for prompt in prompts])
    with open(out / GOLDEN, "wb") as opened:
        np.savez(opened, allow_pickle=False, **{f"in.{PROMPT}": prompts}, **golden)
    inputs, outputs = ports_of(config.vocabulary)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")}
    return Export(
        policy=language_policy(config.family, context_of(config.context)),
        program=program,
        components=(ExportedComponent(COMPONENT, {"hf": FOLDER}, inputs, outputs),),
        reference=f"transformers {versions['transformers']}",
        inputs_kind=request.inputs_kind,
        cases=len(prompts),
        versions=versions,
    )


def _answers(folder: Path, config: ModelConfig, prompts: list[str]) -> dict[str, Any]:
    """`out.ids` [case, n], `out.logits` [case, vocabulary] and `out.tokens` [case, 1, m], `UNJUDGED` from a tie on."""
    import numpy as np
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    model = _load(folder)
    own, fast = (
        AutoTokenizer.from_pretrained(folder, local_files_only=True),
        Tokenizer.from_file(str(folder / TOKENIZER)),
    )
    program = language_program(config.vocabulary, context_of(config.context), config.stops)
    shapes = {spec.name: spec.shape for spec in program.tensors}
    rows: dict[str, list[Any]] = {"ids": [], "logits": [], "tokens": []}
    stop = program.steps[-1].stop_id  # type: ignore[union-attr] # the step that generates
    for prompt in prompts:
        ids, others = fast.encode(prompt).ids, own(prompt)["input_ids"]
        if ids != others:
            raise TokenizerError(
                f"tokenizer.json gives {ids[:12]} for {prompt!r}, the checkpoint's own tokenizer {others[:12]}",
                hint="save the tokenizer anew: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
            )
        tokens = np.full(shapes["tokens"], stop, np.int64)
        with torch.inference_mode():
            found = model(torch.tensor([ids]), use_cache=True)
            logits = found.logits[0, -1].float().numpy()
            unsure = tokens.size
            for at in range(tokens.size):
                best, second = found.logits[0, -1].topk(2).values.tolist()
                if best - second < _TIE * float(found.logits[0, -1].std()):
                    unsure = min(unsure, at)
                tokens.flat[at] = token = int(found.logits[0, -1].argmax())
                if token == stop or at == tokens.size - 1:
                    break
                found = model(torch.tensor([[token]]), past_key_values=found.past_key_values, use_cache=True)
        rows["ids"].append(padded(ids, program))
        rows["logits"].append(logits)
        tokens.flat[unsure:] = UNJUDGED
        rows["tokens"].append(tokens)
    return {f"out.{name}": np.stack(values) for name, values in rows.items()}


def _load(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        model, told = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as exc:  # its errors have no common class
        raise CheckpointError(
            f"transformers cannot load the model: {' '.join(str(exc).split())[:300]}", hint=f"edgectl inspect {folder}"
        ) from exc
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found := sorted(map(str, told.get(what, ()))):
            raise CheckpointError(
                f"transformers finds {what.replace('_', ' ')} in the weights: {', '.join(found)[:300]}",
                hint="config.json and the weights are of two models: copy both from one place",
            )
    return model.eval()
