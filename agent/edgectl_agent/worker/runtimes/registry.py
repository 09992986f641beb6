"""Which runtimes there are: a name, and where its class stands. The one table a new runtime is added to."""

from __future__ import annotations

import importlib

from edgectl_agent.worker.runtimes.base import Runtime
from edgectl_protos.domain.errors import RuntimeMissingError

__all__ = ["RUNTIMES", "create"]

RUNTIMES: dict[str, str] = {
    "reference": "edgectl_agent.worker.runtimes.reference:ReferenceRuntime",
    "onnxrt": "edgectl_agent.worker.runtimes.onnxrt:OnnxRuntime",
    "openvino": "edgectl_agent.worker.runtimes.openvino:OpenVinoRuntime",
    "litert": "edgectl_agent.worker.runtimes.litert:LiteRtRuntime",
    "ncnn": "edgectl_agent.worker.runtimes.ncnn:NcnnRuntime",
    "tensorrt": "edgectl_agent.worker.runtimes.tensorrt:TensorRtRuntime",
    "tensorrt_rtx": "edgectl_agent.worker.runtimes.tensorrt_rtx:TensorRtRtxRuntime",
    "qnn": "edgectl_agent.worker.runtimes.qnn:QnnRuntime",
    "genai": "edgectl_agent.worker.runtimes.genai:GenAiRuntime",
    "llamacpp": "edgectl_agent.worker.runtimes.llamacpp:LlamaCppRuntime",
    "executorch": "edgectl_agent.worker.runtimes.executorch:ExecutorchRuntime",
    "aoti": "edgectl_agent.worker.runtimes.aoti:AotiRuntime",
    "coreml": "edgectl_agent.worker.runtimes.coreml:CoreMlRuntime",
}


def create(name: str, interpreter: str = "") -> Runtime:
    """A new runtime of this name, with nothing imported yet; with an interpreter, one that lives in another process.

    Raises:
        RuntimeMissingError: this agent does not know it.
    """
    if name not in RUNTIMES:
        raise RuntimeMissingError(
            f"this agent knows no runtime {name!r}; it knows: {', '.join(RUNTIMES)}",
            hint="update the agent on the device, or convert for one of these: edgectl convert",
        )
    if interpreter:
        from edgectl_agent.worker.runtimes.remote import RemoteRuntime

        return RemoteRuntime(name, interpreter)
    module, _, attribute = RUNTIMES[name].partition(":")
    runtime: Runtime = getattr(importlib.import_module(module), attribute)()
    return runtime
