"""GGUF files of language models, read without a library: header, tokenizer and types of tensors.

Golden cases are prompts, with what llama.cpp itself computes from the file when it is exported: they prove that another
machine and another build compute the same, not that the file is what its maker had. The tokenizer is written as
tokenizer.json, and must make the same ids as the file's own.

Facts: byte-pair vocabularies are `tokenizer.ggml.model` gpt2, and how texts are cut before is `tokenizer.ggml.pre`;
tokens of type 3 and 4 are never cut; of llama-bpe a piece that is a token is taken whole, whatever the merges say; the
binding leaves out the fused attention that the library takes by itself, and without it logits of 4-bit weights differ
by 0.03 of their deviation.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from edgectl_converters.card import CheckpointCard, Sha256, digest_of_files
from edgectl_converters.language import (
    COMPONENT,
    PROMPT,
    SPLITS,
    TOKENIZER,
    context_of,
    language_policy,
    language_program,
    padded,
    ports_of,
)
from edgectl_converters.sources.base import GOLDEN, Export, ExportedComponent, ExportRequest, Source
from edgectl_converters.sources.npz import read_npz
from edgectl_converters.targets.registry import TARGETS, target
from edgectl_protos.codec.gguf import GgufFile, read_gguf
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointFormatError, DocumentError, TokenizerError

__all__ = ["GgufSource"]

_FORM, _FILE = "gguf", "model.gguf"
_TYPES = {"F16": "f16", "Q8_0": "q8_0", "Q4_K": "q4_k_m", "TQ2_0": "tq2_0"}
_MEDIUM, _Q4 = 15, "Q4_K"
_NEVER_CUT = (3, 4)


class GgufSource(Source):
    """One .gguf file."""

    name: ClassVar[str] = "gguf"

    def sniff(self, path: Path) -> bool:
        """A file of that ending."""
        return path.suffix == ".gguf" and path.is_file()

    def card(self, path: Path, sha256: Sha256) -> CheckpointCard:
        """What the header says.

        Raises:
            CheckpointCorruptError: it is no GGUF file, or was cut short.
            CheckpointFormatError: its layers, its tokenizer or its kind are none that edgectl runs.
        """
        file = _read(path)
        layers, hidden = file.of_model("block_count"), file.of_model("embedding_length")
        return CheckpointCard(
            path=path,
            source=self.name,
            policy=language_policy(_family(file), _context(file)),
            parameters=file.parameters,
            size_bytes=path.stat().st_size,
            toolchain=_toolchain(),
            digest=digest_of_files(path.parent, [path], sha256),
            components=(COMPONENT,),
            notes=(
                f"{file.values.get('general.name', 'no name')} · {layers} layers · hidden {hidden} · "
                f"vocabulary {_vocabulary(file)}",
                f"tensors: {', '.join(sorted({tensor.type for tensor in file.tensors}))}",
                f"{'with a' if 'tokenizer.chat_template' in file.values else 'no'} chat template; prompts are taken as "
                "they are; the file's own arithmetic is the reference",
            ),
            schemes=(_scheme(file),),
            forms=(_FORM,),
        )

    def export(self, request: ExportRequest, progress: Callable[[str], None]) -> Export:
        """Copy the file, write its tokenizer, and have llama.cpp answer the prompts.

        Raises:
            CheckpointCorruptError: llama.cpp cannot load the file, or its tokenizer joins what are no tokens.
            TokenizerError: what is written makes other ids than the file's own tokenizer.
        """
        import llama_cpp
        import numpy as np

        path, out = Path(request.checkpoint), Path(request.out)
        file = _read(path)
        shutil.copyfile(path, out / _FILE)
        _write_tokenizer(file, out / TOKENIZER)
        program = language_program(_vocabulary(file), _context(file), _stops(file))
        prompts = read_npz(Path(request.observations))[PROMPT]
        progress(f"answering {len(prompts)} prompts with llama.cpp")
        try:
            model = llama_cpp.Llama(str(path), n_ctx=_context(file), n_gpu_layers=0, flash_attn=True, verbose=False)
        except ValueError as exc:
            raise CheckpointCorruptError(
                f"llama.cpp cannot load {path.name}", hint="copy the file again and compare checksums"
            ) from exc
        try:
            rows = [_answer(model, str(prompt), program, out / TOKENIZER) for prompt in prompts]
        finally:
            model.close()
        golden = {f"out.{name}": np.stack([row[name] for row in rows]) for name in rows[0]}
        with open(out / GOLDEN, "wb") as opened:
            np.savez(opened, allow_pickle=False, **{f"in.{PROMPT}": prompts}, **golden)
        inputs, outputs = ports_of(_vocabulary(file))
        return Export(
            policy=language_policy(_family(file), _context(file)),
            program=program,
            components=(ExportedComponent(COMPONENT, {_FORM: _FILE}, inputs, outputs, stored=_scheme(file)),),
            reference=f"llama.cpp, by llama-cpp-python {llama_cpp.__version__}, on this file",
            inputs_kind=request.inputs_kind,
            cases=len(prompts),
            versions={"llama-cpp-python": str(llama_cpp.__version__)},
        )


def _toolchain() -> str:
    """That of the runtime whose own form this is, which answers the prompts."""
    return next(found.toolchain for found in map(target, TARGETS) if _FORM in found.reads)


def _read(path: Path) -> GgufFile:
    try:
        file = read_gguf(path)
    except DocumentError as exc:
        raise CheckpointCorruptError(exc.message, hint="copy the file again and compare checksums") from exc
    kind, cut = file.values.get("tokenizer.ggml.model"), file.values.get("tokenizer.ggml.pre")
    if not file.layer_type or not file.of_model("context_length"):
        raise CheckpointFormatError(
            f"{path.name} holds no language model: {_family(file)}", hint="edgectl inspect PATH"
        )
    if kind != "gpt2" or cut not in SPLITS:
        raise CheckpointFormatError(
            f"{path.name} has a tokenizer of the kind {kind}/{cut}; of GGUF files edgectl reads gpt2 cut as "
            f"{', '.join(SPLITS)}",
            hint="bring the Hugging Face directory that it was made of: edgectl inspect DIR",
        )
    _scheme(file)
    return file


def _scheme(file: GgufFile) -> str:
    found = file.layer_type
    medium = found != _Q4 or file.values.get("general.file_type") == _MEDIUM
    if found not in _TYPES or not medium:
        raise CheckpointFormatError(
            f"the layers of the file are {found}; edgectl runs those that are {', '.join(_TYPES.values())}",
            hint="convert the Hugging Face directory: edgectl convert DIR --scheme q8_0",
        )
    return _TYPES[found]


def _family(file: GgufFile) -> str:
    return str(file.values.get("general.architecture", "unknown"))[:40]


def _context(file: GgufFile) -> int:
    return context_of(int(file.of_model("context_length")))


def _vocabulary(file: GgufFile) -> int:
    return len(file.values.get("tokenizer.ggml.tokens", ()))


def _stops(file: GgufFile) -> tuple[int, ...]:
    stop = file.values.get("tokenizer.ggml.eos_token_id")
    return (stop,) if isinstance(stop, int) else ()


def _write_tokenizer(file: GgufFile, path: Path) -> None:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    said = file.values
    tokens, cut = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.pre"]
    vocabulary = {token: at for at, token in enumerate(tokens)}
    merges = [tuple(pair.split(" ", 1)) for pair in said.get("tokenizer.ggml.merges", ())]
    if unknown := next((pair for pair in merges if "".join(pair) not in vocabulary), None):
        raise CheckpointCorruptError(f"the file's tokenizer joins {unknown}, which is no token of it")
    made = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=cut == "llama-bpe"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLITS[cut]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    kinds = said.get("tokenizer.ggml.token_type", ())
    made.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, kinds, strict=False)
            if kind in _NEVER_CUT
        ]
    )
    start = said.get("tokenizer.ggml.bos_token_id")
    if said.get("tokenizer.ggml.add_bos_token", cut == "llama-bpe") and isinstance(start, int):
        token = tokens[start]
        made.post_processor = processors.TemplateProcessing(single=f"{token} $A", special_tokens=[(token, start)])
    made.save(str(path))


def _answer(model: Any, prompt: str, program: Any, tokenizer: Path) -> dict[str, Any]:
    """`ids`, `logits` and `tokens` of one prompt. The binding's own scores are empty unless all positions have some."""
    import llama_cpp
    import numpy as np
    from tokenizers import Tokenizer

    shapes = {spec.name: spec.shape for spec in program.tensors}
    ids, there = Tokenizer.from_file(str(tokenizer)).encode(prompt).ids, model.tokenize(prompt.encode())
    if ids != there:
        raise TokenizerError(
            f"tokenizer.json gives {ids[:12]} for {prompt!r}, the file's own tokenizer {there[:12]}",
            hint="bring the Hugging Face directory that the file was made of: edgectl inspect DIR",
        )
    stop = program.steps[-1].stop_id
    tokens = np.full(shapes["tokens"], stop, np.int64)
    model.reset()
    entering, first = ids, None
    for at in range(tokens.size):
        model.eval(entering)
        pointer = llama_cpp.llama_get_logits_ith(model.ctx, -1)
        logits = np.array(np.ctypeslib.as_array(pointer, shapes["logits"]), np.float32)
        first = logits if first is None else first
        tokens.flat[at] = token = int(logits.argmax())
        if token == stop:
            break
        entering = [token]
    return {"ids": padded(ids, program), "logits": first, "tokens": tokens}
