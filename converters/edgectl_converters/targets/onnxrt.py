"""ONNX Runtime: the graph as ONNX; int8 by its own static quantizer.

Facts: on x86 with VNNI uint8 activations with int8 weights are 1.6 times faster than int8 with int8; products of two
activations (attention) lose most accuracy in int8 and no time in fp32, so only layers with constant weights are
quantised, per channel; a scale that stands after a convolution is folded into it first, which saves a tenth of the
time; ranges are the smallest and largest value seen, since averages over calls cut off what tells calls apart (an
error of 0.05 of the actions' deviation against 0.01 on a trained policy); weights per channel need opset 13; the CPU
provider has no fp16 kernels worth the name on x86, it casts to fp32 and back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgectl_converters.targets.base import BuildRequest, Built, Ranking, Target
from edgectl_converters.targets.calibration import read_calibration
from edgectl_converters.targets.onnx_convolutions import fold_scales
from edgectl_converters.targets.onnx_files import copy_graph, external_files
from edgectl_converters.targets.sensitivity import (
    KEEP_VARIANTS,
    held_out,
    is_keep,
    kept,
    kept_settings,
    rank_layers,
)
from edgectl_protos.domain.errors import OperatorError

__all__ = ["OnnxRuntimeTarget"]

_WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")
_QUANTISED = {"default": _WITH_WEIGHTS, "convolutions": ("Conv",)}
_PER_CHANNEL_OPSET = 13


class OnnxRuntimeTarget(Target):
    """ONNX Runtime on the CPU."""

    name = "onnxrt"
    reads = ("onnx",)
    schemes = ("fp32", "int8")
    oracle: ClassVar = {"graph_optimization_level": "disabled"}
    packages = ("onnx", "onnxruntime", "numpy")

    def variants(self, scheme: str) -> tuple[str, ...]:
        """For int8: every layer with weights, convolutions only, all but the most sensitive layers."""
        return (*_QUANTISED, *KEEP_VARIANTS) if scheme == "int8" else ("default",)

    def needs_ranking(self, variant: str) -> bool:
        """Those that keep layers in fp32."""
        return is_keep(variant)

    def needs_calibration(self, scheme: str) -> bool:
        """Static int8 needs the ranges of activations."""
        return scheme == "int8"

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Copy the graph, or quantise it."""
        graph, out = Path(request.graph), Path(request.out)
        if request.scheme == "fp32":
            return Built(copy_graph(graph, out))
        calls = read_calibration(request)
        progress(f"quantising {request.component} to int8 ({request.variant}) with {len(calls)} captured calls")
        with tempfile.TemporaryDirectory(prefix="edgectl-") as work:
            prepared = _Prepared(graph, Path(work), _QUANTISED.get(request.variant, _WITH_WEIGHTS))
            left = kept(request.variant, request.ranking)
            prepared.quantise([name for name in prepared.layers if name not in left], calls, out / "model.onnx")
        settings = {"format": "QDQ", "activations": "uint8", "weights": "int8 per channel"}
        settings |= {"operators": ",".join(prepared.operators), "calibration_calls": str(len(calls))}
        return Built("model.onnx", settings=settings | kept_settings(left, prepared.layers))

    def rank(self, request: BuildRequest, progress: Callable[[str], None]) -> Ranking:
        """Each layer alone in int8."""
        seen, held = held_out(read_calibration(request))
        with tempfile.TemporaryDirectory(prefix="edgectl-") as work:
            prepared = _Prepared(Path(request.graph), Path(work), _WITH_WEIGHTS)
            trial = Path(work) / "trial.onnx"

            def outputs_with(layers: Sequence[str]) -> list[dict[str, Any]]:
                prepared.quantise(layers, seen, trial)
                return _outputs(trial, held)

            exact = _outputs(prepared.path, held)
            return Ranking(rank_layers(tuple(prepared.layers), exact, outputs_with, progress))


class _Prepared:
    """A graph made ready: with shapes and names, its convolutions folded, in an opset that quantizes per channel.

    `layers` are nodes by the name of their weights: what shares them is one layer.
    """

    def __init__(self, graph: Path, work: Path, operators: tuple[str, ...]) -> None:
        import onnx
        from onnxruntime.quantization import quant_pre_process

        self.operators = operators
        self.path = work / "prepared.onnx"
        self._ranges = work / "ranges.json"
        # A graph that keeps weights beside it may be too big for one file.
        self._beside = bool(external_files(graph))
        model = _raised(onnx.load(str(graph)))
        fold_scales(model)
        weights = {tensor.name for tensor in model.graph.initializer}
        self.layers: dict[str, list[str]] = {}
        for index, node in enumerate(model.graph.node):
            node.name = f"{node.op_type}_{index}"
            if node.op_type in operators and node.domain == "" and node.input[1] in weights:
                self.layers.setdefault(node.input[1], []).append(node.name)
        self._nodes = [node.name for node in model.graph.node]
        named = work / "named.onnx"
        onnx.save(model, str(named), save_as_external_data=self._beside)
        # Its optimiser would give every camera a copy of the shared backbone.
        quant_pre_process(
            str(named),
            str(self.path),
            skip_optimization=True,
            skip_symbolic_shape=True,
            save_as_external_data=self._beside,
        )

    def quantise(self, layers: Sequence[str], calls: list[dict[str, Any]], out: Path) -> None:
        """Write the graph with these layers in int8; what the first call was calibrated with counts for all."""
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            """Hands out the captured calls one by one."""

            def __init__(self) -> None:
                self._calls = iter(calls)

            def get_next(self) -> Any:
                """The next call, or None."""
                return next(self._calls, None)

        chosen = {node for name in layers for node in self.layers[name]}
        quantize_static(
            str(self.path),
            str(out),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Not the nodes to quantise: none would mean all.
            nodes_to_exclude=[name for name in self._nodes if name not in chosen],
            op_types_to_quantize=list(self.operators),
            use_external_data_format=self._beside,
            calibration_cache_path=str(self._ranges),
        )


def _raised(model: Any) -> Any:
    """The model in an opset that quantizes per channel.

    Raises:
        OperatorError: an operator of the graph has no form there.
    """
    from onnx import version_converter

    opset = next((entry.version for entry in model.opset_import if entry.domain == ""), _PER_CHANNEL_OPSET)
    if opset >= _PER_CHANNEL_OPSET:
        return model
    try:
        return version_converter.convert_version(model, _PER_CHANNEL_OPSET)
    except RuntimeError as exc:
        raise OperatorError(
            f"int8 needs opset {_PER_CHANNEL_OPSET}, and the graph of opset {opset} cannot be raised to it: {exc}",
            hint="export it with a newer opset, or convert with --scheme fp32",
        ) from exc


def _outputs(graph: Path, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    return [dict(zip(names, session.run(names, call), strict=True)) for call in calls]
