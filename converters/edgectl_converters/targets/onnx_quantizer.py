"""ONNX Runtime's static quantizer, on a graph that was made ready for it: int8 weights per channel, Q/DQ around layers.

Facts: only layers with constant weights are quantised; a scale that stands after a convolution is folded into it first;
ranges are the smallest and largest value seen; weights per channel need opset 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgectl_converters.targets.onnx_convolutions import fold_scales
from edgectl_converters.targets.onnx_files import external_files
from edgectl_protos.domain.errors import OperatorError

__all__ = ["WITH_WEIGHTS", "Prepared", "outputs_of"]

WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")
_PER_CHANNEL_OPSET = 13


class Prepared:
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

    def quantise(
        self,
        layers: Sequence[str],
        calls: list[dict[str, Any]],
        out: Path,
        *,
        activations: str = "uint8",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the graph with these layers in int8, per channel, with activations of this type; `extra` are the
        quantizer's own options. What the first call was calibrated with counts for all.
        """
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
            activation_type={"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}[activations],
            weight_type=QuantType.QInt8,
            # Not the nodes to quantise: none would mean all.
            nodes_to_exclude=[name for name in self._nodes if name not in chosen],
            op_types_to_quantize=list(self.operators),
            use_external_data_format=self._beside,
            calibration_cache_path=str(self._ranges),
            extra_options=dict(extra or {}),
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


def outputs_of(graph: Path, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a graph gives for each call, by ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    return [dict(zip(names, session.run(names, call), strict=True)) for call in calls]
