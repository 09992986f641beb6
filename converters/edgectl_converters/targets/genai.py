"""ONNX Runtime GenAI: a folder of an ONNX graph with its cache written out, by the library's own model builder.

Facts: with int4 weights the builder has activations rounded to int8 as well (`accuracy_level` 4 of each product) unless
told otherwise, so that weight-only needs level 1, which computes in float32; it leaves a text's first token out of
genai_config.json where the checkpoint has none, and writes 1; a builder that fails in the middle leaves files.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_converters.language import context_of
from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.errors import OperatorError, PrecisionError, ToolchainError
from edgectl_protos.domain.parity import Tolerance

__all__ = ["GenAiTarget"]

_GROUP, _FLOAT32 = 32, 1
_TIMEOUT_S = 3600.0
_PRODUCT = "MatMulNBits"
_TOLERANCES = {
    "fp32": Tolerance(rmse=5e-3, worst=2.5e-2, inner=5e-3, unequal=0.0),
    # Of random weights, which suffer most, logits were off by 0.35 of their deviation; of another model's, by 1.4.
    "w4g32/a32": Tolerance(rmse=0.10, worst=0.5, inner=0.7, unequal=1.0),
}


class GenAiTarget(Target):
    """ONNX Runtime GenAI on the CPU."""

    name = "genai"
    toolchain = "transformers"
    reads = ("hf",)
    schemes = ("fp32", "w4g32/a32")
    packages = ("onnx", "onnxruntime-genai", "torch", "transformers")

    def tolerance(self, scheme: str) -> Tolerance:
        """Of 4-bit weights no token is judged: one that differs changes all that follow."""
        return _TOLERANCES[scheme]

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Run the builder, and read back what it wrote.

        Raises:
            OperatorError: the builder does not know the architecture.
            ToolchainError: the builder fails.
            PrecisionError: the graph stores or computes in something else than the scheme says.
        """
        out = Path(request.out)
        four = request.scheme != "fp32"
        extra = {"accuracy_level": str(_FLOAT32), "block_size": str(_GROUP)} if four else {}
        progress(f"building {request.component} with the model builder of ONNX Runtime GenAI")
        _run_builder(request.graph, out, "int4" if four else "fp32", extra)
        config = json.loads((out / "genai_config.json").read_bytes())
        read, gate = _read_back(out / "model.onnx", request)
        context = context_of(config["model"]["context_length"])
        return Built("", {"context": str(context), "weight_bytes": str(read)}, settings=dict(extra), gates=(gate,))


def _run_builder(folder: str, out: Path, precision: str, extra: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="edgectl-") as cache:
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", folder, "-o", str(out)]
        command += ["-p", precision, "-e", "cpu", "-c", cache]
        command += ["--extra_options", *(f"{key}={value}" for key, value in extra.items())] if extra else []
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise ToolchainError(f"the model builder did not end in {_TIMEOUT_S:g} s") from exc
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).strip().splitlines()[-1:])
        if "NotImplementedError" in said:
            raise OperatorError(f"the model builder does not know the model: {said}", hint="--runtime NAME")
        raise ToolchainError(f"the model builder ended with {done.returncode}: {said[-300:]}")


def _read_back(graph: Path, request: BuildRequest) -> tuple[int, GateResult]:
    """The bytes that one token reads, and whether products are what the scheme says.

    The embedding is read a row at a time, unless the output layer is the same tensor.
    """
    import onnx

    model = onnx.load(str(graph), load_external_data=False)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    counts: Counter[str] = Counter()
    used: set[str] = set()
    for node in model.graph.node:
        if node.op_type in ("Gather", "GatherBlockQuantized"):
            continue
        used |= set(node.input) & set(weights)
        if node.op_type == _PRODUCT:
            counts[_words({one.name: one.i for one in node.attribute})] += 1
        elif node.op_type == "MatMul" and node.input[1] in weights:
            counts[onnx.TensorProto.DataType.Name(weights[node.input[1]].data_type).lower()] += 1
    wanted = {"fp32": "float"}.get(request.scheme, request.scheme)
    wrong = {words: count for words, count in counts.items() if words != wanted}
    if wrong or not counts:
        raise PrecisionError(f"the builder wrote products in {wrong or 'nothing'}, {request.scheme} was asked for")
    size = sum(_size(weights[name]) for name in used if "cache" not in name)
    note = f"{counts[wanted]} products, all {request.scheme}"
    return size, GateResult("weights", request.component, 1.0, 1.0, True, note)


def _words(attributes: dict[str, int]) -> str:
    activations = {_FLOAT32: "/a32"}.get(attributes.get("accuracy_level", 0), "-activations-rounded")
    return f"w{attributes['bits']}g{attributes['block_size']}{activations}"


def _size(tensor: Any) -> int:
    import onnx

    item = int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    return int(math.prod(tensor.dims)) * item
