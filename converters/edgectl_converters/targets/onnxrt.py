"""ONNX Runtime: the graph as ONNX; int8 by its own static quantizer.

Facts: on x86 with VNNI uint8 activations with int8 weights are 1.6 times faster than int8 with int8; quantising
convolutions and matrix products only is faster and two to three times more accurate than quantising everything; the
CPU provider has no fp16 kernels worth the name on x86, it casts to fp32 and back.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_converters.targets.base import Built, Evaluation, Inputs, Target
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.errors import CheckpointCorruptError, OperatorError

__all__ = ["OnnxRuntimeTarget"]

_UNKNOWN_OPERATOR = (
    re.compile(r"No Op registered for (?P<op>\S+)"),
    re.compile(r"(?P<op>[^\s:]+:\S+?|\S+?)\(-?\d+\) is not a registered function/op"),
    re.compile(r"Could not find an implementation for (?P<op>[^\s(]+)"),
)
_PROVIDER = "CPUExecutionProvider"
_QUANTISED_OPERATORS = ["Conv", "MatMul", "Gemm"]


class OnnxRuntimeTarget(Target):
    """ONNX Runtime on the CPU."""

    name = "onnxrt"
    precisions = (Precision.FP32, Precision.INT8)
    packages = ("onnx", "onnxruntime")

    def build(
        self,
        graph: Path,
        out: Path,
        precision: Precision,
        variant: str,
        calibration: Inputs,
        progress: Callable[[str], None],
    ) -> Built:
        """Copy the graph, or quantise it."""
        if precision is Precision.FP32:
            shutil.copyfile(graph, out / "full.onnx")
            return Built("full.onnx")
        from onnxruntime.quantization import (
            CalibrationDataReader,
            QuantFormat,
            QuantType,
            quant_pre_process,
            quantize_static,
        )

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            """Hands out the calibration inputs one by one."""

            def __init__(self) -> None:
                self._cases = iter(calibration)

            def get_next(self) -> Any:
                """The next case, or None."""
                return next(self._cases, None)

        progress(f"quantising to int8 with {len(calibration)} calibration cases")
        prepared = out / "prepared.onnx"
        # Its optimiser would give every camera a copy of the shared backbone.
        quant_pre_process(str(graph), str(prepared), skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(out / "full.onnx"),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=_QUANTISED_OPERATORS,
        )
        prepared.unlink()
        settings = {"format": "QDQ", "activations": "uint8", "weights": "int8 per channel"}
        settings["operators"] = ",".join(_QUANTISED_OPERATORS)
        return Built("full.onnx", settings=settings | {"calibration_cases": str(len(calibration))})

    def evaluate(self, artifact: Path, options: dict[str, str], inputs: Inputs) -> Evaluation:
        """Run it on the CPU provider."""
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        try:
            session = onnxruntime.InferenceSession(str(artifact), providers=[_PROVIDER])
        except (state.InvalidGraph, state.Fail, state.NotImplemented) as exc:
            text = str(exc)
            for pattern in _UNKNOWN_OPERATOR:
                if found := pattern.search(text):
                    raise OperatorError(f"onnxrt does not know the operator {found['op']}") from exc
            raise CheckpointCorruptError(f"onnxrt cannot load the graph: {' '.join(text.split())}") from exc
        names = [output.name for output in session.get_outputs()]
        outputs = [dict(zip(names, session.run(names, feeds), strict=True)) for feeds in inputs]
        return Evaluation(outputs, Precision.INT8 if _is_quantised(artifact) else Precision.FP32)


def _is_quantised(artifact: Path) -> bool:
    import onnx

    model = onnx.load(str(artifact), load_external_data=False)
    return any(node.op_type in ("QuantizeLinear", "QLinearConv", "QLinearMatMul") for node in model.graph.node)
