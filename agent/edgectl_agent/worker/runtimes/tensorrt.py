"""TensorRT on the first GPU: Jetsons, and other machines with an NVIDIA GPU.

Facts: bindings come with JetPack for its own Python (10.x on 3.10), elsewhere as a package (11.x); an engine belongs to
one version, compute capability and operating system, so only the device builds it, from strongly typed ONNX, which both
versions take. Everything else is engine.py's and engine_build.py's.
"""

from __future__ import annotations

from edgectl_agent.worker.runtimes.engine import EngineRuntime

__all__ = ["TensorRtRuntime"]


class TensorRtRuntime(EngineRuntime):
    """Engines that this device built."""

    name = "tensorrt"
    library = "tensorrt"
