"""In which precision the layers of an engine compute: from the inspector's one-line form, which the builder logs too.

    Name: MatMul_1_myl0_2, LayerType: gemm, Inputs: [ { Name: x, Dimensions: [1,64], …, Datatype: Half, Format: … }],
    Constants: [ { … Datatype: Half, … }], Outputs: [ … ], TacticName: …, StreamId: 0, Metadata: [ONNX Layer: MatMul_1]

Facts: older versions write `Format/Datatype: Row major linear FP16 format` and weights as `Weights: {"Type": "Half",
"Count": 64}`; fused kernels are named after what they fuse, so which layers carry weight is known from the nodes of the
graph in their metadata, which edgectl names after their operators; scalars beside the weights (alpha, beta) are fp32 in
any precision; TF32 is a matter of the tactic alone: the tensors say Float.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from edgectl_protos.domain.artifact import precision_of
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import PrecisionError

__all__ = ["Layer", "check_precision", "heavy_precisions", "parse_layers"]

_HEAVY_NODE = re.compile(r"(?:Conv|ConvTranspose|Gemm|MatMul|Einsum|Attention|LSTM|GRU|RNN)(?![A-Za-z])")
_HEAVY_KINDS = re.compile(r"gemm|correlation|conv|matmul|matrixmultiply|mha|attention", re.IGNORECASE)
_TENSOR = re.compile(r"\{[^{}]*\}")
_DIMENSIONS = re.compile(r"Dimensions: \[([\d,\s]*)\]")
_TYPE = re.compile(r"(?:Datatype|\"Type\"): \"?(?P<words>[^,}\"]+)")
_WORD = re.compile(r"\b(BFloat16|BF16|Float|FP32|Half|FP16|Int8|FP8|Int4|FP4)\b", re.IGNORECASE)
_PRECISIONS = {
    **{"bfloat16": "bf16", "bf16": "bf16", "float": "fp32", "fp32": "fp32", "half": "fp16", "fp16": "fp16"},
    **{"int8": "int8", "fp8": "fp8", "int4": "int4", "fp4": "fp4"},
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: what it is, the precisions of its inputs and of its weights, the tactic, the nodes it stands for."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    tactic: str
    nodes: tuple[str, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """What it computes that carries weight: nodes of the graph; itself, where they have other names; or nothing."""
        named = tuple(node for node in self.nodes if _HEAVY_NODE.search(node))
        return named or ((self.name,) if _HEAVY_KINDS.search(self.kind) else ())

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """Of several layers that name one node, the smallest computes it; the others prepare or scale."""
        return not _HEAVY_KINDS.search(self.kind), self.kind == "kgen", not self.weights

    @property
    def precision(self) -> str:
        """In which it computes, that of its weights where it has any; empty when it does not say."""
        found = next(iter((*self.weights, *self.inputs)), "")
        return "tf32" if found == "fp32" and "tf32" in self.tactic else found


def parse_layers(text: str) -> tuple[Layer, ...]:
    """Every layer that is described in a text, line by line; other lines are none of ours."""
    return tuple(_layer(line) for line in text.splitlines() if line.startswith("Name: ") and ", LayerType: " in line)


def heavy_precisions(layers: Iterable[Layer]) -> dict[str, str]:
    """In which precision everything that carries weight is computed."""
    found: dict[str, Layer] = {}
    for layer in layers:
        for part in layer.parts:
            if part not in found or layer.rank < found[part].rank:
                found[part] = layer
    return {part: layer.precision for part, layer in found.items()}


def check_precision(layers: tuple[Layer, ...], component: Component) -> dict[str, int]:
    """How many nodes that carry weight are computed in each precision, most first, if that is the component's.

    A component of integers may leave the products of two activations in floating point; any other has one precision.

    Raises:
        PrecisionError: it is not, or cannot be told.
    """
    asked, parts = precision_of(component.scheme), heavy_precisions(layers)
    found = Counter(parts.values())
    said = ", ".join(f"{count} in {precision}" for precision, count in found.most_common())
    if not layers or "" in found:
        raise PrecisionError(
            f"component {component.name!r}: the engine does not say in which precision its layers compute",
            hint="build it with detailed profiling verbosity, as edgectl does: edgectl convert",
        )
    wrong = asked not in found if asked.startswith("int") else set(found) - {asked}
    if found and wrong:
        example = next(part for part, precision in parts.items() if precision != asked)
        raise PrecisionError(
            f"component {component.name!r}: {asked} was asked for ({component.scheme}), and of what carries weight "
            f"{said} ({example!r} among them)",
            hint="convert with the scheme that the device computes: edgectl convert --scheme",
        )
    return dict(found.most_common())


def _layer(line: str) -> Layer:
    name, _, rest = line.removeprefix("Name: ").partition(", LayerType: ")
    return Layer(
        name=name,
        kind=rest.partition(",")[0].strip(),
        inputs=tuple(filter(None, map(_precision, _tensors(rest, "Inputs")))),
        weights=tuple(filter(None, map(_precision, [*filter(_is_many, _tensors(rest, "Constants")), *_weights(rest)]))),
        tactic=_after(rest, "TacticName: "),
        nodes=tuple(re.findall(r"\[ONNX Layer: ([^\]]*)\]", rest)),
    )


def _tensors(line: str, section: str) -> list[str]:
    found = re.search(rf"\b{section}: \[((?:\s*{_TENSOR.pattern},?)*)\s*\]", line)
    return _TENSOR.findall(found[1]) if found else []


def _weights(line: str) -> list[str]:
    found = re.search(r"\bWeights: (\{[^{}]*\})", line)
    return [found[1]] if found else []


def _is_many(tensor: str) -> bool:
    found = _DIMENSIONS.search(tensor)
    return found is not None and any(size.strip() not in ("", "1") for size in found[1].split(","))


def _precision(tensor: str) -> str:
    found = _TYPE.search(tensor)
    word = _WORD.search(found["words"]) if found else None
    return _PRECISIONS[word[1].lower()] if word else ""


def _after(line: str, label: str) -> str:
    return line.partition(label)[2].partition(",")[0].strip()
