"""OpenVINO: IR, fp32 or bf16 by hint, int8 by NNCF.

Facts: on a processor with bf16 OpenVINO computes in bf16 unless the hint pins f32, so the hint is part of the
artifact's options; which of NNCF's schemes keeps a policy accurate differs by policy, so they are tried in order of
speed; the weights of the IR stay fp32; nodes without a name of their own get one from a counter of the whole process,
which NNCF's threads advance in no fixed order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_converters.targets.calibration import read_calibration
from edgectl_protos.domain.errors import OperatorError

__all__ = ["OpenVinoTarget"]

_UNKNOWN_OPERATOR = re.compile(r"No conversion rule found for operations: (?P<op>[^\n]+)")
_NUMBERED = re.compile(r"(?P<kind>[A-Z][A-Za-z]*)_\d+")
_HINT = "INFERENCE_PRECISION_HINT"


class OpenVinoTarget(Target):
    """OpenVINO on the CPU."""

    name = "openvino"
    reads = ("onnx",)
    schemes = ("fp32", "bf16", "int8")
    packages = ("openvino", "nncf", "numpy")

    def variants(self, scheme: str) -> tuple[str, ...]:
        """For int8: NNCF's default scheme, its scheme for transformers, then convolutions only."""
        return ("default", "transformer", "convolutions") if scheme == "int8" else ("default",)

    def needs_calibration(self, scheme: str) -> bool:
        """NNCF needs the ranges of activations."""
        return scheme == "int8"

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Write IR, quantised for int8."""
        import openvino
        from openvino.frontend import OpConversionFailure

        progress(f"converting {request.component} to OpenVINO IR")
        try:
            model = openvino.convert_model(request.graph)
        except OpConversionFailure as exc:
            found = _UNKNOWN_OPERATOR.search(str(exc))
            raise OperatorError(
                f"openvino does not convert the operator {found['op']}"
                if found
                else f"openvino does not convert the graph: {' '.join(str(exc).split())}",
                hint="another runtime may: --runtime, and edgectl inspect",
            ) from exc
        settings = {"compress_to_fp16": "false"}
        if request.scheme == "int8":
            calls = read_calibration(request)
            model = _quantise(model, request, calls, progress)
            settings |= {"nncf_scheme": request.variant, "calibration_calls": str(len(calls))}
        _number_nodes(model)
        openvino.save_model(model, str(Path(request.out) / "model.xml"), compress_to_fp16=False)
        return Built("model.xml", {_HINT: "bf16" if request.scheme == "bf16" else "f32"}, settings)


def _quantise(model: Any, request: BuildRequest, calls: list[dict[str, Any]], progress: Callable[[str], None]) -> Any:
    import nncf

    progress(f"quantising {request.component} to int8 ({request.variant}) with {len(calls)} captured calls")
    schemes: dict[str, dict[str, Any]] = {
        "default": {},
        "transformer": {"preset": nncf.QuantizationPreset.MIXED, "model_type": nncf.ModelType.TRANSFORMER},
        "convolutions": {"ignored_scope": nncf.IgnoredScope(types=["MatMul"], validate=False)},
    }
    return nncf.quantize(model, nncf.Dataset(calls), subset_size=len(calls), **schemes[request.variant])


def _number_nodes(model: Any) -> None:
    """Number by their place the nodes that the process-wide counter numbered: equal conversions give equal bytes."""
    for index, node in enumerate(model.get_ordered_ops()):
        if found := _NUMBERED.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{found['kind']}_{index}")
