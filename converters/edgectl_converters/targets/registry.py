"""Runtime name → target. A new runtime is one line here and one on the device."""

from __future__ import annotations

from edgectl_converters.plugins import load_plugin
from edgectl_converters.targets.base import Target
from edgectl_protos.domain.errors import RouteError

__all__ = ["TARGETS", "target"]

TARGETS = {
    "reference": "edgectl_converters.targets.reference:ReferenceTarget",
    "onnxrt": "edgectl_converters.targets.onnxrt:OnnxRuntimeTarget",
    "openvino": "edgectl_converters.targets.openvino:OpenVinoTarget",
    "litert": "edgectl_converters.targets.litert:LiteRtTarget",
    "ncnn": "edgectl_converters.targets.ncnn:NcnnTarget",
    "tensorrt": "edgectl_converters.targets.tensorrt:TensorRtTarget",
    "tensorrt_rtx": "edgectl_converters.targets.tensorrt_rtx:TensorRtRtxTarget",
    "qnn": "edgectl_converters.targets.qnn:QnnTarget",
    "genai": "edgectl_converters.targets.genai:GenAiTarget",
    "llamacpp": "edgectl_converters.targets.llamacpp:LlamaCppTarget",
    "executorch": "edgectl_converters.targets.executorch:ExecutorchTarget",
    "aoti": "edgectl_converters.targets.aoti:AotiTarget",
    "coreml": "edgectl_converters.targets.coreml:CoreMlTarget",
}


def target(name: str) -> Target:
    """The target of this runtime.

    Raises:
        RouteError: there is none.
    """
    if name not in TARGETS:
        raise RouteError(f"no target {name!r}; edgectl builds for: {', '.join(TARGETS)}")
    found: Target = load_plugin(TARGETS[name])
    return found
