"""OpenVINO: IR, fp32 or bf16 by hint, int8 by NNCF.

Facts: on a processor with bf16 OpenVINO computes in bf16 unless the hint pins f32, so the hint is part of the
artifact's options; which of NNCF's schemes keeps a policy accurate differs by policy, so they are tried in order of
speed; the weights of the IR stay fp32; nodes without a name of their own get one from a counter of the whole process,
which NNCF's threads advance in no fixed order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_converters.targets.base import Built, Evaluation, Inputs, Target
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.errors import OperatorError, PrecisionError

__all__ = ["OpenVinoTarget"]

_UNKNOWN_OPERATOR = re.compile(r"No conversion rule found for operations: (?P<op>[^\n]+)")
_NUMBERED = re.compile(r"(?P<kind>[A-Z][A-Za-z]*)_\d+")
_HINT = "INFERENCE_PRECISION_HINT"
_HEAVY = ("Convolution", "FullyConnected", "MatMul", "ScaledDotProductAttention")
_PRECISIONS = {"f32": Precision.FP32, "bf16": Precision.BF16, "f16": Precision.FP16}
_PRECISIONS |= {"u8": Precision.INT8, "i8": Precision.INT8}


class OpenVinoTarget(Target):
    """OpenVINO on the CPU."""

    name = "openvino"
    precisions = (Precision.FP32, Precision.BF16, Precision.INT8)
    packages = ("openvino", "nncf")

    def variants(self, precision: Precision) -> tuple[str, ...]:
        """For int8: NNCF's default scheme, its scheme for transformers, then convolutions only."""
        return ("default", "transformer", "convolutions") if precision is Precision.INT8 else ("default",)

    def build(
        self,
        graph: Path,
        out: Path,
        precision: Precision,
        variant: str,
        calibration: Inputs,
        progress: Callable[[str], None],
    ) -> Built:
        """Write IR, quantised for int8."""
        import openvino
        from openvino.frontend import OpConversionFailure

        progress("converting to OpenVINO IR")
        try:
            model = openvino.convert_model(str(graph))
        except OpConversionFailure as exc:
            found = _UNKNOWN_OPERATOR.search(str(exc))
            raise OperatorError(
                f"openvino does not convert the operator {found['op']}"
                if found
                else f"openvino does not convert the graph: {' '.join(str(exc).split())}",
                hint="another runtime may: --runtime onnxrt",
            ) from exc
        settings = {"compress_to_fp16": "false"}
        if precision is Precision.INT8:
            model = _quantise(model, variant, calibration, progress)
            settings |= {"nncf_scheme": variant, "calibration_cases": str(len(calibration))}
        _number_nodes(model)
        openvino.save_model(model, str(out / "full.xml"), compress_to_fp16=False)
        return Built("full.xml", {_HINT: "bf16" if precision is Precision.BF16 else "f32"}, settings)

    def evaluate(self, artifact: Path, options: dict[str, str], inputs: Inputs) -> Evaluation:
        """Run it on this processor, at the hinted precision."""
        import openvino

        core = openvino.Core()
        if options[_HINT] == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise PrecisionError(
                "this host has no bf16 kernels, so the bf16 gate cannot be run here",
                hint="convert on a host with bf16, or at --precision fp32",
            )
        compiled = core.compile_model(str(artifact), "CPU", {"PERFORMANCE_HINT": "LATENCY", **options})
        request = compiled.create_infer_request()
        outputs = []
        for feeds in inputs:
            found = request.infer(feeds)
            outputs.append({port.any_name: found[port].copy() for port in compiled.outputs})
        return Evaluation(outputs, _precision_used(compiled.get_runtime_model()))


def _quantise(model: Any, variant: str, calibration: Inputs, progress: Callable[[str], None]) -> Any:
    import nncf

    progress(f"quantising to int8 ({variant}) with {len(calibration)} calibration cases")
    schemes: dict[str, dict[str, Any]] = {
        "default": {},
        "transformer": {"preset": nncf.QuantizationPreset.MIXED, "model_type": nncf.ModelType.TRANSFORMER},
        "convolutions": {"ignored_scope": nncf.IgnoredScope(types=["MatMul"], validate=False)},
    }
    return nncf.quantize(model, nncf.Dataset(calibration), subset_size=len(calibration), **schemes[variant])


def _number_nodes(model: Any) -> None:
    """Number by their place the nodes that the process-wide counter numbered: equal conversions give equal bytes."""
    for index, node in enumerate(model.get_ordered_ops()):
        if found := _NUMBERED.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{found['kind']}_{index}")


def _precision_used(graph: Any) -> Precision:
    heavy: Counter[Precision] = Counter()
    for node in graph.get_ordered_ops():
        info = node.get_rt_info()
        kind = str(info["layerType"].astype(str)) if "layerType" in info else ""
        precision = str(info["runtimePrecision"].astype(str)) if "runtimePrecision" in info else ""
        if kind in _HEAVY and precision in _PRECISIONS:
            heavy[_PRECISIONS[precision]] += 1
    return heavy.most_common(1)[0][0] if heavy else Precision.FP32
