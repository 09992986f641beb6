"""ONNX Runtime: the graph as ONNX; int8 by its own static quantizer.

Facts: on x86 with VNNI uint8 activations with int8 weights are 1.6 times faster than int8 with int8; quantising
convolutions and matrix products only is faster and two to three times more accurate than quantising everything; the
CPU provider has no fp16 kernels worth the name on x86, it casts to fp32 and back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_converters.targets.calibration import read_calibration
from edgectl_converters.targets.onnx_files import copy_graph, external_files

__all__ = ["OnnxRuntimeTarget"]

_QUANTISED_OPERATORS = ["Conv", "MatMul", "Gemm"]


class OnnxRuntimeTarget(Target):
    """ONNX Runtime on the CPU."""

    name = "onnxrt"
    reads = ("onnx",)
    schemes = ("fp32", "int8")
    packages = ("onnx", "onnxruntime", "numpy")

    def needs_calibration(self, scheme: str) -> bool:
        """Static int8 needs the ranges of activations."""
        return scheme == "int8"

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Copy the graph, or quantise it."""
        graph, out = Path(request.graph), Path(request.out)
        if request.scheme == "fp32":
            return Built(copy_graph(graph, out))
        from onnxruntime.quantization import (
            CalibrationDataReader,
            QuantFormat,
            QuantType,
            quant_pre_process,
            quantize_static,
        )

        calls = read_calibration(request)

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            """Hands out the captured calls one by one."""

            def __init__(self) -> None:
                self._calls = iter(calls)

            def get_next(self) -> Any:
                """The next call, or None."""
                return next(self._calls, None)

        progress(f"quantising {request.component} to int8 with {len(calls)} captured calls")
        # A graph that keeps weights beside it may be too big for one file.
        beside = bool(external_files(graph))
        with tempfile.TemporaryDirectory(prefix="edgectl-") as work:
            prepared = Path(work) / "prepared.onnx"
            # Its optimiser would give every camera a copy of the shared backbone.
            quant_pre_process(
                str(graph),
                str(prepared),
                skip_optimization=True,
                skip_symbolic_shape=True,
                save_as_external_data=beside,
            )
            quantize_static(
                str(prepared),
                str(out / "model.onnx"),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=_QUANTISED_OPERATORS,
                use_external_data_format=beside,
            )
        settings = {"format": "QDQ", "activations": "uint8", "weights": "int8 per channel"}
        settings["operators"] = ",".join(_QUANTISED_OPERATORS)
        return Built("model.onnx", settings=settings | {"calibration_calls": str(len(calls))})
