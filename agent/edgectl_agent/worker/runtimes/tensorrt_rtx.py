"""The RTX variant on the first GPU: PCs with an RTX GPU.

Facts: the interface is that of engine.py under another module's name; an engine is built ahead of time for one or more
compute capabilities, on any machine, and finished for the GPU when it is loaded, which takes seconds at the first load.
"""

from __future__ import annotations

from edgectl_agent.worker.runtimes.engine import EngineRuntime

__all__ = ["TensorRtRtxRuntime"]


class TensorRtRtxRuntime(EngineRuntime):
    """Engines that the host built for the GPU's compute capability."""

    name = "tensorrt_rtx"
    library = "tensorrt_rtx"
