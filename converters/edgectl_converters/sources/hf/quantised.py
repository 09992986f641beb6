"""Checkpoints that are quantised already: which tool wrote them, and in which scheme.

Facts: `quantization_config.quant_method` in config.json names the tool (older ModelOpt wrote hf_quant_config.json
alone, MLX writes `quantization`), and the tensors beside each weight confirm it. They are refused: of the runtimes that
read such a folder some write layers of zeros and say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgectl_converters.sources.hf.config import ModelConfig
from edgectl_converters.sources.hf.weights import Tensor
from edgectl_converters.sources.lerobot.foreign import read_json
from edgectl_protos.domain.errors import CheckpointFormatError

__all__ = ["refuse_quantised", "signature"]

_MODELOPT = "hf_quant_config.json"
_TOOLS = {
    "modelopt": "ModelOpt",
    "compressed-tensors": "compressed-tensors",
    "awq": "AWQ",
    "gptq": "GPTQ",
    "torchao": "torchao",
    "bitnet": "BitNet",
    "bitsandbytes": "bitsandbytes",
}
# A tensor that only a quantised layer has, the most telling first.
_SUFFIXES = {
    ".weight_packed": "compressed-tensors",
    ".weight_scale_2": "ModelOpt",
    ".pre_quant_scale": "ModelOpt",
    "._weight_qdata": "torchao",
    ".weight.quant_map": "bitsandbytes",
    ".SCB": "bitsandbytes",
    ".qweight": "GPTQ or AWQ",
    ".scales": "MLX",
    ".weight_scale": "an unnamed tool",
    ".weight_scale_inv": "an unnamed tool",
}
_FLOATS = ("F64", "F32", "F16", "BF16")
_MASTER = "bring the checkpoint as it was before quantization, and ask for the nearest scheme: --scheme"


def refuse_quantised(path: Path, config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a checkpoint that is quantised.

    Raises:
        CheckpointFormatError: it is; with the tool, its scheme, and the nearest way.
    """
    said = signature(path, config, tensors)
    if said is not None:
        name, bits = said
        nearest = "tq2_0" if bits < 2 else "q4_k_m or w4g32/a32" if bits <= 4 else "q8_0"
        raise CheckpointFormatError(
            f"{path} is quantised already, {name}, and edgectl converts language models from floating weights",
            hint=f"{_MASTER} {nearest}",
        )


def signature(path: Path, config: ModelConfig, tensors: Mapping[str, Tensor]) -> tuple[str, float] | None:
    """The tool and its scheme, and the bits of a weight; None where the weights are floating.

    An unknown tool is named as it names itself.
    """
    said = config.quantization
    if said is None and (path / _MODELOPT).is_file():
        found = read_json(path / _MODELOPT)
        said = {"quant_method": "modelopt", **(found.get("quantization", {}) if isinstance(found, dict) else {})}
    if said is not None:
        return _described(said)
    for suffix, tool in _SUFFIXES.items():
        if name := next((name for name in tensors if name.endswith(suffix)), None):
            return f"by {tool} as its tensor {name} shows", 8.0
    odd = next(
        (name for name, tensor in tensors.items() if name.endswith("weight") and tensor.dtype not in _FLOATS), None
    )
    return (f"since {odd} is {tensors[odd].dtype}", 8.0) if odd else None


def _described(said: Mapping[str, Any]) -> tuple[str, float]:
    method = str(said.get("quant_method", "MLX" if "bits" in said else "an unnamed tool"))[:40]
    tool = _TOOLS.get(method, method)
    bits, words = _scheme(method, said)
    return f"by {tool} ({words})" if words else f"by {tool}", bits


def _scheme(method: str, said: Mapping[str, Any]) -> tuple[float, str]:
    if method == "modelopt":
        algorithm = str(said.get("quant_algo", ""))
        return (4.0 if "4" in algorithm else 8.0), algorithm
    if method == "compressed-tensors":
        weights = _weights(said)
        bits = weights.get("num_bits", 8)
        kind = {"float": "fp", "int": "int"}.get(str(weights.get("type")), "")
        words = [str(said.get("format", "")), f"weights {kind}{bits}"]
        if isinstance(weights.get("group_size"), int) and weights["group_size"] > 0:
            words.append(f"groups of {weights['group_size']}")
        return float(bits), ", ".join(filter(None, words))
    if method == "torchao":
        default = said.get("quant_type", {})
        default = default.get("default", default) if isinstance(default, dict) else default
        kind = str(default.get("_type", "") if isinstance(default, dict) else default)
        return (4.0 if "4" in kind else 8.0), kind
    if method == "bitsandbytes":
        four = bool(said.get("load_in_4bit"))
        return (4.0, str(said.get("bnb_4bit_quant_type", "4-bit"))) if four else (8.0, "int8")
    if method == "bitnet":
        return 1.58, "ternary weights"
    bits = said.get("bits", said.get("w_bit", said.get("num_bits")))
    if not isinstance(bits, (int, float)):
        return 8.0, ""
    group = said.get("group_size")
    return float(bits), f"{bits} bits" + (f", groups of {group}" if isinstance(group, int) and group > 0 else "")


def _weights(said: Mapping[str, Any]) -> Mapping[str, Any]:
    groups = said.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = first.get("weights") if isinstance(first, dict) else None
    return weights if isinstance(weights, dict) else {}
