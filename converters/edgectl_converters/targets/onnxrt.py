"""ONNX Runtime: the graph as ONNX; int8 by its own static quantizer, four-bit weights by its own operator, fp16 by its
own converter.

Facts: on x86 with VNNI uint8 activations with int8 weights are 1.6 times faster than int8 with int8; products of two
activations (attention) lose most accuracy in int8 and no time in fp32, so only layers with constant weights are
quantised, per channel; a scale that stands after a convolution is folded into it first, which saves a tenth of the
time; ranges are the smallest and largest value seen, since averages over calls cut off what tells calls apart (an
error of 0.05 of the actions' deviation against 0.01 on a trained policy); weights per channel need opset 13; the CPU
provider has no fp16 kernels worth the name on x86, it casts to fp32 and back: fp16 is for other providers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgectl_converters.targets.base import BuildRequest, Built, Ranking, Target
from edgectl_converters.targets.calibration import read_calibration
from edgectl_converters.targets.onnx_blocks import BITS, BLOCK, matrices, to_blocks
from edgectl_converters.targets.onnx_constants import fold_constants
from edgectl_converters.targets.onnx_files import copy_graph
from edgectl_converters.targets.onnx_quantizer import WITH_WEIGHTS, Prepared, outputs_of
from edgectl_converters.targets.sensitivity import (
    held_out,
    kept,
    kept_settings,
    rank_layers,
)
from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.errors import PrecisionError

__all__ = ["OnnxRuntimeTarget"]

_QUANTISED = {"default": WITH_WEIGHTS, "convolutions": ("Conv",)}
_WEIGHT_ONLY = f"w{BITS}g{BLOCK}/a32"
_PROVIDER = "provider"
_ONE_FILE = 2**31 - 2**20
"""More bytes than these are no protobuf message."""


class OnnxRuntimeTarget(Target):
    """ONNX Runtime with the provider that the board names, the CPU's where it names none."""

    name = "onnxrt"
    reads = ("onnx",)
    schemes = ("fp32", "fp16", "int8", _WEIGHT_ONLY)
    searched: ClassVar = {"int8": tuple(_QUANTISED), _WEIGHT_ONLY: ("default",)}
    reads_options = (_PROVIDER,)
    oracle: ClassVar = {"graph_optimization_level": "disabled"}
    packages = ("onnx", "onnxruntime", "numpy")

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Copy the graph, halve it, or quantise it.

        Raises:
            OperatorError: an operator of the graph has no form in which weights are quantised per channel.
            PrecisionError: the graph has no matrix whose weights could be stored in four bits.
        """
        graph, out = Path(request.graph), Path(request.out)
        options = {_PROVIDER: request.options[_PROVIDER]} if _PROVIDER in request.options else {}
        if request.scheme == "fp32":
            return Built(copy_graph(graph, out), options)
        if request.scheme == "fp16":
            return Built(_halve(graph, out), options)
        if request.scheme == _WEIGHT_ONLY:
            return _in_blocks(request, options)
        calls = read_calibration(request)
        progress(f"quantising {request.component} to int8 ({request.variant}) with {len(calls)} captured calls")
        with tempfile.TemporaryDirectory(prefix="edgectl-") as work:
            prepared = Prepared(graph, Path(work), _QUANTISED.get(request.variant, WITH_WEIGHTS))
            left = kept(request.variant, request.ranking)
            prepared.quantise([name for name in prepared.layers if name not in left], calls, out / "model.onnx")
        settings = {"format": "QDQ", "activations": "uint8", "weights": "int8 per channel"}
        settings |= {"operators": ",".join(prepared.operators), "calibration_calls": str(len(calls))}
        return Built("model.onnx", options, settings | kept_settings(left, prepared.layers))

    def rank(self, request: BuildRequest, progress: Callable[[str], None]) -> Ranking:
        """Each layer alone in its scheme."""
        seen, held = held_out(read_calibration(request))
        with tempfile.TemporaryDirectory(prefix="edgectl-") as work:
            trial = Path(work) / "trial.onnx"
            if request.scheme == _WEIGHT_ONLY:
                exact, model = Path(request.graph), _folded(Path(request.graph))
                layers: Sequence[str] = tuple(matrices(model))
            else:
                prepared = Prepared(Path(request.graph), Path(work), WITH_WEIGHTS)
                exact, layers = prepared.path, tuple(prepared.layers)

            def outputs_with(chosen: Sequence[str]) -> list[dict[str, Any]]:
                if request.scheme == _WEIGHT_ONLY:
                    _save(to_blocks(model, chosen), trial)
                else:
                    prepared.quantise(chosen, seen, trial)
                return outputs_of(trial, held)

            return Ranking(rank_layers(layers, outputs_of(exact, held), outputs_with, progress))


def _halve(graph: Path, out: Path) -> str:
    """Write the graph in half precision between ports of their own types."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # What it would save aside to infer shapes is beside the graph already, or small.
    model = convert_float_to_float16(onnx.load(str(graph)), keep_io_types=True, disable_shape_infer=True)
    _save(model, out / "model.onnx")
    return "model.onnx"


def _in_blocks(request: BuildRequest, options: dict[str, str]) -> Built:
    """Write the graph with its matrices in blocks of four bits, and count them."""
    import onnx

    model = _folded(Path(request.graph))
    layers = matrices(model)
    left = kept(request.variant, request.ranking)
    entry = Path(request.out) / "model.onnx"
    _save(to_blocks(model, [name for name in layers if name not in left]), entry)
    written = onnx.load(str(entry), load_external_data=False).graph
    blocks = [node for node in written.node if node.op_type == "MatMulNBits"]
    wanted = sum(len(layers[name]) for name in layers if name not in left)
    if not blocks or len(blocks) != wanted:
        raise PrecisionError(
            f"{len(blocks)} of {wanted} products of {request.component} have four-bit weights",
            hint="a graph without constant matrices gains nothing from it: --scheme int8, or fp32",
        )
    note = f"products with four-bit weights in blocks of {BLOCK}; convolutions stay float32"
    gate = GateResult("weights", request.component, float(len(blocks)), float(wanted), True, note)
    settings = {
        "operators": "MatMulNBits",
        "weights": f"int{BITS}, blocks of {BLOCK}, symmetric",
        "activations": "float32",
    }
    settings |= kept_settings(left, layers)
    return Built("model.onnx", options, settings, gates=(gate,))


def _folded(graph: Path) -> Any:
    import onnx

    model = onnx.load(str(graph))
    fold_constants(model)
    return model


def _save(model: Any, path: Path) -> None:
    """Write a graph, its weights beside it where one file could not hold them."""
    import onnx

    beside = model.ByteSize() > _ONE_FILE
    path.with_suffix(".data").unlink(missing_ok=True)
    onnx.save(model, str(path), save_as_external_data=beside, location=f"{path.stem}.data")
